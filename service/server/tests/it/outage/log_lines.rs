//! What an outage leaves in the log: that it began, how it goes on now and then, that it is over. Not a line for each
//! attempt.

use super::until_ready_says;
use crate::support::Scratch;
use crate::support::load::{Ledger, Load, People};
use crate::support::program::{INIT, Program, command};
use counterfoil::postgres::private::PrivateCluster;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The lines of a program's log that somebody is to read, of those that it has written since.
fn alarms(program: &Program, since: usize) -> Vec<String> {
    let said = program.said();
    let lines = said[since..].lines().filter(|line| line.contains(" ERROR ") || line.contains(" WARN "));
    lines.map(ToString::to_string).collect()
}

/// A service on a database of its operator's, with people.
struct Theirs {
    scratch: Scratch,
    cluster: PrivateCluster,
    program: Program,
    people: People,
}

impl Theirs {
    async fn start() -> Self {
        let scratch = Scratch::new();
        let cluster = PrivateCluster::enter(&scratch.path().join("theirs"), &|_| {}).await.unwrap();
        let mut superuser = cluster.superuser("postgres").connect().await.unwrap();
        sqlx::query("CREATE DATABASE shop").execute(&mut superuser).await.unwrap();
        superuser.close().await.unwrap();
        let url = format!("postgresql:///shop?host={}&user=postgres", cluster.socket_dir().display());
        let of_theirs = |arguments: &[&str]| {
            let mut command = command(&scratch.path().join("ours"), arguments);
            command.env("DATABASE_URL", &url);
            command
        };
        let mut program = Program::start(of_theirs(&["serve"]));
        program.until_ready().await;
        let people = People::made_by(of_theirs(&INIT), program.base()).await;
        Self { scratch, cluster, program, people }
    }

    async fn run(&self, sql: &str) {
        let mut superuser = self.cluster.superuser("shop").connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut superuser).await.unwrap();
        superuser.close().await.unwrap();
    }
}

/// Sign-ins read the database.
async fn sign_in(base: &str, times: usize) {
    for _ in 0..times {
        let body = serde_json::json!({ "email": "owner@example.com", "password": "correct horse" });
        let _ = reqwest::Client::new().post(format!("{base}/v1/session")).json(&body).send().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_down_is_told_once_and_not_for_each_attempt() {
    let Theirs { scratch, cluster, mut program, people } = Theirs::start().await;
    let (base, ledger) = (program.base().to_string(), Arc::new(Ledger::default()));
    let load = Load::start(&people, &base, &ledger, false);
    ledger.some_more().await;
    let since = program.said().len();
    cluster.leave(&|_| {}).await.unwrap();
    sign_in(&base, 8).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let alarms_of_it = alarms(&program, since);
    assert!((1..=8).contains(&alarms_of_it.len()), "{alarms_of_it:#?}");
    assert!(alarms_of_it[0].contains("no token can be called active"), "{alarms_of_it:#?}");

    let cluster = PrivateCluster::enter(&scratch.path().join("theirs"), &|_| {}).await.unwrap();
    until_ready_says(&base, None).await;
    ledger.some_more().await;
    load.stop().await;
    ledger.check(&people, &base).await;
    assert!(program.said()[since..].contains("tokens can be called active again"));
    assert!(program.interrupt().await.success(), "{}", program.said());
    cluster.leave(&|_| {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_all_fail_are_told_once_and_counted() {
    let theirs = Theirs::start().await;
    let ledger = Arc::new(Ledger::default());
    let base = theirs.program.base().to_string();
    // A full disk, and what is a command's fault.
    for code in ["53100", "23514"] {
        theirs
            .run(&format!(
                "CREATE OR REPLACE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS
                     'BEGIN RAISE EXCEPTION ''trouble'' USING ERRCODE = ''{code}''; END';
                 CREATE TRIGGER trouble BEFORE INSERT ON events EXECUTE FUNCTION trouble()"
            ))
            .await;
        let since = theirs.program.said().len();
        let load = Load::start(&theirs.people, &base, &ledger, false);
        tokio::time::sleep(Duration::from_secs(4)).await;
        load.stop().await;
        theirs.run("DROP TRIGGER trouble ON events").await;
        let alarms = alarms(&theirs.program, since);
        assert!((1..=3).contains(&alarms.len()), "{alarms:#?}");
        let requests = theirs.program.said()[since..].matches("/v1/user/tokens").count();
        assert!(requests > 50, "the load was none: {requests}");
    }
    let Theirs { cluster, mut program, .. } = theirs;
    assert!(program.interrupt().await.success(), "{}", program.said());
    cluster.leave(&|_| {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_beneath_a_running_service_is_one_alarm() {
    let Theirs { scratch, cluster, mut program, people } = Theirs::start().await;
    let since = program.said().len();
    let mut superuser = cluster.superuser("shop").connect().await.unwrap();
    let sql = "SET session_replication_role = replica;
        UPDATE events SET chain = sha256('another') WHERE seq = (SELECT max(seq) FROM events)";
    sqlx::raw_sql(sql).execute(&mut superuser).await.unwrap();
    superuser.close().await.unwrap();
    until_ready_says(program.base(), Some("log-replaced")).await;
    let ledger = Arc::new(Ledger::default());
    let load = Load::start(&people, program.base(), &ledger, false);
    tokio::time::sleep(Duration::from_secs(4)).await;
    load.stop().await;
    assert_eq!(ledger.done(), 0);
    let alarms = alarms(&program, since);
    assert_eq!(alarms.len(), 1, "{alarms:#?}");
    assert!(alarms[0].contains("restored from a backup"), "{alarms:#?}");
    assert!(program.interrupt().await.success(), "{}", program.said());
    cluster.leave(&|_| {}).await.unwrap();
    drop(scratch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_stops_in_time_while_its_database_does_not_answer() {
    let Theirs { scratch, cluster, mut program, people } = Theirs::start().await;
    let (base, ledger) = (program.base().to_string(), Arc::new(Ledger::default()));
    let load = Load::start(&people, &base, &ledger, true);
    ledger.some_more().await;
    let (frozen, since) = (scratch.freeze(), Instant::now());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(program.interrupt().await.success(), "{}", program.said());
    // The notice, the drain, a second for the writer and one for the pool.
    assert!(since.elapsed() < Duration::from_secs(18), "{:?}", since.elapsed());
    load.stop().await;
    drop(frozen);
    cluster.leave(&|_| {}).await.unwrap();
}
