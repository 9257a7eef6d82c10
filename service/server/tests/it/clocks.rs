//! Clocks that lie: nothing ends for good, only what narrows is written, and all heals.

mod held;
mod keys;

use crate::queue::{hold_the_order, issue, owner, until_somebody_waits, write};
use crate::support::people::{add_member, command};
use crate::support::{PATIENCE, Service, until};
use crate::whole::whole;
use counterfoil::clock::Clock;
use counterfoil::event_log::batch::{self, Input};
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::Action;
use counterfoil_domain::decide::Limits;
use counterfoil_domain::ids::UserId;
use counterfoil_domain::role::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use std::time::{Duration, Instant};

const HOUR: i64 = 3_600_000_000;
const TEN_YEARS: i64 = 10 * 365 * 24 * HOUR;

/// Whether the service is ready, and if not why, once it says what is expected.
async fn until_ready_says(service: &Service, expected: (StatusCode, &str)) {
    let since = Instant::now();
    loop {
        let response = reqwest::get(format!("{}/readyz", service.base())).await.unwrap();
        let said = (response.status(), response.text().await.unwrap());
        let kind = serde_json::from_str::<Value>(&said.1).ok().map(|problem| problem["type"].clone());
        if said.0 == expected.0 && kind.unwrap_or(json!("")) == expected.1 {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "expected {expected:?}, and it says {said:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const LIES: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "/problems/clocks-disagree");
const READY: (StatusCode, &str) = (StatusCode::OK, "");

/// One request of the owner's, again while nothing can be proved: on a busy machine a proof comes late.
async fn ask(service: &Service, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let since = Instant::now();
    loop {
        let owner = &service.made.owner.token;
        let answer = service.call(method.clone(), path, owner, body.clone()).await;
        if answer.0 != StatusCode::SERVICE_UNAVAILABLE || answer.1["type"] == LIES.1 {
            return answer;
        }
        assert!(since.elapsed() < PATIENCE, "{path}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether a plaintext is active, once that can be proved.
async fn is_active(service: &Service, plaintext: &str) -> bool {
    let mut active = None;
    let known = async || {
        active = service.is_active(plaintext).await;
        active.is_some()
    };
    until("something can be proved", known).await;
    active.unwrap()
}

/// How far the database's clock is moved: its functions are found in a schema before PostgreSQL's own.
async fn move_the_databases_clock(service: &Service, micros: i64) {
    let cluster = service.database.private.as_ref().unwrap();
    let mut superuser = cluster.superuser("counterfoil").connect().await.unwrap();
    for sql in [
        "CREATE SCHEMA IF NOT EXISTS lies",
        "GRANT USAGE ON SCHEMA lies TO PUBLIC",
        "CREATE TABLE IF NOT EXISTS lies.moved (by interval)",
        "GRANT SELECT ON lies.moved TO PUBLIC",
        "CREATE OR REPLACE FUNCTION lies.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
            'SELECT pg_catalog.clock_timestamp() + (SELECT by FROM lies.moved)'",
        "DELETE FROM lies.moved",
    ] {
        sqlx::query(sql).execute(&mut superuser).await.unwrap();
    }
    let sql = "INSERT INTO lies.moved VALUES (make_interval(secs => $1))";
    sqlx::query(sql).bind(micros as f64 / 1e6).execute(&mut superuser).await.unwrap();
}

/// While clocks lie: narrowing goes on, nothing else does, and nothing is recorded as expired or in the future.
async fn only_what_narrows(service: &Service) {
    let path = |token: &Value| format!("/v1/user/tokens/{}", token["id"].as_str().unwrap());
    let (status, page) = ask(service, Method::GET, "/v1/user/tokens", None).await;
    assert_eq!(status, StatusCode::OK);
    let items: Vec<Value> = page["items"].as_array().unwrap().clone();
    let named =
        |note: &str| items.iter().find(|token| token["note"] == note && token["state"] != "revoked").unwrap();
    let refused = [
        (Method::POST, "/v1/user/tokens".to_owned(), json!({})),
        (Method::POST, format!("{}/rotate", path(named("kept"))), json!({})),
        (Method::PATCH, path(named("kept")), json!({ "note": "kept too" })),
    ];
    for (method, path, body) in refused {
        let (status, problem) = ask(service, method, &path, Some(body)).await;
        assert_eq!((status, &problem["type"]), (LIES.0, &json!(LIES.1)), "{path}");
    }
    let narrows = json!({ "scopes": ["read"] });
    let narrowed = ask(service, Method::PATCH, &path(named("narrowed")), Some(narrows)).await;
    assert_eq!(narrowed.0, StatusCode::OK);
    let ended = ask(service, Method::DELETE, &path(named("doomed")), None).await;
    assert_eq!(ended.0, StatusCode::NO_CONTENT);
    assert_eq!(service.events("token.expired").await, 0);
    let sql = "SELECT count(*) FROM events WHERE decided_at > pg_catalog.clock_timestamp() + interval '2 s'";
    let ahead: i64 = sqlx::query_scalar(sql).fetch_one(&service.database.pool).await.unwrap();
    assert_eq!(ahead, 0, "events in the future");
}

/// A token of half an hour, and others to be kept, narrowed and revoked.
async fn some_tokens(service: &Service, clock: &Clock) -> Value {
    for note in ["kept", "narrowed", "doomed"] {
        service.issue(json!({ "note": note })).await;
    }
    service.issue(json!({ "expires_at": clock.now().plus_seconds(1800).to_string() })).await
}

/// A service whose clock, and whose database's, can be moved.
async fn with_movable_clocks(clock: &Clock) -> Service {
    let mut service = Service::start_on(clock.clone(), None).await;
    move_the_databases_clock(&service, 0).await;
    service.database.options =
        service.database.options.clone().options([("search_path", "lies,public,pg_catalog")]);
    // New sessions find the database's clock that can be moved.
    service.database.pool.set_connect_options(service.database.options.clone());
    service.restart().await
}

/// `node` and `database` are moved so far; then both are right again.
async fn lies(node: i64, database: i64) {
    let clock = Clock::system();
    let mut service = with_movable_clocks(&clock).await;
    let brief = some_tokens(&service, &clock).await;
    let plaintext = brief["plaintext"].as_str().unwrap();
    // The owner's first token lasts a day, and no clock that lies ten years ahead lets it in.
    let lasting = service.issue(json!({ "note": "lasting" })).await;
    service.made.owner.token = lasting["plaintext"].as_str().unwrap().into();
    until_ready_says(&service, READY).await;

    clock.set_offset(node);
    move_the_databases_clock(&service, database).await;
    until_ready_says(&service, LIES).await;
    only_what_narrows(&service).await;
    // Denied by the clock that says so, and not for good.
    assert_eq!(is_active(&service, plaintext).await, node <= 0);

    clock.set_offset(0);
    move_the_databases_clock(&service, 0).await;
    assert!(is_active(&service, plaintext).await);
    // A node that saw its clock jump distrusts it for a minute; one that starts now saw nothing.
    service = service.restart().await;
    until_ready_says(&service, READY).await;
    let healed = ask(&service, Method::POST, "/v1/user/tokens", Some(json!({ "note": "healed" }))).await;
    assert_eq!(healed.0, StatusCode::CREATED, "{healed:?}");
    assert!(is_active(&service, plaintext).await);
    assert_eq!(service.events("token.expired").await, 0);
    whole(&service).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_clock_is_an_hour_ahead() {
    lies(HOUR, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_databases_clock_is_an_hour_ahead() {
    lies(0, HOUR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_clock_is_ten_years_ahead() {
    lies(TEN_YEARS, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_databases_clock_is_ten_years_ahead() {
    lies(0, TEN_YEARS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_clock_is_an_hour_back() {
    lies(-HOUR, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_databases_clock_is_an_hour_back() {
    lies(0, -HOUR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_clocks_jump_an_hour_ahead() {
    lies(HOUR, HOUR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_clocks_jump_ten_years_ahead() {
    lies(TEN_YEARS, TEN_YEARS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_clocks_jump_an_hour_back() {
    lies(-HOUR, -HOUR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_holder_of_an_earlier_plaintext_ends_its_token_though_one_clock_says_that_it_is_over() {
    let clock = Clock::system();
    let service = Service::start_on(clock.clone(), None).await;
    let token = service.issue(json!({})).await;
    let path = format!("/v1/user/tokens/{}/rotate", token["id"].as_str().unwrap());
    let overlap = Some(json!({ "overlap": 600 }));
    let (status, rotated) = service.call(Method::POST, &path, &service.made.owner.token, overlap).await;
    assert_eq!(status, StatusCode::OK);
    clock.set_offset(HOUR);
    let old = token["plaintext"].as_str().unwrap();
    assert_eq!(service.introspect(old).await["active"], false);
    let request = reqwest::Client::new().post(format!("{}/oauth2/revoke", service.base()));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(request.body(format!("token={old}")).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(service.events("token.revoked").await, 1);
    assert_eq!(service.introspect(rotated["plaintext"].as_str().unwrap()).await["active"], false);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_read_before_a_long_catch_up_does_not_lie() {
    let service = Service::start().await;
    let owner = owner(&service).await;
    let superuser = service.database.private.as_ref().unwrap().superuser("counterfoil");
    let mut slow = superuser.connect().await.unwrap();
    // Another process appends while the writer waits for its turn, and then reading what it appended takes three seconds.
    let mut held = hold_the_order(&service).await;
    let issue = write(&service, &owner, Action::IssuePersonal(issue()));
    let meanwhile = async {
        until_somebody_waits(&mut held).await;
        sqlx::query("LOCK TABLE users IN ROW EXCLUSIVE MODE").execute(&mut held).await.unwrap();
        let slows = tokio::spawn(async move {
            let sql = "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT";
            sqlx::raw_sql(sql).execute(&mut slow).await.unwrap();
        });
        let waits = "SELECT count(*) FROM pg_locks WHERE relation = 'users'::regclass AND NOT granted";
        while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut held).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let add = add_member(UserId(Clock::system().uuid()), "late@example.com", Role::Member);
        let add = command(&service, &Actor::Operator { command: "test".into() }, add);
        let clock = Clock::system();
        let (commands, limits) = ([(&add, None)], Limits::default());
        let input = Input { commands: &commands, clock: &clock, limits, faults: None };
        batch::run(&mut held, &input, None).await.unwrap();
        slows.await.unwrap();
    };
    let (issued, ()) = tokio::join!(issue, meanwhile);
    assert!(issued.is_ok(), "{issued:?}");
    whole(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_starts_while_the_clock_is_ahead_ends_nothing_by_it() {
    let clock = Clock::system();
    let service = with_movable_clocks(&clock).await;
    let brief = some_tokens(&service, &clock).await;
    let plaintext = brief["plaintext"].as_str().unwrap();
    let database = service.database.private.as_ref().unwrap().superuser("counterfoil");
    let (service, ()) = service
        .restart_after(async {
            clock.set_offset(HOUR);
            let mut superuser = database.connect().await.unwrap();
            sqlx::query("UPDATE lies.moved SET by = '1 hour'").execute(&mut superuser).await.unwrap();
        })
        .await;
    // Denied, and through several sweeps not ended.
    assert_eq!(service.introspect(plaintext).await["active"], false);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(service.events("token.expired").await, 0);
    clock.set_offset(0);
    move_the_databases_clock(&service, 0).await;
    assert_eq!(service.introspect(plaintext).await["active"], true);
    service.stop().await;
}
