//! `init` killed halfway: the second one makes it whole, or says what exists and how its credentials are had.

use super::Server;
use crate::runbook::block;
use crate::support::load::People;
use crate::support::program::{INIT, Program, command, run};
use crate::support::{Scratch, rounds};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sqlx::{ConnectOptions, Executor, PgConnection};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const MIGRATE_LOCK: i64 = 0x0063_665f_6d69_6772;
/// What the triggers of this test wait for.
const STALL: i64 = 4711;

/// A step at which `init` is held up: with what in its database, and by which lock.
struct Step {
    name: &'static str,
    migrated: bool,
    sql: &'static str,
    lock: i64,
    /// Whether what was sent by then happens without the one who sent it.
    happens: bool,
}

const STEPS: [Step; 4] = [
    Step { name: "before the roles", migrated: false, sql: "", lock: MIGRATE_LOCK, happens: false },
    Step {
        name: "between two migrations",
        migrated: false,
        sql: "CREATE FUNCTION stall() RETURNS event_trigger LANGUAGE plpgsql AS
                'BEGIN PERFORM pg_advisory_xact_lock_shared(4711); END';
              CREATE EVENT TRIGGER stall ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION stall()",
        lock: STALL,
        happens: false,
    },
    Step {
        name: "before the order",
        migrated: true,
        sql: "",
        lock: counterfoil::event_log::APPEND_LOCK,
        happens: false,
    },
    Step {
        name: "at the commit",
        migrated: true,
        sql: "CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; END';
              CREATE CONSTRAINT TRIGGER stall AFTER INSERT ON organizations DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION stall()",
        lock: STALL,
        happens: true,
    },
];

