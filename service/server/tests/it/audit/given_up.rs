//! Readers of events that go away while the database works for them.

use super::padding;
use crate::support::http2::{END_HEADERS, END_STREAM, Frames, frame, head, kind};
use crate::support::people::person;
use crate::support::{PATIENCE, Service, until};
use counterfoil_domain::role::Role;
use reqwest::{Method, StatusCode};
use std::time::{Duration, Instant};

/// Events in the log: more than a stream reads before its client takes some.
const MANY: i64 = 60_000;

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_go_away_leave_the_pool_to_others() {
    let service = Service::start().await;
    padding(&service, "user.password_set", service.made.owner.id, MANY).await;
    let one = person(&service, "one@example.com", Role::Auditor).await;
    let other = person(&service, "other@example.com", Role::Auditor).await;
    // Streams that have begun, and wait for their clients: each may send a little (RFC 9113 section 6.9.2).
    let mut begun = Vec::new();
    for token in [&service.made.owner.token, &one.plaintext, &other.plaintext] {
        let mut readers = Frames::to(service.base(), &[(4, 100)]).await;
        let authorization = format!("Bearer {token}");
        let more = [("authorization", authorization.as_str()), ("accept", "application/x-ndjson")];
        for stream in [1, 3, 5, 7] {
            let head = head("GET", "/v1/events", &more);
            readers.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &head)).await;
            assert_eq!(readers.until(kind::DATA).await.unwrap().payload.len(), 100);
        }
        begun.push(readers);
    }
    let cluster = service.database.private.as_ref().unwrap();
    let mut superuser = sqlx::ConnectOptions::connect(&cluster.superuser("counterfoil")).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE").execute(&mut superuser).await.unwrap();
    let reading = async || {
        let sql = "SELECT count(*) FROM pg_stat_activity
            WHERE wait_event_type = 'Lock' AND query LIKE '%e.record, e.chain FROM events%'";
        sqlx::query_scalar::<_, i64>(sql).fetch_one(&service.database.pool).await.unwrap()
    };
    for mut readers in begun {
        // They read on, as far as the database lets them, and go away.
        for stream in [0, 1, 3, 5, 7] {
            readers.send(&frame(kind::WINDOW_UPDATE, 0, stream, &(1u32 << 30).to_be_bytes())).await;
        }
        let readers = tokio::spawn(async move { readers.ends_within(PATIENCE).await });
        until("they wait for the database", async || reading().await >= 4).await;
        readers.abort();
    }
    let gone = Instant::now();
    while gone.elapsed() < Duration::from_secs(1) {
        assert!(reading().await <= 4, "others read in place of some for whom the database still works");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut superuser).await.unwrap();
    let owner = &service.made.owner.token;
    service.until_known(owner).await;
    // Once the database has done what it was asked for by those who have gone.
    let reads = async || service.call(Method::GET, "/v1/events", owner, None).await.0 == StatusCode::OK;
    until("others read", reads).await;
    service.stop().await;
}
