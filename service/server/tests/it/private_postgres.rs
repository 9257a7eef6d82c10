//! The private cluster: odd directories, and a server that died.

use crate::support::Scratch;
use counterfoil::postgres::private::PrivateCluster;
use nix::unistd::Pid;
use sqlx::{ConnectOptions, Connection};
use std::path::Path;

async fn starts_and_answers(data_dir: &Path) {
    let cluster = PrivateCluster::enter(data_dir, &|_| {}).await.unwrap();
    let answer = async {
        let mut connection = cluster.superuser("postgres").connect().await?;
        let one: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok::<_, sqlx::Error>(one)
    };
    let answer = answer.await;
    cluster.leave(&|_| {}).await.unwrap();
    assert_eq!(answer.unwrap(), 1);
}

#[tokio::test]
async fn a_path_may_have_any_character() {
    let parent = Scratch::new();
    let witness = parent.path().join("ran");
    let odd = format!("a b'c\"d%é `touch ran` $(touch ran) {}", "x".repeat(100));
    starts_and_answers(&parent.path().join(odd)).await;
    assert!(!witness.exists() && !Path::new("/ran").exists());
}

#[tokio::test]
async fn leaving_a_server_that_died_is_no_error() {
    let parent = Scratch::new();
    let cluster = PrivateCluster::enter(parent.path(), &|_| {}).await.unwrap();
    let server = Pid::from_raw(cluster.postmaster_pid().unwrap());
    nix::sys::signal::kill(server, nix::sys::signal::Signal::SIGQUIT).unwrap();
    for _ in 0..100 {
        if nix::sys::signal::kill(server, None).is_err() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    cluster.leave(&|_| {}).await.unwrap();
}

#[tokio::test]
async fn a_test_that_fails_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let path = scratch.path().to_path_buf();
    let (tell, told) = tokio::sync::oneshot::channel();
    let failing = tokio::spawn(async move {
        let _cluster = PrivateCluster::enter(scratch.path(), &|_| {}).await.unwrap();
        tell.send(scratch.processes()).unwrap();
        std::panic::resume_unwind(Box::new("as a failed assertion does"));
    });
    let processes = told.await.unwrap();
    assert!(processes.len() > 1, "{processes:?}");
    assert!(failing.await.unwrap_err().is_panic());
    let working = |pid: &Pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok();
    assert!(!path.exists() && !processes.iter().any(working));
}
