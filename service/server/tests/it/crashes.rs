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
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After PostgreSQL accepts connections again, or the service was started again, "active" is answered within this. Other
/// tests keep the machine busy meanwhile, so the promise of two seconds is held by the long run, which has it alone.
fn again_within() -> Duration {
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

/// The server process of the session that holds the serving lock.
async fn writers_backend(data_dir: &Path) -> Option<i32> {
    let mut connection = superuser(data_dir).await;
    let sql = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = \
               (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY pid LIMIT 1";
    let pid = sqlx::query_scalar(sql).fetch_optional(&mut connection).await;
    let _ = connection.close().await;
    // The server may die meanwhile.
    pid.unwrap_or_default()
}

/// Kills, and waits until the service has felt it and has a new session.
async fn strike(data_dir: PathBuf, blow: Blow) {
    let before = writers_backend(&data_dir).await.unwrap();
    let pid = match blow {
        Blow::Postmaster => line(&data_dir, 0).unwrap().parse().unwrap(),
        Blow::WritersBackend => before,
        Blow::AnyBackend => {
            let sql = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' \
                       AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1";
            let mut connection = superuser(&data_dir).await;
            let pid: i32 = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            pid
        }
    };
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let since = Instant::now();
    while writers_backend(&data_dir).await.is_none_or(|now| now == before) {
        assert!(since.elapsed() < Duration::from_secs(60), "the service does not come back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
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
        strike(scratch.path().to_path_buf(), blow).await;
        ledger.some_more().await;
        load.stop().await;
        ledger.check(&people, &base).await;
        ledger.tidy(&people, &base).await;
        verify(scratch.path()).await;
    }
    assert!(program.interrupt().await.success(), "{}", program.said());
    assert!(scratch.processes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn active_is_answered_again_soon_after_postgres_accepts_connections() {
    let scratch = Scratch::with_data().await;
    let program = Program::serve(scratch.path()).await;
    let people = People::made_by(command(scratch.path(), &INIT), program.base()).await;
    let ledger = Arc::new(Ledger::default());
    let load = Load::start(&people, program.base(), &ledger, false);
    ledger.some_more().await;
    load.stop().await;
    let witness = ledger.any_standing().unwrap();
    people.until_active(program.base(), &witness).await;
    for blow in [Blow::Postmaster, Blow::WritersBackend] {
        let struck = tokio::spawn(strike(scratch.path().to_path_buf(), blow));
        // While nothing is known, nothing is said.
        while people.introspect(program.base(), &witness).await.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        superuser(scratch.path()).await.close().await.unwrap();
        let took = people.until_active(program.base(), &witness).await;
        assert!(took <= again_within(), "{took:?}");
        struck.await.unwrap();
    }
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
    let witness = with_many_tokens(&service, rounds(5_000, 200_000)).await;
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
        program = Program::serve(scratch.path()).await;
        ledger.check(&people, program.base()).await;
        ledger.tidy(&people, program.base()).await;
        verify(scratch.path()).await;
    }
    assert!(program.interrupt().await.success(), "{}", program.said());
    assert!(scratch.processes().is_empty());
}
