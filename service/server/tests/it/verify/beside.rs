//! `verify` beside clients who change the tokens of one user at once.

use super::{run, verified};
use crate::queue::hold_the_order;
use crate::support::{Service, is_soak, rounds, without_limits};
use counterfoil::event_log::verify::{self, Progress};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions, Connection};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const TOKENS: &str = "/v1/user/tokens";

/// A life of a token: issued, narrowed, rotated, and ended by itself. What is stronger than it is, it never gets.
async fn life(service: &Service) -> Duration {
    let owner = &service.made.owner.token;
    let expect = async |method, path: &str, token: &str, body, expected| {
        let (status, answer) = service.call(method, path, token, body).await;
        assert_eq!(status.as_u16(), expected, "{path}: {answer}");
        answer
    };
    let text = |answer: &Value, field: &str| answer[field].as_str().unwrap().to_string();
    let began = Instant::now();
    let body = Some(json!({ "scopes": ["read", "write"] }));
    let token = expect(Method::POST, TOKENS, owner, body, 201).await;
    let took = began.elapsed();
    let path = format!("{TOKENS}/{}", text(&token, "id"));
    expect(Method::PATCH, &path, owner, Some(json!({ "scopes": ["write"] })), 200).await;
    let rotated =
        expect(Method::POST, &format!("{path}/rotate"), owner, Some(json!({ "overlap": 60 })), 200).await;
    // Both plaintexts are of the token as it is now.
    for plaintext in [text(&token, "plaintext"), text(&rotated, "plaintext")] {
        let stronger = Some(json!({ "scopes": ["read", "write"] }));
        expect(Method::POST, TOKENS, &plaintext, stronger, 403).await;
        assert_eq!(service.introspect(&plaintext).await["scope"], "write");
    }
    expect(Method::DELETE, &path, &text(&rotated, "plaintext"), None, 204).await;
    took
}

fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

/// Sixteen clients, until something else is done.
async fn clients(service: &Service, until: impl Future<Output = ()>) -> Vec<Duration> {
    let done = AtomicBool::new(false);
    let client = async || {
        let mut took = Vec::new();
        while !done.load(Ordering::Acquire) {
            took.push(life(service).await);
        }
        took
    };
    let end = async {
        until.await;
        done.store(true, Ordering::Release);
    };
    let (took, ()) = tokio::join!(join_all((0..16).map(|_| client())), end);
    took.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_finds_nothing_wrong_beside_sixteen_clients_and_holds_none_of_them_up() {
    let service = Service::start_with(without_limits, |edge| edge).await;
    let alone = clients(&service, tokio::time::sleep(Duration::from_secs(rounds(2, 20) as u64))).await;
    let verifying = async {
        let mut head = 0;
        for _ in 0..rounds(10, 200) {
            let found = verified(&service).await;
            assert_eq!(found.findings.first, []);
            assert!(
                found.events == found.head && found.head >= head,
                "it sees one moment, none before the last"
            );
            head = found.head;
        }
    };
    let beside = clients(&service, verifying).await;
    // Where other tests keep the machine busy, a bound would be about them.
    if is_soak() {
        let (alone, beside) = (p99(alone), p99(beside));
        assert!(beside < alone * 2 + Duration::from_millis(50), "{alone:?} alone, {beside:?} beside");
    }
    assert_eq!(verified(&service).await.findings.first, []);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_nobody_and_nobody_waits_for_it() {
    let service = Service::start().await;
    let mut writing = hold_the_order(&service).await;
    let looked = tokio::time::timeout(Duration::from_secs(30), verified(&service)).await;
    assert_eq!(looked.expect("it waits for a writer").findings.first, []);
    sqlx::query("ROLLBACK").execute(&mut writing).await.unwrap();
    writing.close().await.unwrap();
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_limit_of_what_clients_read_ends_it() {
    let service = Service::start().await;
    // A pool whose statements may take 300 ms, and a log that nobody can read for a second.
    let hasty = service.database.options.clone().options([("statement_timeout", "300ms")]);
    let hasty = PgPoolOptions::new().connect_lazy_with(hasty);
    let cluster = service.database.private.as_ref().unwrap();
    for table in ["events", "tokens", "claimed_slots"] {
        let mut slow = cluster.superuser("counterfoil").connect().await.unwrap();
        run(&mut slow, &format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).await;
        let ends = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            run(&mut slow, "COMMIT").await;
        };
        let progress = Arc::new(Progress::default());
        let (verified, _) = tokio::join!(verify::verify(&hasty, &progress), ends);
        assert_eq!(verified.unwrap().findings.first, [], "{table}");
    }
    service.stop().await;
}
