//! Metrics: what they count.

use super::{FORM, series};
use crate::support::Service;
use crate::support::raw::exchange;
use counterfoil::http::admission::Edge;
use counterfoil::http::edge;
use serde_json::json;
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_happens() {
    let service = Service::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let edge = tokio::spawn(edge::serve(listener, Edge::metrics(service.app(), &Default::default())));
    let scrape = || async {
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text\r\n\r\n";
        let answer = exchange(&address, request).await;
        assert_eq!(answer.status, 200);
        assert!(
            answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4"))
        );
        answer.body
    };
    exchange(&address, "GET /v1/token HTTP/1.1\r\nHost: x\r\n\r\n").await.assert_problem(404, "not-found");
    exchange(service.base(), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .assert_problem(404, "not-found");

    let token = service.issue(json!({})).await;
    let plaintext = token["plaintext"].as_str().unwrap();
    assert_eq!(service.introspect(plaintext).await["active"], true);
    assert_eq!(service.introspect("unknown").await["active"], false);
    let post =
        format!("POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: 7\r\n\r\ntoken=x");
    exchange(service.base(), post).await.assert_oauth(401, "invalid_client");
    let before = scrape().await;
    for (name, value) in [
        ("counterfoil_introspections_total{outcome=\"active\"}", 1.0),
        ("counterfoil_introspections_total{outcome=\"inactive\"}", 1.0),
        ("counterfoil_introspections_total{outcome=\"refused\"}", 1.0),
        ("counterfoil_introspections_total{outcome=\"unavailable\"}", 0.0),
        ("counterfoil_http_requests_total{route=\"/v1/user/tokens\",method=\"POST\",status=\"201\"}", 1.0),
        ("counterfoil_http_requests_total{route=\"/oauth2/introspect\",method=\"POST\",status=\"200\"}", 2.0),
        ("counterfoil_http_requests_total{route=\"unmatched\",method=\"GET\",status=\"404\"}", 1.0),
        ("counterfoil_http_request_duration_seconds_count{route=\"/v1/user/tokens\"}", 1.0),
        ("counterfoil_index_digests", 3.0),
        ("counterfoil_applied_lag_events", 0.0),
        ("counterfoil_writer_queue_commands", 0.0),
        ("counterfoil_commit_failures_total", 0.0),
        ("counterfoil_fresh", 1.0),
    ] {
        assert_eq!(series(&before, name), value, "{name}: {before}");
    }
    for name in
        ["counterfoil_commits_total", "counterfoil_batch_commands_sum", "counterfoil_batch_seconds_count"]
    {
        assert!(series(&before, name) >= 1.0, "{name}: {before}");
    }
    let last: i64 =
        sqlx::query_scalar("SELECT max(seq) FROM events").fetch_one(&service.database.pool).await.unwrap();
    assert_eq!(series(&before, "counterfoil_applied_seq"), last as f64);
    assert_eq!(series(&before, "counterfoil_head_seq"), last as f64);
    assert!(series(&before, "process_resident_memory_bytes") > 1e6);
    edge.abort();
    let _ = edge.await;
    service.stop().await;
}
