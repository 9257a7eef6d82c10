//! PostgreSQL itself: what it is set to, what it is, and that it starts.

use super::places::{at, doctor};
use super::{doctor as beside, run, until_whole};
use crate::support::front::Front;
use crate::support::program::Program;
use crate::support::{PATIENCE, Scratch};
use counterfoil::postgres::private::PrivateCluster;
use sqlx::{ConnectOptions, Connection};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_write_through_is_named_and_the_named_command_mends_it() {
    let program = Program::made().await;
    let cluster = PrivateCluster::enter(program.data_dir(), &|_| {}).await.unwrap();
    let mut administrator = cluster.superuser("counterfoil").connect().await.unwrap();
    until_whole(&program, "untouched");
    for setting in ["fsync", "full_page_writes"] {
        run(&mut administrator, &format!("ALTER SYSTEM SET {setting} = off")).await;
        run(&mut administrator, "SELECT pg_reload_conf()").await;
        // The server takes its files up a moment later.
        let until = Instant::now() + PATIENCE;
        while beside(&program).judged("wrong").is_empty() {
            assert!(Instant::now() < until, "nobody complains of {setting}");
        }
        let mend = beside(&program).mend("wrong", "settings", &format!("{setting} is \"off\""));
        let done = program.beside("bash").args(["-euc", &mend]).output().unwrap();
        assert!(done.status.success(), "{mend}: {}", String::from_utf8_lossy(&done.stderr));
        until_whole(&program, setting);
    }
    administrator.close().await.unwrap();
    cluster.leave(&|_| {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_only_reads_is_named_at_a_start_and_the_named_command_mends_it_while_nobody_serves() {
    let mut program = Program::made().await;
    program.stop().await;
    let shell = |command: &str| {
        let done = program.beside("bash").args(["-euc", command]).output().unwrap();
        (
            done.status.success(),
            String::from_utf8(done.stderr).unwrap(),
            String::from_utf8(done.stdout).unwrap(),
        )
    };
    let (done, said, _) =
        shell("counterfoil psql -c 'ALTER DATABASE counterfoil SET default_transaction_read_only = on'");
    assert!(done, "{said}");
    for command in ["counterfoil serve", "counterfoil migrate", "counterfoil verify"] {
        let (done, said, _) = shell(command);
        let words = ["transaction_read_only is \"on\"", "it must be off", "counterfoil doctor"];
        assert!(!done && words.iter().all(|words| said.contains(words)), "{command}: {said}");
    }
    let mend = beside(&program).mend("wrong", "settings", "transaction_read_only");
    let (done, said, _) = shell(&mend);
    assert!(done, "{mend}: {said}");
    beside(&program).assert_whole(&mend);
}

#[tokio::test]
async fn a_standby_is_named_and_no_setting_is_blamed() {
    let scratch = Scratch::with_data().await;
    let cluster = scratch.path().join("postgres");
    let (signal, owner) = (cluster.join("standby.signal"), fs::metadata(&cluster).unwrap());
    fs::write(&signal, "").unwrap();
    chown(&signal, Some(owner.uid()), Some(owner.gid())).unwrap();
    let found = at(scratch.path());
    let mend = found.mend("wrong", "settings", "a standby");
    assert!(mend.starts_with("connect to the primary") && mend.contains("pg_promote"), "{mend}");
    assert!(!mend.contains("ALTER SYSTEM"), "{mend}");
    let settings = found.judged("wrong").iter().filter(|(name, _)| name == "settings").count();
    assert_eq!(settings, 1, "{:?}", found.judged("wrong"));
}

#[tokio::test]
async fn a_private_cluster_without_the_services_database_waits_for_a_start() {
    let scratch = Scratch::new();
    let cluster = PrivateCluster::enter(scratch.path(), &|_| {}).await.unwrap();
    cluster.leave(&|_| {}).await.unwrap();
    let found = at(scratch.path());
    assert_eq!(found.mend("note", "connection", "no database of this service yet"), "counterfoil serve");
    assert_eq!(found.judged("wrong"), []);
}

#[tokio::test]
async fn a_private_cluster_that_does_not_start_is_named_with_its_log() {
    let scratch = Scratch::with_data().await;
    let cluster = scratch.path().join("postgres");
    let mut file = File::options().append(true).open(cluster.join("postgresql.conf")).unwrap();
    file.write_all(b"\nshared_buffers = much\n").unwrap();
    let mend = at(scratch.path()).mend("wrong", "connection", "");
    assert_eq!(mend, format!("tail -n 20 {}", cluster.join("postgres.log").display()));
    assert!(fs::read_to_string(cluster.join("postgres.log")).unwrap().contains("shared_buffers"));
}

#[tokio::test(flavor = "multi_thread")]
async fn poolers_of_each_mode_are_named() {
    let scratch = Scratch::with_data().await;
    let cluster = PrivateCluster::enter(scratch.path(), &|_| {}).await.unwrap();
    let url = Front::Sharing(2).before(cluster.socket_dir(), "counterfoil").await;
    let mend = on_its_own_thread(url).await.mend("wrong", "pooler", "transaction pooling");
    assert!(mend.contains("PostgreSQL itself"), "{mend}");
    let url = Front::Dropping.before(cluster.socket_dir(), "counterfoil").await;
    let mend = on_its_own_thread(url).await.mend("wrong", "settings", "plan_cache_mode");
    assert!(mend.contains("instead of a pooler"), "{mend}");
    cluster.leave(&|_| {}).await.unwrap();
}

/// The pooler is a task of this process.
async fn on_its_own_thread(url: String) -> super::Found {
    tokio::task::spawn_blocking(move || doctor(&[("DATABASE_URL", &url)])).await.unwrap()
}
