//! Clients that go away, or close their half of the connection, at random moments.

use crate::support::{Service, is_soak, rounds, until};
use crate::whole::whole;
use counterfoil::clock::random;
use counterfoil::config::Config;
use counterfoil::ops::feeds::OF_ONE;
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How a client goes away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Exit {
    /// Amid its request.
    Early,
    /// After its request, some microseconds later.
    Unread,
    /// The same, with what TCP calls a reset.
    Reset,
    /// The same, as soon as the answer has begun.
    Amid,
    /// It sends all, closes its half, and reads.
    HalfClosed,
}

/// Of every four, one reads to the end.
const EXITS: [Exit; 8] = [
    Exit::Early,
    Exit::Unread,
    Exit::Reset,
    Exit::HalfClosed,
    Exit::Amid,
    Exit::Amid,
    Exit::Reset,
    Exit::HalfClosed,
];

fn request(method: &str, path: &str, more: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{more}Content-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// One of the requests that need the database, and how it may be answered.
fn any(service: &Service, doomed: &str, chance: u8) -> (Vec<u8>, &'static [u16]) {
    let owner = &service.made.owner;
    let token = format!("Authorization: Bearer {}\r\n", owner.token);
    let lines = format!("{token}Accept: application/x-ndjson\r\n");
    let sign_in = |password: &str| json!({ "email": owner.email, "password": password }).to_string();
    // It happened, or a neighbour ended or rotated the token first.
    let changes: &[u16] = &[200, 201, 204, 409];
    // On a machine that is busy with other tests, the index may be behind for a moment.
    let reads: &[u16] = if is_soak() { &[200] } else { &[200, 503] };
    match chance % 8 {
        0 => (request("DELETE", doomed, &token, ""), changes),
        1 => (request("POST", &format!("{doomed}/rotate"), &token, "{}"), changes),
        2 => (request("POST", "/v1/user/tokens", &token, r#"{"note":"gone"}"#), changes),
        3 => (request("GET", "/v1/user/tokens", &token, ""), reads),
        4 => (request("GET", "/v1/events?limit=1000", &token, ""), reads),
        // Of one user there are a few streams at a time.
        5 => {
            (request("GET", "/v1/events", &lines, ""), if is_soak() { &[200, 429] } else { &[200, 429, 503] })
        }
        // Of one account there are a few attempts at a time.
        6 => (request("POST", "/v1/session", "", &sign_in(owner.password.as_ref().unwrap())), &[201, 503]),
        _ => (request("POST", "/v1/session", "", &sign_in("not the password")), &[401, 503]),
    }
}

/// Makes a request and goes away. What was read, if that was waited for.
async fn go(service: &Service, request: &[u8], exit: Exit, chance: [u8; 4]) -> Option<String> {
    let address = service.base().strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let pause = Duration::from_micros(u64::from(u16::from_le_bytes([chance[0], chance[1]])) / 8);
    let sent = match exit {
        Exit::Early => usize::from(u16::from_le_bytes([chance[2], chance[3]])) % request.len(),
        _ => request.len(),
    };
    stream.write_all(&request[..sent]).await.unwrap();
    if exit == Exit::HalfClosed {
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        return Some(answer);
    }
    match exit {
        Exit::Amid => drop(stream.read(&mut [0; 100]).await),
        _ => tokio::time::sleep(pause).await,
    }
    if matches!(exit, Exit::Reset | Exit::Amid) {
        stream.set_zero_linger().unwrap();
    }
    None
}

/// Ends all tokens but the owner's first, so that there is room for others.
async fn make_room(service: &Service) {
    let owner = &service.made.owner.token;
    let (_, own) = service.call(Method::GET, "/v1/token", owner, None).await;
    let (status, page) = service.call(Method::GET, "/v1/user/tokens?limit=100", owner, None).await;
    assert_eq!(status, StatusCode::OK);
    let others = page["items"].as_array().unwrap().iter();
    let others = others.filter(|token| token["id"] != own["id"] && token["state"] != "revoked");
    let ends = others.map(async |token| {
        let path = format!("/v1/user/tokens/{}", token["id"].as_str().unwrap());
        assert_eq!(service.call(Method::DELETE, &path, owner, None).await.0, StatusCode::NO_CONTENT);
    });
    join_all(ends).await;
}

/// Within this, no transaction is open any more and the pool is whole. Other tests keep the machine busy meanwhile, so
/// the promise of a second is held by the long run, which has it alone.
fn soon() -> Duration {
    Duration::from_secs(if is_soak() { 1 } else { 10 })
}

/// Waits until no backend is left inside a transaction: what is under way may end.
async fn until_no_transaction_is_open(service: &Service) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    let since = Instant::now();
    while sqlx::query_scalar::<_, i64>(sql).fetch_one(&service.database.pool).await.unwrap() > 0 {
        assert!(since.elapsed() < soon(), "a transaction is left open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether the owner can have as many streams as a user may have.
fn has_all_streams(service: &Service) -> bool {
    let all: Vec<_> = (0..OF_ONE).map(|_| service.app().feeds.open(service.made.owner.id)).collect();
    all.iter().all(Result::is_ok)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_leaves_no_transaction_open_and_no_command_half_done() {
    let patient = |config: &mut Config| config.limits.sign_in_failures = 1_000_000.try_into().unwrap();
    let service = Service::start_with(patient, |edge| edge).await;
    let chunks = rounds(1_000, 10_000).div_ceil(32);
    let mut answered = 0;
    for _ in 0..chunks {
        let doomed: Vec<Value> = [service.issue(json!({})).await, service.issue(json!({})).await].into();
        let clients = (0..32).map(|number| {
            let (service, doomed) = (&service, &doomed[number % 2]);
            async move {
                let [which, chance @ ..]: [u8; 5] = random();
                let exit = EXITS[number / 2 % EXITS.len()];
                let path = format!("/v1/user/tokens/{}", doomed["id"].as_str().unwrap());
                let (request, answers) = any(service, &path, which);
                Some((go(service, &request, exit, chance).await?, answers))
            }
        });
        // Whoever only closed its half is answered.
        for (answer, answers) in join_all(clients).await.into_iter().flatten() {
            let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
            assert!(answers.contains(&status), "{answer}");
            answered += 1;
        }
        until_no_transaction_is_open(&service).await;
        for token in &doomed {
            let path = format!("/v1/user/tokens/{}", token["id"].as_str().unwrap());
            let ended = service.call(Method::DELETE, &path, &service.made.owner.token, None).await;
            assert_eq!(ended.0, StatusCode::NO_CONTENT);
            assert_eq!(service.introspect(token["plaintext"].as_str().unwrap()).await["active"], false);
        }
        make_room(&service).await;
    }
    assert_eq!(answered, chunks * 8);
    // The pool is whole: all of it can be had at once.
    let since = Instant::now();
    let all = join_all((0..16).map(|_| service.database.pool.acquire())).await;
    assert!(all.iter().all(Result::is_ok) && since.elapsed() < soon(), "{:?}", since.elapsed());
    drop(all);
    until("all streams of a user can be had", async || has_all_streams(&service)).await;
    whole(&service).await;
    service.stop().await;
}
