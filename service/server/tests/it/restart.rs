//! What a stop leaves as it was: instants in any zone, uses, and the outcome of requests whose answer was lost.

use crate::support::program::{INIT, Program, command, init};
use crate::support::raw::Raw;
use crate::support::{PATIENCE, Scratch, Service};
use counterfoil::clock::Clock;
use counterfoil::postgres::connect::Database;
use counterfoil::read_model::freshness::FENCE;
use nix::sys::signal::Signal;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use std::time::{Duration, Instant};

const TOKENS: &str = "/v1/user/tokens";

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

/// A request of the owner's, under an idempotency key unless that is empty.
async fn call(program: &Program, method: Method, path: &str, key: &str, body: Value) -> (StatusCode, Value) {
    let request = Client::new().request(method, format!("{}{path}", program.base()));
    let request = request.bearer_auth(program.printed("owner", "token"));
    let request = if key.is_empty() { request } else { request.header("idempotency-key", key) };
    let response = request.json(&body).send().await.unwrap();
    (response.status(), response.json().await.unwrap_or(Value::Null))
}

async fn introspect(program: &Program, plaintext: &str) -> Value {
    let request = Client::new().post(format!("{}/oauth2/introspect", program.base()));
    let request = request.basic_auth(
        program.printed("gateway", "client_id"),
        Some(program.printed("gateway", "client_secret")),
    );
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let response = request.body(format!("token={plaintext}")).send().await.unwrap();
    response.json().await.unwrap()
}

/// How many events of a type are shown to the owner.
async fn events(program: &Program, name: &str) -> usize {
    let (_, page) =
        call(program, Method::GET, &format!("/v1/events?type={name}&limit=1000"), "", json!({})).await;
    page["items"].as_array().unwrap().len()
}

