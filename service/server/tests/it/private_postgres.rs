//! The private cluster: where it is and stays, a server that died, and who gives it up.

mod crashes;
mod names;
mod places;
mod psql;
mod read_only;

use crate::support::Scratch;
use counterfoil::postgres::private::{PrivateCluster, PrivateError};
use nix::unistd::Pid;
use sqlx::{ConnectOptions, Connection};
use std::path::Path;

/// Enters a cluster without telling anybody how it goes.
async fn enter(data_dir: &Path) -> Result<PrivateCluster, PrivateError> {
    PrivateCluster::enter(data_dir, &|_| {}).await
}

/// Gives it up.
async fn leave(cluster: PrivateCluster) {
    cluster.leave(&|_| {}).await.unwrap();
}

/// One number from the server.
async fn ask(cluster: &PrivateCluster, sql: &'static str) -> Result<i32, sqlx::Error> {
    let mut connection = cluster.superuser("postgres").connect().await?;
    let one = sqlx::query_scalar(sql).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(one)
}

/// Asks until there is an answer: the server may start or recover.
async fn ask_patiently(cluster: &PrivateCluster, sql: &'static str) -> i32 {
    let mut answer = None;
    let answers = async || {
        answer = ask(cluster, sql).await.ok();
        answer.is_some()
    };
    crate::support::until("PostgreSQL answers", answers).await;
    answer.unwrap()
}

/// Why it cannot be entered.
async fn refused(data_dir: &Path) -> String {
    match enter(data_dir).await {
        Ok(_) => panic!("{} was entered", data_dir.display()),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn leaving_leaves_no_process_and_no_socket() {
    let scratch = Scratch::new();
    let first = enter(scratch.path()).await.unwrap();
    let second = enter(scratch.path()).await.unwrap();
    let socket = first.socket_dir().to_path_buf();
    leave(first).await;
    assert_eq!(ask(&second, "SELECT 1").await.unwrap(), 1, "the second still uses it");
    leave(second).await;
    assert!(scratch.processes().is_empty() && !socket.exists());
}

#[tokio::test]
async fn what_is_dropped_without_leaving_stops_too() {
    let scratch = Scratch::with_data().await;
    drop(enter(scratch.path()).await.unwrap());
    until(|| scratch.processes().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_fails_leaves_nothing_behind() {
    let scratch = Scratch::with_data().await;
    let path = scratch.path().to_path_buf();
    let (tell, told) = tokio::sync::oneshot::channel();
    let failing = tokio::spawn(async move {
        let cluster = enter(scratch.path()).await.unwrap();
        // As if this process had been killed: nobody gives it up.
        std::mem::forget(cluster);
        tell.send(scratch.processes()).unwrap();
        std::panic::resume_unwind(Box::new("as a failed assertion does"));
    });
    let processes = told.await.unwrap();
    assert!(processes.len() > 1, "{processes:?}");
    assert!(failing.await.unwrap_err().is_panic());
    let working = |pid: &Pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok();
    assert!(!path.exists() && !processes.iter().any(working));
}

/// Polls until something is so.
async fn until(so: impl Fn() -> bool) {
    crate::support::until("it is so", async || so()).await;
}
