//! Each reason for which nothing can be called active is named, by `/readyz` and by whatever is refused for it.

use super::{path, plaintext, until_ready_says};
use crate::queue::owner;
use crate::support::Service;
use crate::support::people::{command as act, commit};
use counterfoil::clock::Clock;
use counterfoil::event_log::SERVING_LOCK;
use counterfoil::read_model::freshness::FENCE;
use counterfoil_domain::command::Action;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgConnection};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

async fn superuser(service: &Service) -> PgConnection {
    let cluster = service.database.private.as_ref().unwrap();
    cluster.superuser("counterfoil").connect().await.unwrap()
}

async fn run(superuser: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_string())).execute(superuser).await.unwrap();
}

/// Nothing is active, nothing is written, and everybody is told why.
async fn all_say(service: &Service, token: &Value, reason: &str) {
    until_ready_says(service.base(), Some(reason)).await;
    assert_eq!(service.is_active(plaintext(token)).await, None);
    let owner = &service.made.owner.token;
    for (method, path) in [(Method::DELETE, path(token)), (Method::GET, "/v1/user/tokens".into())] {
        let (status, problem) = service.call(method, &path, owner, None).await;
        assert_eq!(
            (status, problem["type"].as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, Some(&*format!("/problems/{reason}"))),
            "{path}: {problem}"
        );
    }
    // Where somebody is no member, that may have changed elsewhere.
    let request = reqwest::Client::new().get(format!("{}/v1/token", service.base())).bearer_auth(owner);
    let request = request.header("x-organization", Clock::system().uuid().to_string());
    assert_eq!(request.send().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_lock_another_has_says_so_and_waits_for_a_moment_once_it_has_it_back() {
    let service = Service::start().await;
    let (token, revoked) = (service.issue(json!({})).await, service.issue(json!({})).await);
    let (mut other, mut ends) = (superuser(&service).await, superuser(&service).await);
    // The other stands in line for the lock when the session that holds it is ended.
    let waits = tokio::spawn(async move {
        run(&mut other, &format!("SELECT pg_advisory_lock({SERVING_LOCK})")).await;
        other
    });
    let sql = "SELECT pid FROM pg_locks h WHERE locktype = 'advisory' AND granted AND EXISTS (SELECT 1 FROM pg_locks w
        WHERE w.locktype = 'advisory' AND NOT w.granted AND (w.classid, w.objid) = (h.classid, h.objid))";
    let holder: i32 = loop {
        match sqlx::query_scalar(sql).fetch_optional(&mut ends).await.unwrap() {
            Some(pid) => break pid,
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    run(&mut ends, &format!("SELECT pg_terminate_backend({holder})")).await;
    let mut other = waits.await.unwrap();
    all_say(&service, &token, "another-serves").await;
    let id = revoked["id"].as_str().unwrap().parse().unwrap();
    let (owner, revoke) = (owner(&service).await, Action::Revoke { id, if_match: None, reason: None });
    assert!(commit(&service, &[act(&service, &owner, revoke)]).await[0].is_ok());
    // Until a second after it gave the lock back, the other may still answer by its last proof.
    let given_back = Instant::now();
    run(&mut other, &format!("SELECT pg_advisory_unlock({SERVING_LOCK})")).await;
    let told = loop {
        match service.is_active(plaintext(&revoked)).await {
            Some(active) => break active,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert!(given_back.elapsed() >= FENCE, "it answers {:?} after", given_back.elapsed());
    assert!(!told);
    assert_eq!(service.is_active(plaintext(&token)).await, Some(true));
    drop((other, ends));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_in_the_place_of_the_database_is_not_taken_for_it() {
    let service = Service::start().await;
    let token = service.issue(json!({})).await;
    let cluster = service.database.private.as_ref().unwrap();
    let (signal, owner) =
        (cluster.cluster_dir().join("standby.signal"), cluster.cluster_dir().metadata().unwrap());
    std::fs::write(&signal, "").unwrap();
    std::os::unix::fs::chown(&signal, Some(owner.uid()), Some(owner.gid())).unwrap();
    // It gives locks away, and what it shows ends where its server was killed.
    kill(Pid::from_raw(cluster.postmaster_pid().unwrap()), Signal::SIGKILL).unwrap();
    all_say(&service, &token, "database-unfit").await;
    let mut superuser = superuser(&service).await;
    run(&mut superuser, "SELECT pg_promote()").await;
    until_ready_says(service.base(), None).await;
    assert_eq!(service.is_active(plaintext(&token)).await, Some(true));
    drop(superuser);
    crate::whole::whole(&service).await;
    service.stop().await;
}

/// Has the server take a setting up, as far as new sessions show.
async fn reload(superuser: &mut PgConnection, sql: &str) {
    run(superuser, sql).await;
    run(superuser, "SELECT pg_reload_conf()").await;
    // Sessions take it up between two statements.
    tokio::time::sleep(Duration::from_millis(500)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_a_reload_makes_wrong_are_noticed_at_once() {
    let service = Service::start().await;
    let token = service.issue(json!({})).await;
    let mut superuser = superuser(&service).await;
    for (name, wrong) in
        [("fsync", "off"), ("full_page_writes", "off"), ("default_transaction_read_only", "on")]
    {
        reload(&mut superuser, &format!("ALTER SYSTEM SET {name} = {wrong}")).await;
        all_say(&service, &token, "database-unfit").await;
        run(&mut superuser, "SET default_transaction_read_only = off").await;
        reload(&mut superuser, &format!("ALTER SYSTEM RESET {name}")).await;
        until_ready_says(service.base(), None).await;
        assert_eq!(service.is_active(plaintext(&token)).await, Some(true), "{name}");
    }
    drop(superuser);
    crate::whole::whole(&service).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_is_durable_whatever_a_reload_says_of_commits() {
    let service = Service::start().await;
    let mut superuser = superuser(&service).await;
    run(&mut superuser, "ALTER SYSTEM SET wal_writer_delay = '10s'").await;
    reload(&mut superuser, "ALTER SYSTEM SET synchronous_commit = off").await;
    drop(superuser);
    let tokens = [service.issue(json!({})).await, service.issue(json!({})).await];
    let cluster = service.database.private.as_ref().unwrap();
    kill(Pid::from_raw(cluster.postmaster_pid().unwrap()), Signal::SIGKILL).unwrap();
    // The setting is still there, so the service takes no new session until it is mended.
    until_ready_says(service.base(), Some("database-unfit")).await;
    let mut superuser = self::superuser(&service).await;
    reload(&mut superuser, "ALTER SYSTEM RESET synchronous_commit").await;
    until_ready_says(service.base(), None).await;
    for token in &tokens {
        assert_eq!(service.is_active(plaintext(token)).await, Some(true));
    }
    drop(superuser);
    crate::whole::whole(&service).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_this_version_does_not_know_stops_the_index_and_is_named() {
    let service = Service::start().await;
    let token = service.issue(json!({})).await;
    let mut superuser = superuser(&service).await;
    run(&mut superuser, "SET session_replication_role = replica").await;
    // As a newer version would write it.
    let sql = "INSERT INTO events (seq, record, chain, type, organization_id, subject_id, user_id, decided_at)
        SELECT seq + 1, next.record, sha256(chain || convert_to(next.record, 'UTF8')), 'token.blessed',
            organization_id, subject_id, user_id, decided_at
        FROM (SELECT * FROM events ORDER BY seq DESC LIMIT 1) last, LATERAL (SELECT replace(replace(last.record,
            '\"seq\":' || last.seq, '\"seq\":' || last.seq + 1), last.type, 'token.blessed')) next(record)";
    run(&mut superuser, sql).await;
    all_say(&service, &token, "index-behind").await;
    let lags = |by| service.metrics().contains(&format!("counterfoil_applied_lag_events {by}\n"));
    assert!(lags(1), "{}", service.metrics());
    run(&mut superuser, "DELETE FROM events WHERE type = 'token.blessed'").await;
    until_ready_says(service.base(), None).await;
    assert!(lags(0), "{}", service.metrics());
    assert_eq!(service.is_active(plaintext(&token)).await, Some(true));
    crate::whole::whole(&service).await;
    service.stop().await;
}
