//! PostgreSQL stopped as by a debugger: its connections stay, and nothing is answered.

use super::{all_happened_once, ask_for_all, plaintext, until_ready_says};
use crate::support::load::{Ledger, Load, People};
use crate::support::people::rename;
use crate::support::program::{INIT, Program, command, verify};
use crate::support::{Scratch, Service};
use counterfoil::clock::Clock;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A stream of the events after a position, of which nothing was read yet.
async fn feed(service: &Service, after: u64) -> Response {
    let request = reqwest::Client::new().get(format!("{}/v1/events?after={after}", service.base()));
    let request = request.bearer_auth(&service.made.owner.token).header("accept", "application/x-ndjson");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response
}

/// The whole lines of a stream, from here to where it ends or is cut: the positions of its events, which follow each
/// other, and the last line if there is one.
async fn read(mut feed: Response, after: u64) -> (u64, Option<Value>) {
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = feed.chunk().await {
        text.extend_from_slice(&chunk);
    }
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let (mut seq, mut last) = (after, None);
    for line in std::str::from_utf8(&text[..whole]).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(last.is_none(), "something comes after the last line");
        match line["record"]["seq"].as_u64() {
            Some(next) => {
                assert_eq!(next, seq + 1);
                seq = next;
            }
            None => last = Some(line),
        }
    }
    (seq, last)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_postgres_stops_no_clock_and_loses_no_event_of_a_feed() {
    let service = Service::start().await;
    let (witness, doomed) = (service.issue(json!({})).await, service.issue(json!({})).await);
    rename(&service, 20_000).await;
    let (issued, feed) = (service.events("token.issued").await, feed(&service, 0).await);
    let end = Clock::system().now().plus_seconds(2);
    let brief = service.issue(json!({ "expires_at": end.to_string() })).await;
    while Clock::system().now().micros() < end.micros() - 300_000 {
        assert_eq!(service.is_active(plaintext(&brief)).await, Some(true));
    }

    let (frozen, since) = (service.freeze(), Instant::now());
    let asked = ask_for_all(&service, &doomed);
    let mut expired_while_fresh = 0;
    while since.elapsed() < Duration::from_secs(3) {
        let (sent, after) = (Clock::system().now(), since.elapsed());
        let (told, of_witness) =
            tokio::join!(service.is_active(plaintext(&brief)), service.is_active(plaintext(&witness)));
        if sent >= end {
            assert_eq!(told, Some(false), "{after:?} after the stop");
        }
        if let Some(active) = of_witness {
            assert!(active && after < Duration::from_secs(1), "{active}, {after:?} after the stop");
            expired_while_fresh += usize::from(sent >= end);
        }
    }
    assert!(expired_while_fresh > 0);
    drop(frozen);

    let asked = asked.join_all().await;
    assert!(
        asked.iter().all(|(status, ..)| status.is_success() || *status == StatusCode::SERVICE_UNAVAILABLE),
        "{asked:?}"
    );
    // In doubt whether its reader may still read, a stream ends, or is cut where nobody reads. It goes on from there.
    let (seq, last) = read(feed, 0).await;
    assert!(last.is_none_or(|last| last["next_after"] == seq));
    until_ready_says(service.base(), None).await;
    let (end, last) = read(self::feed(&service, seq).await, seq).await;
    let last = last.unwrap();
    assert_eq!((last["more"].as_bool(), last["next_after"].as_u64()), (Some(false), Some(end)));
    assert!(end > 20_000);
    all_happened_once(&service, &doomed, issued + 1).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stop_under_load_loses_nothing() {
    let scratch = Scratch::new();
    let mut program = Program::serve(scratch.path()).await;
    let people = People::made_by(command(scratch.path(), &INIT), program.base()).await;
    let (base, ledger) = (program.base().to_string(), Arc::new(Ledger::default()));
    for seconds in [1, 14] {
        let load = Load::start(&people, &base, &ledger, false);
        ledger.some_more().await;
        let frozen = scratch.freeze();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        drop(frozen);
        ledger.some_more().await;
        load.stop().await;
        ledger.check(&people, &base).await;
        ledger.tidy(&people, &base).await;
    }
    verify(scratch.path()).await;
    assert!(program.interrupt().await.success(), "{}", program.said());
    assert!(scratch.processes().is_empty());
}
