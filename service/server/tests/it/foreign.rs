//! A transaction of somebody else's, open for long in the same cluster: nothing that was updated or deleted since it
//! began can be cleared away, and no write, no reader of the log and no revocation is slower for it.

use crate::queue::{issue, owner, write};
use crate::support::people::{command, commit};
use crate::support::{PATIENCE, Service, is_soak, rounds};
use crate::whole::whole;
use counterfoil::event_log::batch::Reply;
use counterfoil::event_log::writer::WriteError;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::Action;
use futures_util::future::join_all;
use serde_json::json;
use sqlx::{ConnectOptions, Connection, PgConnection};
use std::time::{Duration, Instant};

/// Writes at a time: few, so that there are many commits. All are one user's, so that they keep to the same rows.
const AT_ONCE: usize = 4;

/// A transaction that has seen everything, and has a number of its own.
pub(crate) async fn transaction(service: &Service, database: &str) -> PgConnection {
    let cluster = service.database.private.as_ref().unwrap();
    let mut connection = cluster.superuser(database).connect().await.unwrap();
    for sql in [
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "SELECT count(*) FROM pg_class",
        "SELECT pg_current_xact_id()",
    ] {
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }
    connection
}

/// All are done; if not, what the first was answered, and when.
fn assert_done(replies: Vec<Result<Reply, WriteError>>, began: Instant) {
    for reply in replies {
        reply.unwrap_or_else(|error| panic!("{error:?} after {:?}", began.elapsed()));
    }
}

/// Issues tokens and ends them again; how long each round of both took, at the median.
async fn issues_and_ends(service: &Service, owner: &Actor, writes: usize) -> Duration {
    let mut took = Vec::new();
    for _ in 0..writes / 2 / AT_ONCE {
        let began = Instant::now();
        let tokens: Vec<_> = (0..AT_ONCE).map(|_| issue()).collect();
        let issued = tokens.iter().map(|token| write(service, owner, Action::IssuePersonal(token.clone())));
        assert_done(join_all(issued).await, began);
        let ended = tokens.iter().map(|token| {
            write(service, owner, Action::Revoke { id: token.id, if_match: None, reason: None })
        });
        assert_done(join_all(ended).await, began);
        took.push(began.elapsed());
    }
    took.sort_unstable();
    took[took.len() / 2]
}

/// Tables in which the same rows are updated again and again: what of them cannot be cleared away is read by every write.
async fn updated_by_every_write(service: &Service) -> Vec<String> {
    // A token's own row is updated once, at its end; a user's era, once in some hundred writes.
    let sql = "SELECT format('%s: %s updates', relname, n_tup_upd) FROM pg_stat_user_tables
        WHERE n_tup_upd > GREATEST(100, (SELECT max(seq) FROM events) / 256) AND relname <> 'tokens'";
    sqlx::query_scalar(sql).fetch_all(&service.database.pool).await.unwrap()
}

/// Entries of the claims' indexes that were looked at, and how many events there are.
async fn looked_at(service: &Service) -> (f64, f64) {
    let sql =
        "SELECT sum(idx_tup_read)::float8, (SELECT max(seq) FROM events)::float8 FROM pg_stat_user_indexes
        WHERE relname IN ('claimed_slots', 'claimed_digests')";
    sqlx::query_as(sql).fetch_one(&service.database.pool).await.unwrap()
}

/// How long it takes until a revocation that another process committed is known here.
async fn lag(service: &Service, owner: &Actor) -> Duration {
    let token = service.issue(json!({})).await;
    let (id, plaintext) =
        (token["id"].as_str().unwrap().parse().unwrap(), token["plaintext"].as_str().unwrap());
    let revoke = command(service, owner, Action::Revoke { id, if_match: None, reason: None });
    commit(service, &[revoke]).await.remove(0).unwrap();
    let since = Instant::now();
    while service.introspect(plaintext).await["active"] == true {
        assert!(since.elapsed() < PATIENCE, "it stays active");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    since.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_transaction_that_stays_open_holds_nothing_up() {
    let service = Service::start().await;
    let owner = owner(&service).await;
    let tenth = rounds(500, 10_000);
    // What is cached is so before anything is measured.
    issues_and_ends(&service, &owner, tenth).await;
    let mut foreign = [transaction(&service, "counterfoil").await, transaction(&service, "postgres").await];
    let before = looked_at(&service).await;
    let first = issues_and_ends(&service, &owner, tenth).await;
    let (open, lasting) = (Instant::now(), Duration::from_secs(rounds(60, 600) as u64));
    let mut tenths = 1;
    while tenths < 9 || open.elapsed() < lasting {
        issues_and_ends(&service, &owner, tenth).await;
        tenths += 1;
    }
    let last = issues_and_ends(&service, &owner, tenth).await;
    // Other tests keep the machine busy meanwhile, but for the long run, which has it alone.
    let most = if is_soak() { first.mul_f64(1.5) } else { first * 3 + Duration::from_millis(50) };
    let (entries, events) = looked_at(&service).await;
    let (events, each) = (events - before.1, (entries - before.0) / (events - before.1));
    eprintln!(
        "{events} events; {first:?} at first, {last:?} at last; {each} entries of claims looked at for each"
    );
    assert!(last < most, "{first:?} at first, {last:?} at last");
    // Those of an era at most: of all that was deleted there are tens of thousands.
    assert!(each < 300.0, "{each}");
    assert_eq!(updated_by_every_write(&service).await, Vec::<String>::new());
    // A proof of freshness every quarter of a second is what follows the log.
    for _ in 0..rounds(1, 40) {
        let lag = lag(&service, &owner).await;
        assert!(lag < Duration::from_secs(if is_soak() { 1 } else { 2 }), "{lag:?}");
    }
    let token = service.issue(json!({})).await;
    let path = format!("/v1/user/tokens/{}", token["id"].as_str().unwrap());
    let ended = service.call(reqwest::Method::DELETE, &path, &service.made.owner.token, None).await;
    assert_eq!(ended.0, reqwest::StatusCode::NO_CONTENT);
    assert_eq!(service.introspect(token["plaintext"].as_str().unwrap()).await["active"], false);
    for transaction in &mut foreign {
        // It was there all the while: what it saw at first is what it sees now.
        sqlx::query("COMMIT").execute(transaction).await.unwrap();
    }
    for transaction in foreign {
        transaction.close().await.unwrap();
    }
    whole(&service).await;
    service.stop().await;
}
