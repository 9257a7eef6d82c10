//! Migrations beside a service that works.

use super::Server;
use crate::support::program::{Program, command, run};
use counterfoil::event_log::session::{Session, SessionError};
use counterfoil::postgres::connect::Database;
use nix::sys::signal::Signal;
use sqlx::{ConnectOptions, Executor};
use std::path::Path;
use std::process::Command;

fn of_shop(server: &Server, arguments: &[&str]) -> Command {
    let mut command = command(Path::new("/nowhere"), arguments);
    command.env("DATABASE_URL", server.url("shop"));
    command
}

/// As if this program had one migration more than the one that serves.
const OLDER: &str = "DROP INDEX sessions_by_expiry; DELETE FROM _sqlx_migrations WHERE version = 8";

#[tokio::test(flavor = "multi_thread")]
async fn tables_change_only_while_nobody_serves() {
    let server = Server::start().await;
    let mut service = Program::start(of_shop(&server, &["serve"]));
    service.until_ready().await;
    // With nothing to change, nobody is waited for.
    assert!(run(of_shop(&server, &["migrate"])).await.status.success());
    let mut shop = server.cluster.superuser("shop").connect().await.unwrap();
    shop.execute(OLDER).await.unwrap();
    let refused = run(of_shop(&server, &["migrate"])).await;
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains("waiting up to 15 seconds") && said.contains("no table was changed"), "{said}");
    let index = "SELECT to_regclass('sessions_by_expiry') IS NOT NULL";
    assert!(!sqlx::query_scalar::<_, bool>(index).fetch_one(&mut shop).await.unwrap());

    let mut next = Program::start(of_shop(&server, &["serve"]));
    next.until_it_says("there are migrations to run").await;
    service.signal(Signal::SIGTERM);
    assert!(service.until_it_ends().await.success());
    next.until_ready().await;
    assert!(sqlx::query_scalar::<_, bool>(index).fetch_one(&mut shop).await.unwrap());
    assert!(!next.said().contains("another `counterfoil serve`"), "{}", next.said());
    drop(shop);
    assert!(next.interrupt().await.success());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebodys_open_transaction_is_named_and_not_waited_for_without_end() {
    let server = Server::start().await;
    assert!(run(of_shop(&server, &["migrate"])).await.status.success());
    let mut shop = server.cluster.superuser("shop").connect().await.unwrap();
    shop.execute(OLDER).await.unwrap();
    shop.execute("BEGIN; LOCK TABLE sessions IN ROW EXCLUSIVE MODE").await.unwrap();
    let refused = run(of_shop(&server, &["migrate"])).await;
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains("open transaction") && said.contains("pg_stat_activity"), "{said}");
    shop.execute("COMMIT").await.unwrap();
    assert!(run(of_shop(&server, &["migrate"])).await.status.success());
    drop(shop);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_the_lock_does_not_serve_on_newer_tables() {
    let server = Server::start().await;
    let database = Database::open(Some(&server.url("shop")), Path::new("/nowhere"), &|_| {}).await.unwrap();
    Session::try_take(&database.options).await.unwrap().close().await;
    let mut shop = server.cluster.superuser("shop").connect().await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, '', true, '', 0)";
    shop.execute(newer).await.unwrap();
    let error = Session::try_take(&database.options).await.err().unwrap();
    assert!(matches!(error, SessionError::Schema(_)) && error.to_string().contains("9999"), "{error}");
    drop(shop);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_first_starts_at_once_make_one_schema() {
    let server = Server::start().await;
    let all: Vec<_> = (0..4).map(|_| tokio::spawn(run(of_shop(&server, &["migrate"])))).collect();
    for one in all {
        let done = one.await.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    assert!(run(of_shop(&server, &["verify"])).await.status.success());
    server.stop().await;
}
