//! `serve` as a process: beside another, stopped by Ctrl-C, on a database of the operator's, with an environment full
//! of surprises.

mod environment;

use crate::support::load::{Ledger, Load, People};
use crate::support::program::{INIT, Program, command, run};
use crate::support::{Scratch, until};
use counterfoil::postgres::private::PrivateCluster;
use nix::sys::signal::{Signal, kill};
use reqwest::{Method, StatusCode};
use sqlx::{ConnectOptions, Connection};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A token's life over HTTP.
async fn a_token_lives_and_ends(people: &People, base: &str) {
    let (status, token) = people.ask(base, Method::POST, "/v1/user/tokens").await.unwrap();
    assert_eq!(status, StatusCode::CREATED, "{token}");
    let plaintext = token["plaintext"].as_str().unwrap();
    assert_eq!(people.introspect(base, plaintext).await, Some(true));
    let path = format!("/v1/user/tokens/{}", token["id"].as_str().unwrap());
    assert_eq!(people.ask(base, Method::DELETE, &path).await.unwrap().0, StatusCode::NO_CONTENT);
    assert_eq!(people.introspect(base, plaintext).await, Some(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_stops_everything_and_the_data_stays() {
    let scratch = Scratch::with_data().await;
    let mut program = Program::serve(scratch.path()).await;
    let people = People::made_by(command(scratch.path(), &INIT), program.base()).await;
    let ledger = Arc::new(Ledger::default());
    let load = Load::start(&people, program.base(), &ledger, true);
    while ledger.done() < 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(program.interrupt().await.success(), "{}", program.said());
    assert!(scratch.processes().is_empty());
    load.stop().await;
    let again = Program::serve(scratch.path()).await;
    ledger.check(&people, again.base()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_terminal_stops_everything() {
    let scratch = Scratch::new();
    let mut program = Program::unheard(command(scratch.path(), &["serve"]));
    program.until_postgres_runs_in(&scratch).await;
    program.signal(Signal::SIGHUP);
    program.until_it_ends().await;
    until("PostgreSQL stops", async || scratch.processes().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_during_the_first_start_leaves_nothing_running() {
    let scratch = Scratch::new();
    let mut program = Program::start(command(scratch.path(), &["serve"]));
    program.until_it_says("starting the private PostgreSQL").await;
    assert!(!program.interrupt().await.success(), "{}", program.said());
    until("PostgreSQL stops", async || scratch.processes().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_service_waits_and_is_refused() {
    let scratch = Scratch::with_data().await;
    let first = Program::serve(scratch.path()).await;
    let people = People::made_by(command(scratch.path(), &INIT), first.base()).await;
    let mut second = Program::start(command(scratch.path(), &["serve"]));
    second.until_it_says("waiting up to 15 seconds").await;
    assert!(!second.until_it_ends().await.success());
    assert!(second.said().contains("stop it first"), "{}", second.said());
    a_token_lives_and_ends(&people, first.base()).await;
}

/// A cluster that the service does not know to be private, and an empty database in it.
async fn another_database(data_dir: &Path) -> (PrivateCluster, String) {
    let cluster = PrivateCluster::enter(data_dir, &|_| {}).await.unwrap();
    let mut superuser = cluster.superuser("postgres").connect().await.unwrap();
    let there: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_database WHERE datname = 'shop'")
        .fetch_optional(&mut superuser)
        .await
        .unwrap();
    if there.is_none() {
        sqlx::query("CREATE DATABASE shop").execute(&mut superuser).await.unwrap();
    }
    superuser.close().await.unwrap();
    let url = format!("postgresql:///shop?host={}&user=postgres", cluster.socket_dir().display());
    (cluster, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_the_operators_is_waited_for_and_used() {
    let scratch = Scratch::new();
    let (data_dir, unused) = (scratch.path().join("theirs"), scratch.path().join("ours"));
    let (cluster, url) = another_database(&data_dir).await;
    cluster.leave(&|_| {}).await.unwrap();
    let of_theirs = |arguments: &[&str]| {
        let mut command = command(&unused, arguments);
        command.env("DATABASE_URL", &url);
        command
    };
    let mut program = Program::start(of_theirs(&["serve"]));
    program.until_it_says("does not answer yet").await;
    let (cluster, _) = another_database(&data_dir).await;
    program.until_ready().await;
    let people = People::made_by(of_theirs(&INIT), program.base()).await;
    a_token_lives_and_ends(&people, program.base()).await;
    assert!(program.interrupt().await.success(), "{}", program.said());
    assert!(!unused.exists() && cluster.postmaster_pid().is_some(), "theirs is not ours to stop");

    // What no waiting mends is told at once.
    let mut wrong = command(&unused, &["migrate"]);
    wrong.env("DATABASE_URL", url.replace("/shop", "/nowhere"));
    let output = run(wrong).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("\"nowhere\" does not exist"), "{said}");
    cluster.leave(&|_| {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_allows_itself_all_the_open_files_that_it_may_have() {
    let scratch = Scratch::new();
    let mut limited = std::process::Command::new("sh");
    let serve = command(scratch.path(), &["serve"]);
    limited.args(["-c", "ulimit -Sn 300 && ulimit -Hn 5000 && exec \"$0\" serve"]).arg(serve.get_program());
    limited.env_clear().envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut program = Program::start(limited);
    program.until_it_serves().await;
    let limits = program.system("limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let figures: Vec<_> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(figures, ["5000", "5000"]);
    assert!(program.said().contains("allows 5000 open files"), "{}", program.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_postgres_that_somebody_froze_is_stopped_all_the_same() {
    let scratch = Scratch::with_data().await;
    let mut program = Program::serve(scratch.path()).await;
    let _frozen = scratch.freeze();
    let since = Instant::now();
    program.stop().await;
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
    assert!(scratch.processes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_everything_was_killed_the_port_says_that_the_database_recovers() {
    let scratch = Scratch::with_data().await;
    let mut program = Program::serve(scratch.path()).await;
    program.kill();
    for process in scratch.processes() {
        let _ = kill(process, Signal::SIGKILL);
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut serve = command(scratch.path(), &["serve"]);
    serve.env("COUNTERFOIL__API__ADDR", port.to_string());
    let mut program = Program::start(serve);
    let readyz = format!("http://{port}/readyz");
    let mut said = Vec::new();
    while !said.iter().any(|detail: &String| detail.contains("recovering")) {
        assert!(program.ended().is_none() && said.len() < 5000, "{:?}", said.last());
        if let Ok(answer) = reqwest::get(&readyz).await {
            said.push(answer.text().await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    program.until_ready().await;
}
