//! What one list may cost: it reads what it shows, and is given up in the end.

use super::list;
use crate::applied::{SOON, tokens_read};
use crate::support::Service;
use reqwest::StatusCode;
use serde_json::json;
use sqlx::{ConnectOptions, Executor, PgConnection};
use std::time::{Duration, Instant};

async fn superuser(service: &Service) -> PgConnection {
    service.database.private.as_ref().unwrap().superuser("counterfoil").connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_live_is_listed_without_a_look_at_what_ended() {
    let service = Service::start().await;
    let mut superuser = superuser(&service).await;
    let many = "INSERT INTO tokens SELECT (jsonb_populate_record(NULL::tokens, to_jsonb(t) || jsonb_build_object(
            'id', gen_random_uuid(), 'slot', NULL, 'ended_seq', 1, 'ended_at', now(), 'ended_how', 'revoked'))).*
         FROM tokens t, generate_series(1, 20000) WHERE t.user_id IS NOT NULL";
    superuser.execute(many).await.unwrap();
    superuser.execute("ANALYZE tokens").await.unwrap();
    // What was read until now is counted by then.
    tokio::time::sleep(SOON).await;
    let before = tokens_read(&mut superuser).await;
    for state in ["live", "live,disabled", "disabled"] {
        let (status, page) = list(&service, &[("state", state)]).await;
        let live = usize::from(state != "disabled");
        assert_eq!((status, page["items"].as_array().unwrap().len()), (StatusCode::OK, live), "{state}");
    }
    tokio::time::sleep(SOON).await;
    let read = tokens_read(&mut superuser).await - before;
    assert!(read < 1000, "{read} rows were read, of which one had to be");
    let (_, page) = list(&service, &[("state", "live,revoked"), ("limit", "100")]).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 100);
    drop(superuser);
    service.stop().await;
}

async fn setting(connection: impl Executor<'_, Database = sqlx::Postgres>, name: &str) -> String {
    sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_takes_too_long_is_given_up_and_says_so() {
    let service = Service::start().await;
    let pool = &service.database.pool;
    assert_eq!(setting(pool, "statement_timeout").await, "20s");
    assert_eq!(setting(pool, "client_connection_check_interval").await, "2s");
    // The writer's sessions have no limit: a canceled COMMIT could look like a success.
    let mut writers = service.database.options.connect().await.unwrap();
    assert_eq!(setting(&mut writers, "statement_timeout").await, "0");

    let mut slow = superuser(&service).await;
    slow.execute("BEGIN; LOCK TABLE token_usage IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let since = Instant::now();
    let (status, problem) = list(&service, &[]).await;
    assert_eq!(
        (status, &problem["type"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("/problems/database-error")),
        "{problem}"
    );
    let took = since.elapsed();
    assert!((18..30).contains(&took.as_secs()), "{took:?}");
    // Nobody is held up by that, and it heals.
    service.issue(json!({})).await;
    slow.execute("COMMIT").await.unwrap();
    assert_eq!(list(&service, &[]).await.0, StatusCode::OK);
    drop(slow);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_went_away_is_not_worked_for() {
    let service = Service::start().await;
    let mut slow = superuser(&service).await;
    slow.execute("BEGIN; LOCK TABLE token_usage IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let query = "SELECT count(*) FROM token_usage";
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query = $1";
    let mut connection = service.database.pool.acquire().await.unwrap().detach();
    let asked = tokio::spawn(async move { connection.fetch_one(query).await.map(drop) });
    // Not by the one that holds the lock: a transaction sees the sessions as they were at its first look.
    let mut watcher = superuser(&service).await;
    let mut wait = async |count: i64| {
        let since = Instant::now();
        while sqlx::query_scalar::<_, i64>(waiting).bind(query).fetch_one(&mut watcher).await.unwrap()
            != count
        {
            assert!(since.elapsed() < Duration::from_secs(20), "not in time");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    wait(1).await;
    asked.abort();
    wait(0).await;
    slow.execute("COMMIT").await.unwrap();
    drop(slow);
    service.stop().await;
}
