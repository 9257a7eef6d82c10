//! Idempotency keys while a clock lies: one is not forgotten by it, and none is kept until a day that is far off.

use super::{HOUR, LIES, READY, is_active, move_the_databases_clock, until_ready_says, with_movable_clocks};
use crate::support::Service;
use crate::support::browser::{HERE, OWNER, owners_password, request, signed_in};
use counterfoil::clock::Clock;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Ends all of the owner's tokens, and says how many those were.
async fn end_all(service: &Service, cookie: &str, key: &str) -> Value {
    let request =
        request(service, Method::DELETE, "/v1/user/tokens").header("cookie", cookie).header("origin", HERE);
    let answer = request.header("idempotency-key", key).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer.json::<Value>().await.unwrap()["revoked"].clone()
}

/// Another token, issued in the session.
async fn another(service: &Service, cookie: &str) -> String {
    let request =
        request(service, Method::POST, "/v1/user/tokens").header("cookie", cookie).header("origin", HERE);
    let issued: Value = request.json(&json!({})).send().await.unwrap().json().await.unwrap();
    issued["plaintext"].as_str().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_clock_that_lies_ends_a_keys_day_or_puts_it_off() {
    let service = with_movable_clocks(&Clock::system()).await;
    until_ready_says(&service, READY).await;
    let cookie = signed_in(&service, OWNER, &owners_password(&service)).await;
    let ended = end_all(&service, &cookie, "once").await;
    assert!(ended.as_u64().unwrap() > 0);
    let since = another(&service, &cookie).await;
    move_the_databases_clock(&service, HOUR).await;
    until_ready_says(&service, LIES).await;
    // By the database's clock the key's day is over. By none that can be trusted, so a repetition ends nothing.
    let pool = &service.database.pool;
    let older = "UPDATE idempotency_keys SET created_at = created_at - interval '23 hours 30 minutes'";
    sqlx::query(older).execute(pool).await.unwrap();
    assert_eq!(end_all(&service, &cookie, "once").await, ended);
    assert!(is_active(&service, &since).await);
    // What is done now is remembered for a day from now.
    assert_eq!(end_all(&service, &cookie, "again").await, 1);
    let sql = "SELECT count(*) FROM idempotency_keys
        WHERE created_at > pg_catalog.clock_timestamp() + interval '2 s'";
    assert_eq!(sqlx::query_scalar::<_, i64>(sql).fetch_one(pool).await.unwrap(), 0, "keys in the future");
    move_the_databases_clock(&service, 0).await;
    service.stop().await;
}
