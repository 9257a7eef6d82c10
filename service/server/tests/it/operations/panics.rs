//! A handler that panics: it fails its own request, and is counted and logged.

use super::series;
use crate::support::Service;
use crate::support::raw::{Raw, exchange};
use axum::routing::get;
use counterfoil::http::admission::Edge;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// On one thread, so that this log is the service's.
#[tokio::test]
async fn a_handler_that_panics_fails_its_own_request_and_is_counted_and_logged() {
    let (log, places) = (Log::default(), 2);
    let writer = log.clone();
    let json = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(tracing::Level::ERROR);
    let _logged = tracing::subscriber::set_default(json.with_writer(move || writer.clone()).finish());
    let panics = |mut edge: Edge| {
        for path in ["/panics", "/oauth2/panics"] {
            edge.router = edge.router.route(path, get(async || -> StatusCode { panic!("as a bug would") }));
        }
        edge
    };
    let service = Service::start_with(|config| config.limits.requests = places, panics).await;

    // More often than there are places for requests: none is lost.
    let mut raw = Raw::to(service.base()).await;
    let mut ids = Vec::new();
    for _ in 0..places + 1 {
        raw.send("GET /panics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let answer = raw.answer().await;
        answer.assert_problem(500, "internal");
        assert!(!answer.body.contains("bug"), "{answer:?}");
        ids.push(answer.header("x-request-id").unwrap().to_string());
    }
    // The connection goes on, as others do.
    raw.send("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 200);
    let at_oauth = exchange(service.base(), "GET /oauth2/panics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    at_oauth.assert_oauth(500, "server_error");
    ids.push(at_oauth.header("x-request-id").unwrap().to_string());
    let token = service.issue(json!({})).await;
    assert_eq!(service.introspect(token["plaintext"].as_str().unwrap()).await["active"], true);

    assert_eq!(series(&service.metrics(), "counterfoil_panics_total"), ids.len() as f64);
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines = logged.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let named: Vec<String> = lines
        .filter(|line| line["message"] == "a handler did not finish" && line["panicked"] == true)
        .map(|line| line["request_id"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(named, ids, "{logged}");
    service.stop().await;
}