/// Waits until the owner's first token is known again.
async fn until_it_answers(program: &Program) {
    let started = Instant::now();
    while call(program, Method::GET, "/v1/token", "", json!({})).await.0 != StatusCode::OK {
        assert!(started.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_is_the_same_in_every_zone_and_a_use_outlives_a_clean_stop() {
    let mut program = Program::made_in(&[("TZ", "Asia/Kolkata"), ("PGTZ", "America/St_Johns")]).await;
    until_it_answers(&program).await;
    let ends = |seconds| Clock::system().now().plus_seconds(seconds);
    let (first, second) = (ends(3600), ends(7200));
    let mut tokens = Vec::new();
    for (note, end) in [("second", second), ("first", first)] {
        let body = json!({ "note": note, "expires_at": end.to_string() });
        tokens.push(call(&program, Method::POST, TOKENS, "", body).await.1);
    }
    let plaintext = text(&tokens[1], "plaintext").to_string();
    let path = format!("{TOKENS}/{}", text(&tokens[1], "id"));
    let list = format!("{TOKENS}?sort=expires&order=asc&search=s");
    let ask = async |program: &Program| {
        let (_, mut record) = call(program, Method::GET, &path, "", json!({})).await;
        let used = (record["last_used_at"].take(), record["last_used_by"].take(), record["uses"].take());
        let (_, page) = call(program, Method::GET, &list, "", json!({})).await;
        let notes: Vec<Value> =
            page["items"].as_array().unwrap().iter().map(|item| item["note"].clone()).collect();
        let (_, events) = call(program, Method::GET, "/v1/events?type=token.issued", "", json!({})).await;
        let decided: Vec<Value> = events["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["record"]["decided_at"].clone())
            .collect();
        (json!([record, notes, decided]), used)
    };
    let (before, _) = ask(&program).await;
    assert_eq!(before[0]["expires_at"], first.to_string());
    assert_eq!(before[1], json!(["first", "second"]));
    assert!(before[2].as_array().unwrap().iter().all(|at| at.as_str().unwrap().ends_with('Z')), "{before}");
    assert_eq!(introspect(&program, &plaintext).await["exp"], first.unix_seconds());
    // The database gets another zone as well. The use right before the stop is not lost.
    let database = Database::open(None, program.data_dir(), &|_| {}).await.unwrap();
    let mut superuser = database.private.as_ref().unwrap().superuser("counterfoil").connect().await.unwrap();
    for of in ["DATABASE counterfoil", "ROLE counterfoil_service"] {
        let sql = format!("ALTER {of} SET timezone = 'America/St_Johns'");
        sqlx::query(AssertSqlSafe(sql)).execute(&mut superuser).await.unwrap();
    }
    program.restart(Signal::SIGTERM, &[("TZ", "Pacific/Kiritimati"), ("PGTZ", "Asia/Kathmandu")]).await;
    until_it_answers(&program).await;
    let (after, (at, by, uses)) = ask(&program).await;
    assert_eq!(after, before);
    assert_eq!((&by["client_id"], uses), (&json!(program.printed("gateway", "client_id")), json!(1)));
    assert!(at.as_str().unwrap() < text(&before[0], "expires_at"), "{at}");
    let answer = introspect(&program, &plaintext).await;
    assert_eq!((&answer["active"], &answer["exp"]), (&json!(true), &json!(first.unix_seconds())));
    superuser.close().await.unwrap();
    database.pool.close().await;
    database.private.unwrap().leave(&|_| {}).await.unwrap();
}

/// Sends a request of the owner's under a key, and goes away without reading the answer.
async fn lose_the_answer(program: &Program, path: &str, key: &str, body: &str) {
    let mut raw = Raw::to(program.base()).await;
    raw.send(format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nIdempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        program.printed("owner", "token"),
        body.len()
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_asked_for_again_and_shows_no_plaintext() {
    let mut program = Program::made().await;
    until_it_answers(&program).await;
    let (_, used) = call(&program, Method::POST, TOKENS, "", json!({ "note": "used" })).await;
    let (_, overlapped) = call(&program, Method::POST, TOKENS, "", json!({ "note": "overlapped" })).await;
    let rotate = |token: &Value| format!("{TOKENS}/{}/rotate", text(token, "id"));
    let requests = [
        ("issue", TOKENS.to_string(), r#"{"note":"orphan"}"#),
        ("until", rotate(&used), "{}"),
        ("overlap", rotate(&overlapped), r#"{"overlap":600}"#),
    ];
    let count = async |program: &Program| {
        (events(program, "token.issued").await, events(program, "token.rotated").await)
    };
    let (issued, rotated) = count(&program).await;
    for (key, path, body) in &requests {
        lose_the_answer(&program, path, key, body).await;
    }
    let started = Instant::now();
    while count(&program).await != (issued + 1, rotated + 2) {
        assert!(started.elapsed() < PATIENCE, "what was sent did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Again, again after a kill, and again after a stop: the same record, and nothing more.
    let mut first: Vec<Value> = Vec::new();
    for signal in [None, Some(Signal::SIGKILL), Some(Signal::SIGTERM)] {
        if let Some(signal) = signal {
            program.restart(signal, &[]).await;
            until_it_answers(&program).await;
        }
        let mut records = Vec::new();
        for (key, path, body) in &requests {
            let body: Value = serde_json::from_str(body).unwrap();
            let (status, mut record) = call(&program, Method::POST, path, key, body).await;
            assert_eq!((status, text(&record, "plaintext")), (StatusCode::OK, "not_repeated"), "{record}");
            for use_of in ["last_used_at", "last_used_by", "uses"] {
                record[use_of] = Value::Null;
            }
            records.push(record);
        }
        if first.is_empty() {
            first = records.clone();
        }
        assert_eq!(records, first);
        assert_eq!(count(&program).await, (issued + 1, rotated + 2));
        // The holder of the earlier plaintext is not locked out.
        for token in [&used, &overlapped] {
            assert_eq!(introspect(&program, text(token, "plaintext")).await["active"], true);
        }
    }
    // The one whose plaintext nobody has can be told by its note and by never having been used, and be ended.
    let (_, page) = call(&program, Method::GET, &format!("{TOKENS}?search=orphan"), "", json!({})).await;
    let orphan = &page["items"][0];
    assert_eq!((&orphan["last_used_at"], &orphan["hint"]), (&Value::Null, &first[0]["hint"]));
    let path = format!("{TOKENS}/{}", text(orphan, "id"));
    assert_eq!(call(&program, Method::DELETE, &path, "", json!({})).await.0, StatusCode::NO_CONTENT);
    // The same without a key: it happened, and nothing remembers the request.
    let (status, token) = call(&program, Method::POST, TOKENS, "", json!({ "note": "orphan" })).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_ne!(token["id"], orphan["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_go_on_under_other_prefixes() {
    let mut program = Program::made().await;
    until_it_answers(&program).await;
    let (_, old) = call(&program, Method::POST, TOKENS, "", json!({ "note": "old" })).await;
    assert!(text(&old, "plaintext").starts_with("cf_pat_"), "{old}");
    let others =
        [("COUNTERFOIL__PREFIXES__PERSONAL", "acme_p_"), ("COUNTERFOIL__PREFIXES__GATEWAY", "acme_g_")];
    program.restart(Signal::SIGTERM, &others).await;
    until_it_answers(&program).await;
    // The owner's token and the gateway's, with which this asks, are old ones too.
    assert_eq!(introspect(&program, text(&old, "plaintext")).await["active"], true);
    let (_, new) = call(&program, Method::POST, TOKENS, "", json!({ "note": "new" })).await;
    let path = format!("{TOKENS}/{}/rotate", text(&old, "id"));
    let (_, rotated) = call(&program, Method::POST, &path, "", json!({})).await;
    let (_, gateways) = call(&program, Method::GET, "/v1/gateways", "", json!({})).await;
    let path = format!("/v1/gateways/{}/tokens", text(&gateways["items"][0], "id"));
    let (_, gateway) = call(&program, Method::POST, &path, "", json!({})).await;
    for (token, prefix) in [(&new, "acme_p_"), (&rotated, "acme_p_"), (&gateway, "acme_g_")] {
        let (plaintext, hint) = (text(token, "plaintext"), text(token, "hint"));
        assert!(plaintext.starts_with(hint) && hint.starts_with(prefix), "{token}");
        assert_eq!((hint.len(), plaintext.len()), (prefix.len() + 4, prefix.len() + 49), "{token}");
    }
    for plaintext in [&old, &new, &rotated].map(|token| text(token, "plaintext")) {
        assert_eq!(introspect(&program, plaintext).await["active"], true);
        // A plaintext in a field of words is refused, whatever its prefix.
        let note = json!({ "note": format!("key{plaintext}") });
        assert_eq!(call(&program, Method::POST, TOKENS, "", note).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    }
    // What `init` makes begins as configured as well.
    let scratch = Scratch::new();
    let mut command = command(scratch.path(), &INIT);
    command.envs(others);
    let made = init(command).await;
    assert!(text(&made["owner"], "token").starts_with("acme_p_"), "{made}");
    assert!(text(&made["gateway"], "client_secret").starts_with("acme_g_"), "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_until_what_another_node_proved_is_over() {
    let service = Service::start().await;
    // Not from before its stop, which takes time, too.
    let (service, began) = service.restart_after(async { Instant::now() }).await;
    assert!(began.elapsed() >= FENCE);
    service.stop().await;
}
