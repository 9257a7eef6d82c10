//! The private cluster: odd directories, and a server that died.

use crate::support::reachable_directory;
use counterfoil::postgres::private::PrivateCluster;
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
    let parent = reachable_directory();
    let witness = parent.path().join("ran");
    let odd = format!("a b'c\"d%é `touch ran` $(touch ran) {}", "x".repeat(100));
    starts_and_answers(&parent.path().join(odd)).await;
    assert!(!witness.exists() && !Path::new("/ran").exists());
}

#[tokio::test]
async fn leaving_a_server_that_died_is_no_error() {
    let parent = reachable_directory();
    let cluster = PrivateCluster::enter(parent.path(), &|_| {}).await.unwrap();
    let server = nix::unistd::Pid::from_raw(cluster.postmaster_pid().unwrap());
    nix::sys::signal::kill(server, nix::sys::signal::Signal::SIGQUIT).unwrap();
    for _ in 0..100 {
        if nix::sys::signal::kill(server, None).is_err() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    cluster.leave(&|_| {}).await.unwrap();
}
