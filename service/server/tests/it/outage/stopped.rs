//! PostgreSQL stopped as by a debugger: its connections stay, and nothing is answered.

use super::{all_happened_once, ask_for_all, plaintext, until_ready_says};
use crate::support::load::{Ledger, Load, People};
use crate::support::people::{command as act, commit};
use crate::support::program::{INIT, Program, command, run};
use crate::support::{Scratch, Service};
use counterfoil::clock::{Clock, random};
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Command};
use counterfoil_domain::ids::ValueId;
use counterfoil_domain::token::change::ChangeToken;
use counterfoil_domain::value::Value as Text;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Makes so many events, a hundred at a time.
async fn rename(service: &Service, token: &Value, times: usize) {
    let presented = service.call(Method::GET, "/v1/token", &service.made.owner.token, None).await.1;
    let token_id = presented["id"].as_str().unwrap().parse().unwrap();
    let actor = Actor::Token { token_id, generation: 1, user_id: service.made.owner.id };
    let id = token["id"].as_str().unwrap().parse().unwrap();
    let renamed = |number: usize| -> Command {
        let text = format!("the {number}th name");
        let note = Text { id: ValueId(Clock::system().uuid()), salt: random(), text };
        let note = Some(Some(note));
        act(
            service,
            &actor,
            Action::ChangeToken(ChangeToken { id, if_match: None, note, scopes: None, expires_at: None }),
        )
    };
    for hundred in 0..times / 100 {
        let commands: Vec<Command> = (0..100).map(|number| renamed(hundred * 100 + number)).collect();
        assert!(commit(service, &commands).await.iter().all(Result::is_ok));
    }
}

/// A stream of events of which nothing was read yet.
async fn feed(service: &Service) -> Response {
    let request = reqwest::Client::new().get(format!("{}/v1/events", service.base()));
    let request = request.bearer_auth(&service.made.owner.token).header("accept", "application/x-ndjson");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response
}

/// The lines of a stream, from here to its end.
async fn lines(mut feed: Response) -> Vec<Value> {
    let mut text = Vec::new();
    while let Some(chunk) = feed.chunk().await.unwrap() {
        text.extend_from_slice(&chunk);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_postgres_stops_no_clock_and_cuts_no_line() {
    let service = Service::start().await;
    let (witness, doomed) = (service.issue(json!({})).await, service.issue(json!({})).await);
    rename(&service, &witness, 20_000).await;
    let (issued, feed) = (service.events("token.issued").await, feed(&service).await);
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
    let lines = lines(feed).await;
    let (last, events) = lines.split_last().unwrap();
    let seqs: Vec<u64> = events.iter().map(|line| line["record"]["seq"].as_u64().unwrap()).collect();
    assert_eq!((last["more"].as_bool(), last["next_after"].as_u64()), (Some(false), seqs.last().copied()));
    assert!(seqs.iter().copied().eq(1..=seqs.len() as u64));
    until_ready_says(service.base(), None).await;
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
    let verified = run(command(scratch.path(), &["verify"])).await;
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    assert!(program.interrupt().await.success(), "{}", program.said());
    assert!(scratch.processes().is_empty());
}
