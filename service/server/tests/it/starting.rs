//! What is answered before there is anything to serve.

use crate::support::http2::Http2;
use crate::support::raw::{Answer, Raw, exchange};
use counterfoil::config::Config;
use counterfoil::http::starting::Starting;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

const GET: &str = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";

async fn starting(connections: usize) -> (String, JoinHandle<()>) {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let base = format!("http://{}", listener.local_addr().unwrap());
    let mut limits = Config::default().limits;
    limits.connections = connections;
    (base, tokio::spawn(Starting::default().serve(listener, limits)))
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_connections_do_not_keep_out_who_asks_whether_it_lives() {
    let (base, answering) = starting(1000).await;
    let mut slow = Vec::new();
    for beginning in ["", "GET /livez HTTP/1.1\r\nX: ", "PRI * HTTP/2.0\r\n"].repeat(70) {
        let mut raw = Raw::to(&base).await;
        raw.send(beginning).await;
        slow.push(raw);
    }
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(exchange(&base, GET).await.body, "ok\n");
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    for mut raw in slow {
        assert!(raw.ends_within(Duration::from_secs(20)).await);
    }
    answering.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn there_too_is_an_answer_over_http2_and_beyond_the_bound() {
    let (base, answering) = starting(2).await;
    let http2 = Http2::to(&base).await;
    assert_eq!(http2.ask("GET", "/livez", "", "").await.body, "ok\n");
    let ready = http2.ask("GET", "/readyz", "", "").await;
    ready.assert_problem(503, "starting");
    http2.ask("POST", "/oauth2/introspect", "", "token=x").await.assert_oauth(503, "temporarily_unavailable");
    let _second = Raw::to(&base).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let refused = exchange(&base, GET).await;
    refused.assert_problem(503, "overloaded");
    assert_ne!(id_of(&ready), id_of(&refused));
    answering.abort();
}

fn id_of(answer: &Answer) -> Uuid {
    let id = answer.header("x-request-id").unwrap_or_else(|| panic!("no id: {answer:?}"));
    id.parse().unwrap_or_else(|error| panic!("{error}: {id}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_an_id_that_of_a_head_that_cannot_be_read_too() {
    let (base, answering) = starting(100).await;
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(200));
    let mut ids = Vec::new();
    for (request, status) in [
        (GET, 200),
        ("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", 503),
        ("what is this\r\n\r\n", 400),
        (&many, 431),
    ] {
        let answer = exchange(&base, request).await;
        assert_eq!(answer.status, status, "{answer:?}");
        ids.push(id_of(&answer));
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    answering.abort();
}
