//! A command that is suspended in the middle (Ctrl-Z, a debugger, a machine that sleeps) holds nobody up for long.

use crate::queue::hold_the_order;
use crate::support::program::{Program, command};
use crate::support::{Service, until};
use crate::whole::whole;
use nix::sys::signal::Signal;
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_is_suspended_in_its_transaction_gives_the_order_back() {
    let service = Service::start().await;
    let mut held = hold_the_order(&service).await;
    let data_dir = service.database.private.as_ref().unwrap().cluster_dir().parent().unwrap();
    let init = ["init", "--organization", "other", "--owner", "other@example.com"];
    let mut init = Program::start(command(data_dir, &init));
    // Its session is younger than the one that holds the order, and waits for that.
    let sql = "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE l.locktype = 'advisory' AND NOT l.granted AND a.backend_start >
            (SELECT backend_start FROM pg_stat_activity WHERE pid = $1))";
    let holder: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut held).await.unwrap();
    let pool = &service.database.pool;
    let waits = async || sqlx::query_scalar::<_, bool>(sql).bind(holder).fetch_one(pool).await.unwrap();
    until("init waits for the append lock", waits).await;
    init.signal(Signal::SIGSTOP);
    sqlx::query("COMMIT").execute(&mut held).await.unwrap();

    let since = Instant::now();
    let owner = &service.made.owner.token;
    let issued = service.call(Method::POST, "/v1/user/tokens", owner, Some(json!({}))).await;
    assert_eq!(issued.0, StatusCode::CREATED, "{issued:?}");
    // It did hold it, and not until its caller gave up.
    let took = since.elapsed();
    assert!((4..9).contains(&took.as_secs()), "{took:?}");
    init.signal(Signal::SIGCONT);
    assert!(!init.until_it_ends().await.success());
    assert!(init.said().contains("init did not finish"), "{}", init.said());
    assert!(since.elapsed() < Duration::from_secs(60));
    drop(held);
    whole(&service).await;
    service.stop().await;
}
