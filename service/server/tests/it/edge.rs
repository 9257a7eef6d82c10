//! How refusals look, whoever refuses.

mod bounds;
mod hostile;
mod slow;

use crate::support::Service;
use crate::support::raw::{Raw, exchange};
use axum::Router;
use axum::routing::get;
use counterfoil::http::admission::Edge;
use std::time::Duration;

const GET: &str = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
const GET_OAUTH: &str = "GET /oauth2/introspect HTTP/1.1\r\nHost: x\r\n\r\n";

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told_so() {
    let service = Service::start().await;
    let lines = |count: usize| (0..count).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    let with = |headers: String| format!("GET /v1/token HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    let long = |length: usize| "x".repeat(length);
    for (request, status, kind) in [
        ("GARBAGE\r\n\r\n".to_string(), 400, "not-http"),
        ("GET /\u{7f} HTTP/1.1\r\n\r\n".to_string(), 400, "not-http"),
        ("GET / HTTP/9.9\r\n\r\n".to_string(), 400, "not-http"),
        (with("no colon\r\n".into()), 400, "not-http"),
        (with("X: a\0b\r\n".into()), 400, "not-http"),
        (with("Content-Length: 1\r\nContent-Length: 2\r\n".into()), 400, "not-http"),
        (with("Content-Length: -1\r\n".into()), 400, "not-http"),
        (with(lines(64)), 431, "headers-too-large"),
        (with(lines(2000)), 431, "headers-too-large"),
        (with(format!("X: {}\r\n", long(33_000))), 431, "headers-too-large"),
        (with(format!("X: {}\r\n", long(200_000))), 431, "headers-too-large"),
        (with(format!("Authorization: Bearer {}\r\n", long(20_000))), 401, "unauthenticated"),
        (with(format!("Authorization: Basic {}\r\n", long(20_000))), 401, "unauthenticated"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", long(70_000)), 414, "target-too-long"),
    ] {
        let shown = request.chars().take(60).collect::<String>();
        let answer = exchange(service.base(), &request).await;
        assert_eq!(answer.status, status, "{shown:?}: {answer:?}");
        answer.assert_problem(status, kind);
        assert!(!answer.body.contains("xxx") && !answer.body.contains("GARBAGE"), "{answer:?}");
    }
    let metrics = service.metrics();
    assert!(metrics.contains("counterfoil_framing_refused_total{status=\"400\"} 7"), "{metrics}");

    // Whoever stands in front may have read another body than we would.
    let chunks = "\r\n2\r\n{}\r\n0\r\n\r\n";
    for (codings, status, kind) in [
        ("Transfer-Encoding: gzip, chunked\r\n", 400, "not-http"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400, "not-http"),
        ("Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n", 415, "content-encoding"),
        ("Transfer-Encoding: Chunked\r\nContent-Encoding: identity\r\n", 401, "unauthenticated"),
    ] {
        let request = format!("POST /v1/user/tokens HTTP/1.1\r\nHost: x\r\n{codings}{chunks}");
        exchange(service.base(), &request).await.assert_problem(status, kind);
    }
    let form = "POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\ntoken=x";
    exchange(service.base(), form).await.assert_oauth(415, "invalid_request");

    // At the doors of OAuth in their form; another request of a connection, too.
    for wrong in [
        ("Content-Length: abc\r\n".into(), 400),
        ("Content-Length: 1\r\nContent-Length: 2\r\n".into(), 400),
        ("Transfer-Encoding: identity\r\n".into(), 400),
        ("A: b\r\n folded\r\n".into(), 400),
        ("a b: c\r\n".into(), 400),
        (lines(150), 431),
        (format!("X: {}\r\n", long(200_000)), 431),
    ] {
        oauth_is_told_in_its_form(&service, &wrong).await;
    }
    let too_long = format!("GET /oauth2/{} HTTP/1.1\r\n\r\n", long(70_000));
    exchange(service.base(), &too_long).await.assert_oauth(414, "invalid_request");

    // An answer that was under way comes first, whole.
    let mut raw = Raw::to(service.base()).await;
    raw.send(format!("{GET}nonsense\r\n\r\n")).await;
    assert_eq!(raw.answer().await.body, "ok\n");
    raw.answer().await.assert_problem(400, "not-http");
    assert!(raw.ends_within(millis(10_000)).await);
    service.stop().await;
}

/// A request that nobody can read, by itself, after another, and at once with another.
async fn oauth_is_told_in_its_form(service: &Service, (headers, status): &(String, u16)) {
    let bad = format!("POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    exchange(service.base(), &bad).await.assert_oauth(*status, "invalid_request");
    for (before, together) in [(GET, false), (GET_OAUTH, false), (GET_OAUTH, true)] {
        let mut raw = Raw::to(service.base()).await;
        if together {
            raw.send(format!("{before}{bad}")).await;
        } else {
            raw.send(before).await;
        }
        raw.answer().await;
        if !together {
            raw.send(&bad).await;
        }
        raw.answer().await.assert_oauth(*status, "invalid_request");
    }
    // And what comes after it at another door has the form of that door, in whatever pieces it comes.
    let elsewhere = bad.replace("/oauth2/introspect", "/v1/token");
    for piece in [1, 9, elsewhere.len()] {
        let mut raw = Raw::to(service.base()).await;
        raw.send(GET_OAUTH).await;
        raw.answer().await;
        for piece in elsewhere.as_bytes().chunks(piece).take(40) {
            raw.send(piece).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        raw.send(&elsewhere[(40 * piece).min(elsewhere.len())..]).await;
        assert_eq!(raw.answer().await.header("content-type"), Some("application/problem+json"));
    }
    // A long target comes in pieces, too.
    let long = bad.replace("introspect", &format!("introspect?{}", "x".repeat(9000)));
    let answer = exchange(service.base(), &long).await;
    assert_eq!((answer.status / 100, answer.header("content-type")), (4, Some("application/json")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_an_answer_with_the_requests_id() {
    async fn panics() {
        panic!("planted");
    }
    let panicking = |mut edge: Edge| {
        edge.router = edge.router.merge(Router::new().route("/panic", get(panics)));
        edge
    };
    let service = Service::start_with(|_| {}, panicking).await;
    let mut raw = Raw::to(service.base()).await;
    raw.send("GET /panic HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\n\r\n").await;
    let answer = raw.answer().await;
    answer.assert_problem(500, "internal");
    assert!(answer.header("x-request-id").is_some_and(|id| id.len() == 36));
    // The connection goes on.
    raw.send(GET).await;
    assert_eq!(raw.answer().await.status, 200);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_a_document_of_its_door() {
    let service = Service::start().await;
    let token = &service.made.owner.token;
    let ask = |method: &str, target: &str| {
        format!("{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n")
    };
    for (method, target, status, kind, allow) in [
        ("GET", "/nothing", 404, "not-found", None),
        ("GET", "/", 404, "not-found", None),
        ("GET", "//livez", 404, "not-found", None),
        ("GET", "/livez/", 404, "not-found", None),
        ("GET", "/%6civez", 404, "not-found", None),
        ("OPTIONS", "*", 404, "not-found", None),
        ("POST", "/livez", 405, "method", Some("GET,HEAD")),
        ("OPTIONS", "/livez", 405, "method", Some("GET,HEAD")),
        ("TRACE", "/livez", 405, "method", Some("GET,HEAD")),
        ("AAAAAAAA", "/livez", 405, "method", Some("GET,HEAD")),
        ("PUT", "/v1/user/tokens", 405, "method", Some("GET,HEAD,POST,DELETE")),
        ("GET", "/v1/user/tokens/%ff", 400, "malformed", None),
        ("GET", "/v1/user/tokens/%00", 404, "not-found", None),
        ("GET", "/v1/user/tokens/%ed%a0%80", 400, "malformed", None),
        ("GET", "/v1/user/tokens?cursor=%00", 400, "malformed", None),
        ("GET", "/v1/user/tokens?limit=%ff", 400, "malformed", None),
    ] {
        let answer = exchange(service.base(), ask(method, target)).await;
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
        answer.assert_problem(status, kind);
        assert_eq!(answer.header("allow"), allow, "{method} {target}");
        assert!(answer.header("x-request-id").is_some());
    }
    for (method, target, status, allow) in [
        ("GET", "/oauth2/introspect", 405, Some("POST")),
        ("GET", "/oauth2/revoke?token=x", 405, Some("POST")),
        ("GET", "/oauth2/nothing", 404, None),
        ("POST", "/oauth2/%69ntrospect", 404, None),
        ("POST", "/oauth2/introspect/", 404, None),
    ] {
        let answer = exchange(service.base(), ask(method, target)).await;
        answer.assert_oauth(status, "invalid_request");
        assert_eq!(answer.header("allow"), allow, "{method} {target}");
    }
    let mut raw = Raw::to(service.base()).await;
    raw.send(ask("HEAD", "/v1/token")).await;
    assert_eq!(raw.try_answer(true).await.unwrap().status, 200);
    raw.send(ask("HEAD", "/nothing")).await;
    assert_eq!(raw.try_answer(true).await.unwrap().status, 404);
    // A client that closes its half after sending is answered.
    raw.send(GET).await;
    raw.finish().await;
    assert_eq!(raw.answer().await.body, "ok\n");
    service.stop().await;
}
