//! `counterfoil psql`.

use crate::support::program::Program;
use crate::support::{PATIENCE, until};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::time::{Duration, Instant};

/// What psql ended with, and what it printed and said.
fn psql(program: &Program, input: &str, arguments: &str, environment: &str) -> (i32, String, String) {
    let command = format!("echo {input:?} | {environment} counterfoil psql {arguments}");
    let ended = program.beside("bash").args(["-uc", &command]).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ended.status.code().unwrap(), text(ended.stdout), text(ended.stderr))
}

fn has_stopped(program: &Program) -> bool {
    !program.data_dir().join("postgres/postmaster.pid").exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reaches_the_private_cluster_which_runs_for_it_alone() {
    let mut program = Program::made().await;
    program.stop().await;
    assert_eq!(psql(&program, "SELECT 6 * 7", "-At", "").1, "42\n");
    // Its exit codes are handed on.
    for (arguments, code) in [("-c 'SELECT nothing'", 1), ("-v ON_ERROR_STOP=1", 3), ("", 0)] {
        let (ended, _, said) = psql(&program, "SELECT nothing", arguments, "");
        assert_eq!(ended, code, "{arguments}: {said}");
        assert!(said.contains("column \"nothing\" does not exist"), "{said}");
    }
    assert!(has_stopped(&program));
    for (environment, words) in [
        ("DATABASE_URL=postgres://a@b/c", "database_url (DATABASE_URL) names another database"),
        ("COUNTERFOIL__DATA_DIR=$(mktemp -d)", "no private PostgreSQL cluster yet"),
        ("COUNTERFOIL__DATA_DIR=/dev/null/data", "cannot look at /dev/null/data"),
    ] {
        let (ended, _, said) = psql(&program, "", "", environment);
        assert!(ended == 1 && said.contains(words), "{environment}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it_and_then_the_wait_for_whoever_else_starts_or_stops_the_cluster() {
    let mut program = Program::made().await;
    program.stop().await;
    let arguments = ["psql", "-c", "SELECT pg_sleep(600)"];
    let mut running = program.beside("counterfoil").args(arguments).spawn().unwrap();
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'";
    until("it sleeps", async || psql(&program, asleep, "-At", "").1 == "1\n").await;
    let gate = File::options().write(true).open(program.data_dir().join("cluster.gate")).unwrap();
    let gate = Flock::lock(gate, FlockArg::LockExclusive).unwrap();
    let pid = Pid::from_raw(running.id().try_into().unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    let asked = Instant::now();
    let ended = loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if let Some(ended) = running.try_wait().unwrap() {
            break ended;
        }
        assert!(asked.elapsed() < PATIENCE, "no signal ends it");
        kill(pid, Signal::SIGTERM).unwrap();
    };
    assert_eq!(ended.code(), Some(1));
    drop(gate);
    until("the cluster stops", async || has_stopped(&program)).await;
}
