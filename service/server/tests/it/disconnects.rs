//! Clients that go away, or close their half of the connection, at random moments.

use crate::support::Service;
use crate::whole::whole;
use counterfoil::clock::random;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
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
    /// It sends all, closes its half, and reads.
    HalfClosed,
}

fn request(service: &Service, method: &str, path: &str, body: &str) -> Vec<u8> {
    let token = &service.made.owner.token;
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
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
    tokio::time::sleep(pause).await;
    if exit == Exit::Reset {
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
    for token in page["items"].as_array().unwrap() {
        if token["id"] != own["id"] && token["state"] != "revoked" {
            let path = format!("/v1/user/tokens/{}", token["id"].as_str().unwrap());
            assert_eq!(service.call(Method::DELETE, &path, owner, None).await.0, StatusCode::NO_CONTENT);
        }
    }
}

/// Backends that a request left inside a transaction, polled: what is under way may end.
async fn left_in_transaction(service: &Service) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    let mut left = i64::MAX;
    for _ in 0..50 {
        left = sqlx::query_scalar(sql).fetch_one(&service.database.pool).await.unwrap();
        if left == 0 {
            return 0;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_leaves_no_transaction_open_and_no_command_half_done() {
    let service = Service::start().await;
    let soak = crate::support::is_soak();
    let chunks = if soak { 10_000 / 32 + 1 } else { 10 };
    let mut answered = 0;
    for _ in 0..chunks {
        let doomed: Vec<Value> = [service.issue(json!({})).await, service.issue(json!({})).await].into();
        let clients = (0..32).map(|number| {
            let (service, doomed) = (&service, &doomed[number % 2]);
            async move {
                let chance: [u8; 5] = random();
                let exit = [Exit::Early, Exit::Unread, Exit::Reset, Exit::HalfClosed][number / 2 % 4];
                let path = format!("/v1/user/tokens/{}", doomed["id"].as_str().unwrap());
                let request = match number / 8 {
                    0 => request(service, "DELETE", &path, ""),
                    1 => request(service, "POST", &format!("{path}/rotate"), "{}"),
                    _ => request(service, "POST", "/v1/user/tokens", r#"{"note":"gone"}"#),
                };
                go(service, &request, exit, [chance[0], chance[1], chance[2], chance[3]]).await
            }
        });
        for answer in futures_util::future::join_all(clients).await.into_iter().flatten() {
            let status = answer.split(' ').nth(1).unwrap_or("none");
            // Whoever only closed its half is answered: it happened, or a neighbour ended or rotated the token first.
            assert!(["200", "201", "204", "409"].contains(&status), "{answer}");
            answered += 1;
        }
        assert_eq!(left_in_transaction(&service).await, 0);
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
    let all = (0..16).map(|_| service.database.pool.acquire());
    assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
    whole(&service).await;
    service.stop().await;
}
