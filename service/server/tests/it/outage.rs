//! A database that falls silent: nothing is answered from before, everybody is answered in time, and all heals.

mod doubts;
mod idle;
mod log_lines;
mod starved;
mod stopped;

use crate::support::Service;
use crate::whole::whole;
use counterfoil::http::admission::Edge;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long a command may take to be answered, with what a busy machine adds.
const ANSWERED: Duration = Duration::from_secs(13);

/// What `/readyz` says is wrong; nothing if it is ready.
async fn not_ready(base: &str) -> Option<String> {
    let response = reqwest::get(format!("{base}/readyz")).await.unwrap();
    if response.status() == StatusCode::OK {
        return None;
    }
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    let problem: Value = response.json().await.unwrap();
    Some(problem["type"].as_str().unwrap().trim_start_matches("/problems/").into())
}

/// Waits until `/readyz` says so.
async fn until_ready_says(base: &str, expected: Option<&str>) {
    let mut said = None;
    for _ in 0..1500 {
        said = not_ready(base).await;
        if said.as_deref() == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("expected {expected:?}, and it says {said:?}");
}

fn path(token: &Value) -> String {
    format!("/v1/user/tokens/{}", token["id"].as_str().unwrap())
}

fn plaintext(token: &Value) -> &str {
    token["plaintext"].as_str().unwrap()
}

/// How something was answered: with what status, whether it was said when to ask again, and how long it took.
type Answered = (StatusCode, bool, Duration);

/// Asks for something, without waiting for the answer.
fn ask(asked: &mut JoinSet<Answered>, service: &Service, method: Method, path: &str, key: Option<&str>) {
    let request = reqwest::Client::new().request(method, format!("{}{path}", service.base()));
    let request = request.bearer_auth(&service.made.owner.token);
    let request = if let Some(key) = key { request.header("idempotency-key", key) } else { request };
    asked.spawn(async move {
        let began = Instant::now();
        let response = request.json(&json!({})).send().await.unwrap();
        (response.status(), response.headers().contains_key("retry-after"), began.elapsed())
    });
}

/// A revocation, and five issues under keys.
fn ask_for_all(service: &Service, doomed: &Value) -> JoinSet<Answered> {
    let mut asked = JoinSet::new();
    ask(&mut asked, service, Method::DELETE, &path(doomed), None);
    for key in KEYS {
        ask(&mut asked, service, Method::POST, "/v1/user/tokens", Some(key));
    }
    asked
}

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Asks for the same again, and sees that all of it happened once, in a log and tables that are whole. `issued`: how
/// many tokens had been before.
async fn all_happened_once(service: &Service, doomed: &Value, issued: i64) {
    for key in KEYS {
        let (status, _) = service.post_once("/v1/user/tokens", key, json!({})).await;
        assert!(status == StatusCode::CREATED || status == StatusCode::OK, "{status}");
    }
    assert_eq!(service.events("token.issued").await, issued + KEYS.len() as i64);
    let owner = &service.made.owner.token;
    assert_eq!(service.call(Method::DELETE, &path(doomed), owner, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(service.is_active(plaintext(doomed)).await, Some(false));
    whole(service).await;
}

/// The line falls silent under a service, and forwards again: the old connections too, or only new ones.
async fn silent(forgets_the_old: bool) {
    let (service, tap) = Service::start_behind_a_tap(|edge| edge).await;
    let [held, doomed, disabled, revoked] = [(); 4].map(|()| service.issue(json!({})));
    let (held, doomed, disabled, revoked) = tokio::join!(held, doomed, disabled, revoked);
    let owner = &service.made.owner.token;
    let disable = format!("{}/disable", path(&disabled));
    assert_eq!(service.call(Method::POST, &disable, owner, Some(json!({}))).await.0, StatusCode::OK);
    assert_eq!(service.call(Method::DELETE, &path(&revoked), owner, None).await.0, StatusCode::NO_CONTENT);
    let issued = service.events("token.issued").await;

    tap.silence();
    let since = Instant::now();
    let mut asked = ask_for_all(&service, &doomed);
    loop {
        let sent = since.elapsed();
        match service.is_active(plaintext(&held)).await {
            Some(active) => assert!(active && sent < Duration::from_secs(1), "{active} {sent:?} after"),
            None => break,
        }
    }
    assert_eq!(not_ready(service.base()).await.as_deref(), Some("database-unreachable"));
    // While it is silent, what is held as disabled is inactive, and nothing is active.
    while since.elapsed() < Duration::from_secs(3) {
        assert_eq!(service.is_active(plaintext(&disabled)).await, Some(false));
        for token in [&held, &doomed, &revoked] {
            assert_eq!(service.is_active(plaintext(token)).await, None);
        }
    }
    while let Some(answered) = asked.join_next().await {
        let (status, says_when, took) = answered.unwrap();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(says_when && took < ANSWERED, "{took:?}");
    }

    if forgets_the_old {
        tap.resume_without_the_old();
    } else {
        tap.resume();
    }
    until_ready_says(service.base(), None).await;
    assert_eq!(service.is_active(plaintext(&held)).await, Some(true));
    for token in [&revoked, &disabled] {
        assert_eq!(service.is_active(plaintext(token)).await, Some(false));
    }
    all_happened_once(&service, &doomed, issued).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_falls_silent_and_comes_back() {
    silent(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_falls_silent_and_forgets_its_connections() {
    silent(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_is_never_answered_is_given_up_and_its_connection_too() {
    let quick = |mut edge: Edge| {
        edge.handler = Duration::from_secs(6);
        edge
    };
    let (service, tap) = Service::start_behind_a_tap(quick).await;
    let superuser = service.database.private.as_ref().unwrap().superuser("counterfoil");
    let mut superuser = superuser.connect().await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE tokens IN ACCESS EXCLUSIVE MODE").execute(&mut superuser).await.unwrap();
    let mut asked = JoinSet::new();
    for _ in 0..20 {
        ask(&mut asked, &service, Method::GET, "/v1/user/tokens", None);
    }
    // The pool's connections are amid a statement when they are forgotten.
    let sql = "SELECT count(*) FROM pg_locks WHERE relation = 'tokens'::regclass AND NOT granted";
    let (since, mut amid) = (Instant::now(), 0);
    while amid < 15 && since.elapsed() < Duration::from_secs(4) {
        amid = sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut superuser).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(amid > 0, "none is amid a statement");
    tap.silence();
    sqlx::raw_sql("COMMIT").execute(&mut superuser).await.unwrap();
    tap.resume_without_the_old();
    let mut given_up = 0;
    while let Some(answered) = asked.join_next().await {
        let (status, says_when, took) = answered.unwrap();
        assert!(took < Duration::from_secs(12), "{took:?}");
        // Who still waited for a connection may get one that is new.
        if status != StatusCode::OK {
            assert!(status == StatusCode::SERVICE_UNAVAILABLE && says_when, "{status}");
            given_up += 1;
        }
    }
    assert!(given_up >= amid, "{given_up} given up, and {amid} were amid a statement");
    until_ready_says(service.base(), None).await;
    let since = Instant::now();
    let owner = &service.made.owner.token;
    while service.call(Method::GET, "/v1/user/tokens", owner, None).await.0 != StatusCode::OK {
        assert!(since.elapsed() < Duration::from_secs(30), "nothing is read any more");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    whole(&service).await;
    service.stop().await;
}
