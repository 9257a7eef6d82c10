//! The index follows the log: what is committed is applied, whatever becomes of the database, and another log than the
//! one that was applied is refused.

use crate::support::people::{add_member, command, commit, person};
use crate::support::{PATIENCE, Service};
use counterfoil::clock::Clock;
use counterfoil::event_log::append::head;
use counterfoil::read_model::applier::Applier;
use counterfoil::read_model::digest_index::DigestIndex;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, SecretText};
use counterfoil_domain::ids::UserId;
use counterfoil_domain::people::SetPassword;
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::role::Role;
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

pub(crate) const SOON: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_applied_without_another_connection() {
    let service = Service::start().await;
    let operator = Actor::Operator { command: "test".into() };
    let all = join_all((0..16).map(|_| service.database.pool.acquire())).await;
    // A user changes, whose address the index answers with.
    let hash = SecretText("x".into());
    let set = Action::SetPassword(SetPassword { user: service.made.owner.id, hash, checked: None });
    let done = service.app().writer.write(command(&service, &operator, set), None);
    assert!(timeout(SOON, done).await.expect("in time").is_ok());
    let told = service.introspect(&service.made.owner.token).await;
    assert_eq!(told["username"], "owner@example.com");
    // The same of what another process appended, noticed by itself and by the next command.
    for by_itself in [true, false] {
        let user = UserId(Clock::system().uuid());
        let add = add_member(user, &format!("{user}@example.com"), Role::Member);
        let before = service.app().applied.load(Ordering::Acquire);
        assert!(commit(&service, &[command(&service, &operator, add)]).await[0].is_ok());
        if !by_itself {
            let hash = SecretText("y".into());
            let set = Action::SetPassword(SetPassword { user, hash, checked: None });
            let done = service.app().writer.write(command(&service, &operator, set), None);
            assert!(timeout(SOON, done).await.expect("in time").is_ok());
        }
        let applied = async {
            while service.app().applied.load(Ordering::Acquire) == before {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, applied).await.expect("in time");
        assert!(service.app().index.role(user, service.made.organization.id, u64::MAX).is_some());
    }
    assert!(all.iter().all(Result::is_ok));
    drop(all);
    crate::whole::whole(&service).await;
    service.stop().await;
}

async fn run(superuser: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(superuser).await.unwrap();
}

/// What stands in the place of a log after a backup was restored, by how long it is.
const OTHERS: [(&str, &str); 4] = [
    ("shorter", "DELETE FROM events WHERE seq > (SELECT max(seq) - 2 FROM events)"),
    ("empty", "DELETE FROM events"),
    ("as long", "UPDATE events SET chain = sha256('another') WHERE seq = (SELECT max(seq) FROM events)"),
    (
        "longer",
        "UPDATE events SET chain = sha256('another') WHERE seq = (SELECT max(seq) FROM events);
         INSERT INTO events (seq, record, chain, type, organization_id, subject_id, user_id, decided_at)
            SELECT seq + 1, next.record, sha256(chain || convert_to(next.record, 'UTF8')), type, organization_id, subject_id,
                user_id, decided_at
            FROM (SELECT * FROM events ORDER BY seq DESC LIMIT 1) last,
                LATERAL (SELECT replace(last.record, '\"seq\":' || last.seq, '\"seq\":' || last.seq + 1)) next(record)",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn another_log_than_the_applied_one_is_refused_whatever_its_length() {
    let service = Service::start().await;
    let [held, disabled, revoked] = [(); 3].map(|()| service.issue(json!({})));
    let (held, disabled, revoked) = tokio::join!(held, disabled, revoked);
    let (owner, text) =
        (&service.made.owner.token, |token: &Value| token["plaintext"].as_str().unwrap().to_string());
    let path = |token: &Value| format!("/v1/user/tokens/{}", token["id"].as_str().unwrap());
    let disable = format!("{}/disable", path(&disabled));
    assert_eq!(service.call(Method::POST, &disable, owner, Some(json!({}))).await.0, StatusCode::OK);
    assert_eq!(service.call(Method::DELETE, &path(&revoked), owner, None).await.0, StatusCode::NO_CONTENT);

    let cluster = service.database.private.as_ref().unwrap();
    let mut superuser = cluster.superuser("counterfoil").connect().await.unwrap();
    run(&mut superuser, "SET session_replication_role = replica; CREATE TABLE saved AS TABLE events").await;
    for (name, sql) in OTHERS {
        run(&mut superuser, &format!("BEGIN; {sql}; COMMIT")).await;
        let there: Vec<i64> = sqlx::query_scalar("SELECT seq FROM events ORDER BY seq")
            .fetch_all(&mut superuser)
            .await
            .unwrap();
        // At once, as at any time later: nothing is written after a history that is not the applied one.
        let (status, problem) = service.call(Method::DELETE, &path(&held), owner, None).await;
        assert_eq!(
            (status, &problem["type"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("/problems/log-replaced")),
            "{name}"
        );
        for _ in 0..30 {
            assert_eq!(service.is_active(&text(&held)).await, None, "{name}");
            assert_eq!(service.is_active(&text(&revoked)).await, None, "{name}");
            assert_eq!(service.is_active(&text(&disabled)).await, Some(false), "{name}");
            let ready = reqwest::get(format!("{}/readyz", service.base())).await.unwrap();
            assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE, "{name}");
            let problem: Value = ready.json().await.unwrap();
            assert_eq!(problem["type"], "/problems/log-replaced", "{name}");
            sleep(Duration::from_millis(20)).await;
        }
        let still: Vec<i64> = sqlx::query_scalar("SELECT seq FROM events ORDER BY seq")
            .fetch_all(&mut superuser)
            .await
            .unwrap();
        assert_eq!(still, there, "{name}");
        // The right one is back: whoever restored the wrong one first.
        run(&mut superuser, "BEGIN; DELETE FROM events; INSERT INTO events SELECT * FROM saved; COMMIT")
            .await;
        service.until_known(owner).await;
        assert_eq!(service.is_active(&text(&held)).await, Some(true), "{name}");
    }
    run(&mut superuser, "DROP TABLE saved").await;
    drop(superuser);
    crate::whole::whole(&service).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_while_the_index_loads_comes_by_following_the_log() {
    let service = Service::start().await;
    let owner = &service.made.owner.token;
    let (kept, revoked) = tokio::join!(service.issue(json!({})), service.issue(json!({})));
    let revoke = format!("/v1/user/tokens/{}", revoked["id"].as_str().unwrap());
    let mut superuser =
        service.database.private.as_ref().unwrap().superuser("counterfoil").connect().await.unwrap();
    let before = service.app().applied.load(Ordering::Acquire);

    // The index of another node, held up once it has read where the log ends.
    run(&mut superuser, "BEGIN; LOCK TABLE gateways IN ACCESS EXCLUSIVE MODE").await;
    let mut connection = service.database.options.connect().await.unwrap();
    let loader: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await.unwrap();
    let index = Arc::new(DigestIndex::new([1, 2]));
    let loading = {
        let index = index.clone();
        tokio::spawn(async move {
            let applier = Applier::load(&mut connection, index, Arc::default()).await.unwrap();
            (applier, connection)
        })
    };
    let waits = "SELECT EXISTS (SELECT FROM pg_locks
        WHERE relation = 'gateways'::regclass AND pid = $1 AND NOT granted)";
    let until = Instant::now() + PATIENCE;
    while !sqlx::query_scalar::<_, bool>(waits).bind(loader).fetch_one(&mut superuser).await.unwrap() {
        assert!(Instant::now() < until, "the index loads without the gateways");
        sleep(Duration::from_millis(5)).await;
    }
    let issued = service.issue(json!({})).await;
    assert_eq!(service.call(Method::DELETE, &revoke, owner, None).await.0, StatusCode::NO_CONTENT);
    run(&mut superuser, "COMMIT").await;

    let (mut applier, mut connection) = loading.await.unwrap();
    let works = |token: &Value| {
        let digest = Digest::of(token["plaintext"].as_str().unwrap().as_bytes());
        index.find(&digest, Clock::system().now()).is_some_and(|presented| presented.works)
    };
    assert_eq!(applier.applied(), before);
    let all = [&kept, &revoked, &issued];
    assert_eq!(all.map(works), [true, true, false], "one snapshot, and nothing newer");
    let head = head(&mut connection).await.unwrap();
    assert!(head.seq > before);
    applier.follow(&mut connection, &head).await.unwrap();
    assert_eq!(all.map(works), [true, false, true]);
    drop((superuser, connection));
    service.stop().await;
}

/// Rows of the tokens that were read, by whoever and however, as PostgreSQL counts them.
pub(crate) async fn tokens_read(superuser: &mut PgConnection) -> i64 {
    let sql = "SELECT pg_stat_get_tuples_returned(t) + pg_stat_get_tuples_fetched(t) + (SELECT
            sum(pg_stat_get_tuples_returned(indexrelid))::bigint FROM pg_index WHERE indrelid = t)
        FROM (SELECT 'tokens'::regclass::oid) tokens(t)";
    sqlx::query_scalar(sql).fetch_one(superuser).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_of_all_reads_nothing_of_what_ended_long_ago() {
    let service = Service::start().await;
    let person = person(&service, "member@example.com", Role::Member).await;
    let cluster = service.database.private.as_ref().unwrap();
    let mut superuser = cluster.superuser("counterfoil").connect().await.unwrap();
    let many = format!(
        "INSERT INTO tokens SELECT (jsonb_populate_record(NULL::tokens, to_jsonb(t) || jsonb_build_object(
            'id', gen_random_uuid(), 'slot', NULL, 'ended_seq', 1, 'ended_at', now(), 'ended_how', 'revoked'))).*
         FROM tokens t, generate_series(1, 20000) WHERE t.user_id = '{}'",
        person.user
    );
    run(&mut superuser, &many).await;
    let actor = Actor::Token { token_id: person.token, generation: 1, user_id: person.user };
    let all = Action::RevokeAll { reason: None, sessions: false };
    // What was read until now is counted by then.
    sleep(SOON).await;
    let before = tokens_read(&mut superuser).await;
    assert!(commit(&service, &[command(&service, &actor, all)]).await[0].is_ok());
    while service.is_active(&person.plaintext).await != Some(false) {
        sleep(Duration::from_millis(20)).await;
    }
    sleep(SOON).await;
    let read = tokens_read(&mut superuser).await - before;
    assert!(read < 1000, "{read} rows were read, of which one had to be");
    drop(superuser);
    service.stop().await;
}
