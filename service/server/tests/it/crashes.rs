//! What is killed under load comes back by itself, with everything that was acknowledged.

use crate::queue;
use crate::support::load::{Ledger, Load, People};
use crate::support::people::{command as act, commit, signed_in};
use crate::support::program::{INIT, Program, command, verify};
use crate::support::{Scratch, Service, is_soak, rounds};
use counterfoil_domain::command::Action;
use counterfoil_domain::role::Role;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After PostgreSQL accepts connections again, or the service was started again, "active" is answered within this. Other
/// tests keep the machine busy meanwhile, so the promise of two seconds is held by the long run, which has it alone.
pub(crate) fn again_within() -> Duration {
    Duration::from_secs(if is_soak() { 2 } else { 6 })
}

/// The line of `postmaster.pid`.
fn line(data_dir: &Path, number: usize) -> Option<String> {
    let text = std::fs::read_to_string(data_dir.join("postgres/postmaster.pid")).ok()?;
    text.lines().nth(number).map(|line| line.trim().into())
}

/// A session of the cluster's superuser, as soon as it is to be had.
async fn superuser(data_dir: &Path) -> PgConnection {
    let since = Instant::now();
    loop {
        if let Some(socket) = line(data_dir, 4) {
            let options = PgConnectOptions::new_without_pgpass().socket(socket).username("postgres");
            if let Ok(connection) = options.database("counterfoil").connect().await {
                return connection;
            }
        }
        assert!(since.elapsed() < Duration::from_secs(60), "PostgreSQL does not come back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How a round breaks the database.
#[derive(Clone, Copy)]
enum Blow {
    /// The server's first process: nobody starts it again but us.
    Postmaster,
    /// The session that holds the serving lock: the server ends all others and recovers.
    WritersBackend,
    /// Any session.
    AnyBackend,
}

/// The process that a blow is for.
async fn target(data_dir: &Path, blow: Blow) -> i32 {
    let sql = match blow {
        Blow::Postmaster => return line(data_dir, 0).unwrap().parse().unwrap(),
        Blow::WritersBackend => {
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = \
             (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY pid LIMIT 1"
        }
        Blow::AnyBackend => {
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' \
             AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1"
        }
    };
    let mut connection = superuser(data_dir).await;
    let pid = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    pid
}

/// When PostgreSQL accepts connections again: a session that was there before has ended by then.
async fn accepts_again(data_dir: &Path, mut before: PgConnection) -> Instant {
    let since = Instant::now();
    while sqlx::query("SELECT 1").execute(&mut before).await.is_ok() {
        assert!(since.elapsed() < Duration::from_secs(60), "PostgreSQL outlives the blow");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    superuser(data_dir).await.close().await.unwrap();
    Instant::now()
}

/// When a token is called active again: nothing was, once the service had felt the blow.
async fn active_again(people: &People, base: &str, witness: &str) -> Instant {
    let since = Instant::now();
    while people.introspect(base, witness).await.is_some() {
        assert!(since.elapsed() < Duration::from_secs(60), "the service feels nothing");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    people.until_active(base, witness).await;
    Instant::now()
}

/// Kills, and waits until all is well again; how long that took from when PostgreSQL accepted connections.
async fn strike(data_dir: &Path, blow: Blow, people: &People, base: &str) -> Duration {
    let pid = target(data_dir, blow).await;
    let before = superuser(data_dir).await;
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let (accepted, active) =
        tokio::join!(accepts_again(data_dir, before), active_again(people, base, people.own()));
    active.saturating_duration_since(accepted)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_postgres_loses_nothing_and_comes_back() {
    let scratch = Scratch::with_data().await;
    let mut program = Program::serve(scratch.path()).await;
    let people = People::made_by(command(scratch.path(), &INIT), program.base()).await;
    let (base, ledger) = (program.base().to_string(), Arc::new(Ledger::default()));
    for round in 0..rounds(10, 100) {
        let load = Load::start(&people, &base, &ledger, false);
        ledger.some_more().await;
        // Not always at the same step of a batch.
        tokio::time::sleep(Duration::from_millis((round as u64 * 7) % 50)).await;
        let blow = [Blow::Postmaster, Blow::WritersBackend, Blow::Postmaster, Blow::AnyBackend][round % 4];
        let took = strike(scratch.path(), blow, &people, &base).await;
        assert!(took <= again_within(), "round {round}: active again {took:?} after PostgreSQL");
        ledger.some_more().await;
        load.stop().await;
        ledger.check(&people, &base).await;
        ledger.tidy(&people, &base).await;
        verify(scratch.path()).await;
    }
    assert!(program.interrupt().await.success(), "{}", program.said());
    assert!(scratch.processes().is_empty());
}

/// Issues so many tokens, fifty a user; one of the owner's own besides.
async fn with_many_tokens(service: &Service, count: usize) -> String {
    let emails: Vec<String> = (0..count / 50).map(|number| format!("user{number}@example.com")).collect();
    for some in emails.chunks(20) {
        let users = signed_in(service, some, Role::Member).await;
        let issues = users.iter().flat_map(|user| std::iter::repeat_n(user, 50));
        let issues: Vec<_> =
            issues.map(|user| act(service, user, Action::IssuePersonal(queue::issue()))).collect();
        assert!(commit(service, &issues).await.iter().all(Result::is_ok));
    }
    service.issue_patiently(json!({})).await["plaintext"].as_str().unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_with_many_tokens_serves_again_soon() {
    let service = Service::start().await;
    let witness = with_many_tokens(&service, rounds(100_000, 1_000_000)).await;
    let (scratch, made) = service.into_data().await;
    let people = People::with(&made.owner.token, &made.gateway.client_id, &made.gateway.client_secret);
    let mut program = Program::serve(scratch.path()).await;
    for _ in 0..3 {
        program.kill();
        let since = Instant::now();
        program = Program::serve(scratch.path()).await;
        people.until_active(program.base(), &witness).await;
        assert!(since.elapsed() <= again_within(), "{:?}", since.elapsed());
    }
    program.stop().await;
    verify(scratch.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_loses_nothing_and_comes_back() {
    let scratch = Scratch::with_data().await;
    let mut program = Program::serve(scratch.path()).await;
    let people = People::made_by(command(scratch.path(), &INIT), program.base()).await;
    let ledger = Arc::new(Ledger::default());
    for round in 0..rounds(10, 100) {
        let load = Load::start(&people, program.base(), &ledger, true);
        ledger.some_more().await;
        tokio::time::sleep(Duration::from_millis((round as u64 * 7) % 50)).await;
        program.kill();
        load.stop().await;
        assert!(!scratch.processes().is_empty(), "PostgreSQL is left for the next");
        let since = Instant::now();
        program = Program::serve(scratch.path()).await;
        people.until_active(program.base(), &people.owner).await;
        assert!(since.elapsed() <= again_within(), "{:?}", since.elapsed());
        ledger.check(&people, program.base()).await;
        ledger.tidy(&people, program.base()).await;
        verify(scratch.path()).await;
    }
    assert!(program.interrupt().await.success(), "{}", program.said());
    assert!(scratch.processes().is_empty());
}
