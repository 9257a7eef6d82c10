//! Expiry: at its edge, in the log, in the limit, and very far away.

mod aside;

use crate::foreign::transaction;
use crate::support::{Scratch, Service};
use counterfoil::app::App;
use counterfoil::clock::Clock;
use counterfoil::config::Config;
use counterfoil::postgres::connect::Database;
use counterfoil_domain::timestamp::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const TOKENS: &str = "/v1/user/tokens";

fn now() -> Timestamp {
    Clock::system().now()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

async fn pass(at: Timestamp) {
    while now() < at {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until a query counts so many.
async fn until(database: &Database, sql: &'static str, count: i64) {
    let counts = async || sqlx::query_scalar::<_, i64>(sql).fetch_one(&database.pool).await.unwrap() == count;
    crate::support::until(sql, counts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_after_the_expiry_is_answered_active() {
    let service = Service::start().await;
    let end = Timestamp::from_micros(now().micros() + 1_500_000);
    // The same instant with another offset and in nine digits, of which the last three are cut.
    let utc = end.to_string();
    let elsewhere = end.plus_seconds(7200).to_string().replace('Z', "+02:00");
    let fraction = end.micros().rem_euclid(1_000_000);
    let nine = format!("{}.{fraction:06}999Z", &utc[..19]);
    let mut tokens = Vec::new();
    for spelling in [&utc, &elsewhere, &nine] {
        let token = service.issue(json!({ "expires_at": spelling, "note": "expiring" })).await;
        assert_eq!(text(&token, "expires_at"), utc);
        tokens.push(text(&token, "plaintext").to_string());
    }
    let (mut active, mut inactive) = (0, 0);
    while inactive < 20 {
        for token in &tokens {
            let sent = now();
            let answer = service.introspect(token).await;
            let came = now();
            if answer["active"] == true {
                assert!(sent < end, "sent at {sent}, expired at {end}, answered active");
                assert!(answer["exp"].as_i64().unwrap() >= sent.unix_seconds(), "{answer}");
                active += 1;
            } else {
                assert!(came >= end, "answered inactive at {came}, before {end}");
                inactive += 1;
            }
        }
    }
    assert!(active > 0);
    // What introspection called inactive is listed so.
    let path = format!("{TOKENS}?state=expired&search=expiring");
    let (_, page) = service.call(Method::GET, &path, &service.made.owner.token, None).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 3);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_tokens_free_their_places_and_one_free_place_is_taken_once() {
    let service = Arc::new(Service::start().await);
    let owner = service.made.owner.token.clone();
    let issue = async |body| service.call(Method::POST, TOKENS, &owner, Some(body)).await;
    // One stood before: the owner's own.
    let mut lasting = Vec::new();
    for _ in 0..39 {
        lasting.push(issue(json!({})).await.1);
    }
    let end = now().plus_seconds(2);
    for _ in 0..10 {
        assert_eq!(issue(json!({ "expires_at": end.to_string() })).await.0, StatusCode::CREATED);
    }
    assert_eq!(issue(json!({})).await.0, StatusCode::CONFLICT);
    let issued = service.events("token.issued").await;
    pass(end).await;
    let mut answers = Vec::new();
    for _ in 0..15 {
        answers.push(issue(json!({})).await);
    }
    let created = answers.iter().map(|(status, _)| *status == StatusCode::CREATED).collect::<Vec<_>>();
    assert_eq!(created, [[true; 10].as_slice(), &[false; 5]].concat());
    let (_, refused) = &answers[14];
    assert_eq!(refused["type"], "/problems/token-limit");
    assert!(text(refused, "detail").contains("50"), "{refused}");
    for token in &lasting {
        assert_eq!(service.introspect(text(token, "plaintext")).await["active"], true);
    }
    // In the log each place was freed before it was taken.
    let sql = "SELECT count(*) FROM (SELECT seq, sum(CASE type WHEN 'token.issued' THEN 1 ELSE -1 END)
            OVER (ORDER BY seq) AS standing FROM events
            WHERE user_id IS NOT NULL AND type IN ('token.issued', 'token.expired')) s WHERE standing > 50";
    let over: i64 = sqlx::query_scalar(sql).fetch_one(&service.database.pool).await.unwrap();
    assert_eq!((over, service.events("token.expired").await), (0, 10));
    assert_eq!(service.events("token.issued").await, issued + 10);

    for token in lasting.iter().take(5) {
        let path = format!("{TOKENS}/{}", text(token, "id"));
        assert_eq!(service.call(Method::DELETE, &path, &owner, None).await.0, StatusCode::NO_CONTENT);
        let mut calls = JoinSet::new();
        for _ in 0..20 {
            let (service, owner) = (service.clone(), owner.clone());
            calls.spawn(async move { service.call(Method::POST, TOKENS, &owner, Some(json!({}))).await.0 });
        }
        let answers = calls.join_all().await;
        assert_eq!(answers.iter().filter(|status| **status == StatusCode::CREATED).count(), 1);
        assert_eq!(answers.iter().filter(|status| **status == StatusCode::CONFLICT).count(), 19);
    }
    let (_, page) = service.call(Method::GET, &format!("{TOKENS}?state=live&limit=100"), &owner, None).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 50);
    Arc::into_inner(service).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_comes_holds_up_nothing() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let issue =
        async |at: &str| service.call(Method::POST, TOKENS, &owner, Some(json!({ "expires_at": at }))).await;
    let mut far = Vec::new();
    for (at, status) in [
        ("9999-12-31T23:59:59.999999999Z", 201),
        ("9999-12-31T23:59:59+23:59", 201),
        ("9999-12-31T23:59:59-23:59", 422),
        ("10000-01-01T00:00:00Z", 400),
        ("+292277-01-01T00:00:00Z", 400),
        ("2026-12-31T23:59:60Z", 400),
        ("0001-01-01T00:00:00Z", 422),
        ("0001-01-01T00:00:00+23:59", 422),
    ] {
        let (answered, token) = issue(at).await;
        assert_eq!(answered.as_u16(), status, "{at}: {token}");
        far.extend((status == 201).then_some(token));
    }
    let end = now().plus_seconds(1);
    let (_, near) = issue(&end.to_string()).await;
    // Nobody asks for it: the sweeper records it alone.
    until(&service.database, "SELECT count(*) FROM events WHERE type = 'token.expired'", 1).await;
    let sql = "SELECT record FROM events WHERE type = 'token.expired'";
    let record: String = sqlx::query_scalar(sql).fetch_one(&service.database.pool).await.unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!((&record["actor"]["kind"], &record["body"]["id"]), (&json!("system"), &near["id"]));
    assert!(Timestamp::parse(text(&record, "decided_at")).unwrap() >= end);
    for token in &far {
        let answer = service.introspect(text(token, "plaintext")).await;
        assert_eq!(answer["active"], true);
        assert!((253_402_214_000..=253_402_300_799).contains(&answer["exp"].as_i64().unwrap()), "{answer}");
        let path = format!("{TOKENS}/{}", text(token, "id"));
        assert_eq!(service.call(Method::GET, &path, &owner, None).await.1["expires_at"], token["expires_at"]);
    }
    let (_, page) = service.call(Method::GET, &format!("{TOKENS}?sort=expires&limit=2"), &owner, None).await;
    assert_eq!(text(&page["items"][0], "expires_at"), "9999-12-31T23:59:59.999999Z");
    assert_eq!(page["items"][1]["id"], far[1]["id"]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_look_went_past_is_found_by_one_from_the_start() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let mut ids = Vec::new();
    for end in [now().plus_seconds(3600), now().plus_seconds(1)] {
        let body = json!({ "expires_at": end.to_string() });
        let (_, token) = service.call(Method::POST, TOKENS, &owner, Some(body)).await;
        ids.push(text(&token, "id").to_owned());
    }
    until(&service.database, "SELECT count(*) FROM events WHERE type = 'token.expired'", 1).await;
    // By then the sweeper is past an hour ago.
    for (table, id) in [("tokens", "id"), ("claimed_slots", "token_id")] {
        let sql =
            format!("UPDATE {table} SET expires_at = now() - interval '1 hour' WHERE {id} = '{}'", ids[0]);
        sqlx::query(AssertSqlSafe(sql)).execute(&service.database.pool).await.unwrap();
    }
    let since = Instant::now();
    while service.events("token.expired").await < 2 {
        assert!(since.elapsed() < Duration::from_secs(150), "it is never found");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    service.stop().await;
}

/// Rows as a long stop leaves them: tokens of many users that became due meanwhile, 500 in all.
async fn make_due(service: &Service) {
    let sql = "INSERT INTO users (id, email_id, email_commitment, memberships, password_set, seq)
        SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, gen_random_uuid(), '\\x00'::bytea || decode(repeat('00', 31), 'hex'), '{}', 0, 1
        FROM generate_series(1, 25) n";
    sqlx::query(sql).execute(&service.database.pool).await.unwrap();
    let sql = "WITH made AS (INSERT INTO tokens (id, kind, user_id, home, digest, hint, generation, scopes, expires_at, since, issued_at,
            issued_seq, disabled, slot, seq)
        SELECT gen_random_uuid(), 'personal', ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, gen_random_uuid(),
            decode(lpad(to_hex(n * 100 + slot), 64, '0'), 'hex'), 'cf_pat_0000', 1, 'read', now() - interval '1 second', 1, now(), 1, false, slot, 1
        FROM generate_series(1, 25) n, generate_series(0, 19) slot RETURNING id, user_id, slot, digest, expires_at),
        slots AS (INSERT INTO claimed_slots SELECT user_id, slot, id, expires_at FROM made)
        INSERT INTO claimed_digests (digest, token_id) SELECT digest, id FROM made";
    sqlx::query(sql).execute(&service.database.pool).await.unwrap();
}

/// How often the sweeper's index was entered, and how many entries of it were looked at.
async fn looks(service: &Service) -> (i64, i64) {
    let sql =
        "SELECT idx_scan, idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'tokens_to_expire'";
    sqlx::query_as(sql).fetch_one(&service.database.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_goes_on_from_where_the_last_one_was() {
    let service = Service::start().await;
    // Nothing that has expired can be cleared away.
    let mut foreign = transaction(&service, "counterfoil").await;
    make_due(&service).await;
    until(&service.database, "SELECT count(*) FROM events WHERE type = 'token.expired'", 500).await;
    let before = looks(&service).await;
    crate::support::until("it looks again", async || looks(&service).await.0 >= before.0 + 10).await;
    let after = looks(&service).await;
    // One of them may be from the start, and the statistics come late: not all ten go past all five hundred.
    assert!(after.1 - before.1 < 1_500, "{before:?} {after:?}");
    sqlx::query("COMMIT").execute(&mut foreign).await.unwrap();
    foreign.close().await.unwrap();
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_one_command_of_due_tokens_is_recorded() {
    let service = Service::start().await;
    make_due(&service).await;
    until(&service.database, "SELECT count(*) FROM events WHERE type = 'token.expired'", 500).await;
    until(&service.database, "SELECT count(*) FROM tokens WHERE expires_at < now() AND ended_seq IS NULL", 0)
        .await;
    // What one batch records stands under one id: a sweep ends what it names, and nothing else of the same users.
    let sql = "SELECT count(*) FROM events WHERE type = 'token.expired' GROUP BY record::json->>'request_id'";
    let batches: Vec<i64> = sqlx::query_scalar(sql).fetch_all(&service.database.pool).await.unwrap();
    assert!(batches.iter().all(|events| *events <= 200), "{batches:?}");
    service.stop().await;
}

#[tokio::test]
async fn what_is_kept_for_a_time_goes_and_the_rest_stays() {
    let data = Scratch::new();
    let (clock, config) = (Clock::system(), Config::default());
    let database = Database::open(None, data.path(), &|_| {}).await.unwrap();
    // More than one statement's worth of each is over; two of each are not.
    let keys = "INSERT INTO idempotency_keys (key, body, created_at)
        SELECT sha256(n::text::bytea), sha256('x'), now() - CASE WHEN n <= 1100 THEN interval '24 hours 1 second'
            ELSE interval '23 hours 59 minutes' END FROM generate_series(1, 1102) n";
    let sessions = "INSERT INTO sessions SELECT (jsonb_populate_record(NULL::sessions, jsonb_build_object(
            'id', gen_random_uuid(), 'user_id', gen_random_uuid(), 'organization_id', gen_random_uuid(),
            'digest', sha256(n::text::bytea),
            'expires_at', now() + CASE WHEN n <= 1100 THEN interval '-1 second' ELSE interval '1 hour' END))).*
        FROM generate_series(1, 1102) n";
    // What the command line asked, and was killed before it took it away, with an outcome and without one.
    let requests = "INSERT INTO operator_requests SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint
            - CASE WHEN n <= 4 THEN 86401000 ELSE 86340000 END), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
            '', CASE n % 2 WHEN 0 THEN '\"done\"' END FROM generate_series(1, 6) n";
    for sql in [keys, sessions, requests] {
        sqlx::query(sql).execute(&database.pool).await.unwrap();
    }
    let (app, task) = App::start(&config, &database, clock, None, &|_| {}).await.unwrap();
    for sql in [
        "SELECT count(*) FROM idempotency_keys",
        "SELECT count(*) FROM operator_requests",
        "SELECT count(*) FROM sessions",
    ] {
        until(&database, sql, 2).await;
    }
    drop(app);
    task.await.unwrap();
    database.pool.close().await;
    database.private.unwrap().leave(&|_| {}).await.unwrap();
}
