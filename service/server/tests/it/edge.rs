//! What connections and requests may cost, and how refusals look.

use crate::support::Service;
use crate::support::raw::{Raw, exchange};
use axum::Router;
use axum::routing::get;
use counterfoil::http::admission::Edge;
use counterfoil::ops::drain::Stage;
use std::time::{Duration, Instant};

const GET: &str = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_waited_for_shortly_and_the_next_request_longer() {
    let shorter = |mut edge: Edge| {
        (edge.times.head, edge.times.idle) = (millis(500), millis(6000));
        edge
    };
    let service = Service::start_with(|_| {}, shorter).await;
    let began = Instant::now();
    let mut half = Raw::to(service.base()).await;
    half.send("GET /livez HTTP/1.1\r\nHo").await;
    assert!(half.ends_within(millis(5000)).await);
    assert!(began.elapsed() >= millis(500), "{:?}", began.elapsed());

    // A byte now and then prolongs nothing.
    let (began, mut slow) = (Instant::now(), Raw::to(service.base()).await);
    slow.send("GET /livez HTTP/1.1\r\nX: ").await;
    while slow.try_send(b"x").await.is_ok() && began.elapsed() < millis(6000) {
        if slow.ends_within(millis(50)).await {
            break;
        }
    }
    assert!(began.elapsed() < millis(5000), "{:?}", began.elapsed());

    // Between requests there is more time, but not for ever.
    let mut kept = Raw::to(service.base()).await;
    for _ in 0..2 {
        kept.send(GET).await;
        assert_eq!(kept.answer().await.status, 200);
        assert!(!kept.ends_within(millis(1200)).await);
    }
    assert!(kept.ends_within(millis(20_000)).await);
    service.stop().await;
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

    // An answer that was under way comes first, whole.
    let mut raw = Raw::to(service.base()).await;
    raw.send(format!("{GET}nonsense\r\n\r\n")).await;
    assert_eq!(raw.answer().await.body, "ok\n");
    raw.answer().await.assert_problem(400, "not-http");
    assert!(raw.ends_within(millis(10_000)).await);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_before_it_comes_and_the_client_sees_that() {
    let service = Service::start().await;
    let owner = &service.made.owner.token;
    let head = |framing: &str| {
        format!(
            "POST /v1/user/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {owner}\r\n\
             Content-Type: application/json\r\n{framing}\r\n\r\n"
        )
    };
    let mut raw = Raw::to(service.base()).await;
    raw.send(head("Content-Length: 10000000")).await;
    // Nothing of the body was sent yet.
    raw.answer().await.assert_problem(413, "too-large");

    // A client that sends on is not reset meanwhile: it sees the answer, and then a proper end.
    let mut raw = Raw::to(service.base()).await;
    raw.send(head("Content-Length: 1500000")).await;
    let answer = raw.answer().await;
    for _ in 0..15 {
        raw.send(vec![b' '; 100_000]).await;
    }
    answer.assert_problem(413, "too-large");
    raw.finish().await;
    assert!(raw.ends_properly().await);

    let mut raw = Raw::to(service.base()).await;
    raw.send(head("Transfer-Encoding: chunked")).await;
    for _ in 0..20 {
        raw.send(format!("1000\r\n{}\r\n", " ".repeat(0x1000))).await;
    }
    raw.answer().await.assert_problem(413, "too-large");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_no_body_takes_no_place() {
    let bounds = |config: &mut counterfoil::config::Config| config.limits.requests = 2;
    let service = Service::start_with(bounds, |edge| edge).await;
    let token = service.issue(serde_json::json!({})).await;
    let mut waiting = Vec::new();
    for door in ["/oauth2/introspect", "/oauth2/revoke", "/v1/session", "/v1/user/tokens"] {
        for framing in ["Content-Length: 7", "Transfer-Encoding: chunked"] {
            let mut half = Raw::to(service.base()).await;
            let kind = "Content-Type: application/x-www-form-urlencoded";
            half.send(format!("POST {door} HTTP/1.1\r\nHost: x\r\n{kind}\r\n{framing}\r\n\r\n")).await;
            waiting.push(half);
        }
    }
    tokio::time::sleep(millis(200)).await;
    for _ in 0..20 {
        assert_eq!(service.introspect(token["plaintext"].as_str().unwrap()).await["active"], true);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_bounds_there_is_an_answer_too() {
    let bounds = |config: &mut counterfoil::config::Config| {
        (config.limits.requests, config.limits.connections) = (1, 4);
    };
    let done = std::sync::Arc::new(tokio::sync::Notify::new());
    let waits = done.clone();
    let slow = move |mut edge: Edge| {
        let answer = async move || {
            waits.notified().await;
            "done"
        };
        edge.router = edge.router.route("/slow", get(answer));
        edge
    };
    let service = Service::start_with(bounds, slow).await;
    let mut busy = Raw::to(service.base()).await;
    busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let form =
        "POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let mut other = Raw::to(service.base()).await;
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        other.send("GET /v1/token HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let answer = other.answer().await;
        if answer.status == 503 {
            answer.assert_problem(503, "overloaded");
            assert_eq!(answer.header("retry-after"), Some("1"));
            break;
        }
        assert!(Instant::now() < until, "{answer:?}");
    }
    other.send(format!("{form}Content-Length: 7\r\n\r\ntoken=x")).await;
    let answer = other.answer().await;
    answer.assert_oauth(503, "temporarily_unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
    other.send(GET).await;
    assert_eq!(other.answer().await.status, 200);
    done.notify_one();
    assert_eq!(busy.answer().await.status, 200);

    // Two connections are open; two more fit.
    let (mut third, mut fourth) = (Raw::to(service.base()).await, Raw::to(service.base()).await);
    third.send(GET).await;
    fourth.send(GET).await;
    assert_eq!((third.answer().await.status, fourth.answer().await.status), (200, 200));
    exchange(service.base(), GET).await.assert_problem(503, "overloaded");
    drop(third);
    let until = Instant::now() + Duration::from_secs(20);
    while exchange(service.base(), GET).await.status != 200 {
        assert!(Instant::now() < until);
    }
    service.stop().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_says_so_and_answers_what_is_under_way() {
    let service = Service::start_with(|config| config.drain.notice_ms = 3000, |edge| edge).await;
    let (mut idle, mut half) = (Raw::to(service.base()).await, Raw::to(service.base()).await);
    idle.send(GET).await;
    assert_eq!(idle.answer().await.status, 200);
    let body = "{\"note\":\"late\"}";
    let head = format!(
        "POST /v1/user/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        service.made.owner.token,
        body.len()
    );
    half.send(format!("{head}{}", &body[..5])).await;
    service.drain().reach(Stage::Leaving);
    let ready = exchange(service.base(), "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    ready.assert_problem(503, "leaving");
    assert!(idle.ends_within(millis(20_000)).await);
    // Idle connections are closed when no new ones are accepted any more.
    assert!(tokio::net::TcpStream::connect(service.base().trim_start_matches("http://")).await.is_err());
    half.send(&body[5..]).await;
    let answer = half.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (201, Some("close")));
    assert_eq!(service.events("token.issued").await, 3);
    service.stop().await;
}