fn on(url: &str, arguments: &[&str]) -> Command {
    let mut command = command(Path::new("/nowhere"), arguments);
    command.env("DATABASE_URL", url);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn holds(connection: &mut PgConnection, sql: &'static str) -> bool {
    sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
}

/// Asks until it is so.
async fn until(connection: &mut PgConnection, sql: &'static str) {
    let since = Instant::now();
    while !holds(connection, sql).await {
        assert!(since.elapsed() < Duration::from_secs(60), "{sql}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the second `init` may answer: the credentials, or that there is nothing left to make, and what to do.
fn assert_whole_or_told(output: &Output, of: &str) -> bool {
    let said = said(output);
    if output.status.success() {
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(made["gateway"]["client_secret"].is_string(), "{of}: {made}");
    } else {
        assert!(output.stdout.is_empty() && said.contains("exists already"), "{of}: {said}");
        assert!(said.contains("counterfoil password --user owner@example.com"), "{of}: {said}");
    }
    output.status.success()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_it_leaves_nothing_half_made() {
    let mut server = Server::start().await;
    for (place, step) in STEPS.iter().enumerate() {
        let (name, url) = (format!("step{place}"), server.url(&format!("step{place}")));
        server.run(&format!("CREATE DATABASE {name}")).await;
        if step.migrated {
            assert!(run(on(&url, &["migrate"])).await.status.success());
        }
        let mut holder = server.cluster.superuser(&name).connect().await.unwrap();
        holder.execute(sqlx::raw_sql(step.sql)).await.unwrap();
        sqlx::query("SELECT pg_advisory_lock($1)").bind(step.lock).execute(&mut holder).await.unwrap();
        let mut first = Program::start(on(&url, &INIT));
        if step.lock == MIGRATE_LOCK {
            first.until_it_says("another counterfoil migrates").await;
        } else {
            let waits = "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'advisory')";
            until(&mut holder, waits).await;
        }
        first.kill();
        holder.execute("SELECT pg_advisory_unlock_all()").await.unwrap();
        let second = run(on(&url, &INIT)).await;
        assert_eq!(
            assert_whole_or_told(&second, step.name),
            !step.happens,
            "{}: {}",
            step.name,
            said(&second)
        );
        assert!(!run(on(&url, &INIT)).await.status.success(), "{}: a third", step.name);
        let one = "SELECT (SELECT count(*) FROM organizations) = 1 AND (SELECT count(*) FROM gateways) = 1
            AND (SELECT count(*) FROM users) = 1";
        assert!(holds(&mut holder, one).await, "{}", step.name);
        drop(holder);
        for looks in ["verify", "doctor"] {
            let found = run(on(&url, &[looks])).await;
            assert!(found.status.success(), "{}: {}", step.name, String::from_utf8_lossy(&found.stdout));
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_nobody_saw_are_had_again() {
    let server = Server::start().await;
    let url = server.url("shop");
    assert!(run(on(&url, &["migrate"])).await.status.success());
    let mut shop = server.cluster.superuser("shop").connect().await.unwrap();
    // Standard output takes nothing more: it has made everything when it is killed, and shown nothing.
    let (_unread, mut full) = std::io::pipe().unwrap();
    full.write_all(&[b'x'; 65536]).unwrap();
    let mut init = on(&url, &INIT);
    let mut first = init.stdout(Stdio::from(full)).stderr(Stdio::null()).spawn().unwrap();
    until(&mut shop, "SELECT count(*) > 0 FROM events").await;
    first.kill().unwrap();
    first.wait().unwrap();
    drop(shop);
    assert!(!assert_whole_or_told(&run(on(&url, &INIT)).await, "the second"));

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let base = format!("http://{port}");
    let mut serve = on(&url, &["serve"]);
    serve.env("COUNTERFOIL__API__ADDR", port.to_string());
    let mut service = Program::start(serve);
    service.until_ready().await;
    let directory = Scratch::new();
    let mut shell = Command::new("bash");
    let programs = Path::new(env!("CARGO_BIN_EXE_counterfoil")).parent().unwrap().display().to_string();
    shell.env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap())).current_dir(directory.path());
    shell.env("DATABASE_URL", &url).env("URL", &base).env("OWNER", "owner@example.com");
    let script = format!("{}\necho \"$TOKEN $GATEWAY $SECRET\"", block("credentials"));
    let done = run({
        shell.args(["-euo", "pipefail", "-c", &script]);
        shell
    })
    .await;
    assert!(done.status.success(), "{}", said(&done));
    let printed = String::from_utf8(done.stdout).unwrap();
    let [token, gateway, secret] = printed.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{printed}")
    };
    let people = People::with(token, gateway, secret);
    assert_eq!(people.introspect(&base, token).await, Some(true));
    assert!(service.interrupt().await.success());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_shown_is_said_to_be_made() {
    let server = Server::start().await;
    let url = server.url("shop");
    for json in [&INIT[..], &["password", "--user", "owner@example.com"]] {
        let mut command = on(&url, json);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert!(!output.status.success());
        assert!(said(&output).contains("cannot be shown"), "{}", said(&output));
    }
    assert!(!assert_whole_or_told(&run(on(&url, &INIT)).await, "the second"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_makes_its_cluster_it_is_repeated() {
    // What is there when it is killed: `initdb` works, the cluster is made, its server starts, and chance.
    let moments = ["postgres.making/PG_VERSION", "postgres/PG_VERSION", "postgres/postmaster.pid", ""];
    for round in 0..rounds(3, 40) {
        let scratch = Scratch::new();
        let (moment, started) = (moments[round % moments.len()], Instant::now());
        let mut first = Program::start(command(scratch.path(), &INIT));
        while moment.is_empty() || !scratch.path().join(moment).exists() {
            assert!(started.elapsed() < Duration::from_secs(60), "{moment} does not come to be");
            if moment.is_empty() && started.elapsed() > Duration::from_millis(round as u64 * 97 % 4000) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        first.kill();
        assert_whole_or_told(&run(command(scratch.path(), &INIT)).await, moment);
        for looks in ["verify", "doctor"] {
            let found = run(command(scratch.path(), &[looks])).await;
            assert!(found.status.success(), "{moment}: {}", String::from_utf8_lossy(&found.stdout));
        }
        assert!(scratch.processes().is_empty(), "{moment}");
    }
}

/// An `initdb` that can be stopped, and goes on whatever becomes of the test.
struct AtWork(Pid);

impl AtWork {
    /// The one that works for a data directory, once there is one.
    async fn of(data_dir: &Path) -> Self {
        let started = Instant::now();
        loop {
            let entries = std::fs::read_dir("/proc").unwrap().flatten();
            let found =
                entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid: &i32| {
                    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                    line.split('\0').next().is_some_and(|program| program.ends_with("/initdb"))
                        && line.contains(data_dir.to_str().unwrap())
                });
            if let Some(pid) = found {
                return Self(Pid::from_raw(pid));
            }
            assert!(started.elapsed() < Duration::from_secs(60), "no initdb");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn stop(&self) {
        kill(self.0, Signal::SIGSTOP).unwrap();
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_one_left_at_work_is_waited_for() {
    let scratch = Scratch::new();
    let mut first = Program::start(command(scratch.path(), &INIT));
    let left = AtWork::of(scratch.path()).await;
    // Before it has made this, it does not yet ignore that nobody reads what it prints, and may die of that.
    while !scratch.path().join("postgres.making/PG_VERSION").exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The system hangs up on a stopped group that loses its parent; on one that works it does not.
    first.kill();
    left.stop();
    let mut second = Program::start(command(scratch.path(), &INIT));
    second.until_it_says("another command is starting or stopping").await;
    drop(left);
    assert!(second.until_it_ends().await.success(), "{}", second.said());
}
