//! Sessions that were idle have ended meanwhile, by whoever does not like idle ones: who comes first then notices nothing.

use super::{path, until_ready_says};
use crate::support::browser::{OWNER, owners_password, request, signed_in};
use crate::support::{Service, until};
use counterfoil::event_log::SERVING_LOCK;
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgConnection};

/// Has the pool connect as often as it may, and waits until each of its sessions is idle.
async fn all_are_idle(service: &Service) {
    let pool = &service.database.pool;
    let held = join_all((0..pool.options().get_max_connections()).map(|_| pool.acquire())).await;
    assert!(held.iter().all(Result::is_ok));
    drop(held);
    until("all are idle", async || pool.num_idle() == pool.size() as usize).await;
}

/// The process of the writer's session.
async fn writers(superuser: &mut PgConnection) -> Option<i32> {
    let sql = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND (classid::bigint << 32 | objid::bigint) = $1";
    sqlx::query_scalar(sql).bind(SERVING_LOCK).fetch_optional(superuser).await.unwrap()
}

/// Ends every session of the service, but one; how many those are.
async fn end_all_but(superuser: &mut PgConnection, one: Option<i32>) -> i64 {
    let sql = "SELECT count(*) FROM (SELECT pg_terminate_backend(pid, 10000) AS ended FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND pid IS DISTINCT FROM $1) s WHERE ended";
    sqlx::query_scalar(sql).bind(one).fetch_one(superuser).await.unwrap()
}

/// Asks for something as the owner, and expects it done.
async fn done(service: &Service, method: Method, path: &str, body: Option<Value>) -> Value {
    let (status, answer) = service.call(method.clone(), path, &service.made.owner.token, body).await;
    assert!(status.is_success(), "{method} {path}: {status} {answer}");
    answer
}

/// Reads the events in a session. A stream that was in doubt for a moment has ended early, and said where to go on.
async fn read_all(service: &Service, cookie: &str) {
    let mut after = 0;
    until("all is read", async || {
        let stream = request(service, Method::GET, &format!("/v1/events?after={after}"));
        let stream = stream.header("cookie", cookie).header("accept", "application/x-ndjson");
        let stream = stream.send().await.unwrap();
        assert_eq!(stream.status(), StatusCode::OK);
        let text = stream.text().await.unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        after = last["next_after"].as_u64().unwrap();
        last["more"] == false
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_first_after_idle_sessions_were_ended_is_answered_as_ever() {
    let service = Service::start().await;
    let token = service.issue(json!({})).await;
    let superuser = service.database.private.as_ref().unwrap().superuser("counterfoil");
    let mut superuser = superuser.connect().await.unwrap();
    // The writer's own is never idle for longer than between two proofs.
    let end = async |superuser: &mut PgConnection| {
        all_are_idle(&service).await;
        let writers = writers(superuser).await;
        assert!(writers.is_some());
        assert!(end_all_but(superuser, writers).await >= 16);
    };
    let rotate = format!("{}/rotate", path(&token));
    for (method, path, body) in [
        (Method::GET, "/v1/user/tokens", None),
        (Method::POST, "/v1/user/tokens", Some(json!({ "note": "first" }))),
        (Method::GET, "/v1/events", None),
        (Method::PATCH, &path(&token), Some(json!({ "note": "second" }))),
        (Method::POST, &rotate, Some(json!({}))),
        (Method::DELETE, &path(&token), None),
    ] {
        end(&mut superuser).await;
        done(&service, method, path, body).await;
    }
    // As many at once as there were sessions, and more.
    end(&mut superuser).await;
    join_all((0..20).map(|_| done(&service, Method::GET, "/v1/user/tokens", None))).await;
    // Whoever signs in, and a stream of events, for whose session there is a connection of its own.
    end(&mut superuser).await;
    let cookie = signed_in(&service, OWNER, &owners_password(&service)).await;
    for _ in 0..2 {
        end(&mut superuser).await;
        read_all(&service, &cookie).await;
    }

    // With the writer's, nothing is answered from what may be old until there is another. Then all is as ever.
    all_are_idle(&service).await;
    let before = writers(&mut superuser).await;
    end_all_but(&mut superuser, None).await;
    until("there is another", async || writers(&mut superuser).await.is_some_and(|new| Some(new) != before))
        .await;
    until_ready_says(service.base(), None).await;
    service.issue(json!({})).await;
    done(&service, Method::GET, "/v1/user/tokens", None).await;
    drop(superuser);
    crate::whole::whole(&service).await;
    service.stop().await;
}
