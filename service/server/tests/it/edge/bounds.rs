//! What connections and requests may cost.

use super::{GET, millis};
use crate::support::raw::{Raw, exchange};
use crate::support::{PATIENCE, Service};
use axum::body::Body;
use axum::routing::{get, post};
use counterfoil::http::admission::Edge;
use counterfoil::http::body::read;
use counterfoil::http::problem::Problem;
use counterfoil::ops::drain::Stage;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_waited_for_shortly_and_the_next_request_longer() {
    let shorter = |mut edge: Edge| {
        (edge.bounds.times.head, edge.bounds.times.idle) = (millis(500), millis(6000));
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
async fn half_a_head_behind_a_request_is_waited_for_as_shortly() {
    let shorter = |mut edge: Edge| {
        (edge.bounds.times.head, edge.bounds.times.idle) = (millis(500), millis(60_000));
        edge
    };
    let service = Service::start_with(|_| {}, shorter).await;
    // hyper refuses the last one once it looks at all of it, which it puts off until the head ends.
    let wrong = format!("GET / HTTP/1.1\r\nX: {}\r\nY: \0", "x".repeat(9000));
    for half in ["GET /livez HTTP/1.1\r\nX: ", "G", "GET /livez HTTP/1.1\r\nHost: x\r\n", &wrong] {
        let mut pipelines = Raw::to(service.base()).await;
        pipelines.send(format!("{GET}{GET}{half}")).await;
        for _ in 0..2 {
            assert_eq!(pipelines.answer().await.status, 200);
        }
        assert!(pipelines.ends_within(millis(20_000)).await, "{half:.40?}");
    }
    // What ends where a request ends is half of nothing, in however many pieces it comes.
    let pieces = [GET.split_at(GET.len() - 1), GET.split_at(GET.len() - 2), GET.split_at(4), (GET, GET)];
    let mut kept = Vec::new();
    for (first, second) in pieces {
        let mut raw = Raw::to(service.base()).await;
        raw.send(first).await;
        tokio::time::sleep(millis(50)).await;
        raw.send(second).await;
        assert_eq!(raw.answer().await.status, 200);
        kept.push(raw);
    }
    assert_eq!(kept[3].answer().await.status, 200);
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\ntoken=x";
    let mut raw = Raw::to(service.base()).await;
    raw.send(format!("POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\n{form}\r\n")).await;
    assert_eq!(raw.answer().await.status, 401);
    kept.push(raw);
    tokio::time::sleep(millis(2500)).await;
    for raw in &mut kept {
        raw.send(GET).await;
        assert_eq!(raw.answer().await.status, 200);
    }
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
    let bounds = |config: &mut counterfoil::config::Config| config.limits.requests = 1;
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
async fn a_body_that_comes_late_takes_its_place_again() {
    let bounds = |config: &mut counterfoil::config::Config| config.limits.requests = 1;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (begun, highest) = (now.clone(), most.clone());
    let slow = move |mut edge: Edge| {
        let answer = async move |body: Body| -> Result<&'static str, Problem> {
            read(body, 10).await?;
            highest.fetch_max(begun.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(millis(300)).await;
            begun.fetch_sub(1, Ordering::SeqCst);
            Ok("done")
        };
        edge.router = edge.router.route("/slow", post(answer));
        edge
    };
    let service = Service::start_with(bounds, slow).await;
    service.until_alone().await;
    let mut waiting = Vec::new();
    for number in 0..20 {
        let (framing, rest) = if number % 2 == 0 {
            ("Content-Length: 2", "y")
        } else {
            ("Transfer-Encoding: chunked", "1\r\ny\r\n0\r\n\r\n")
        };
        let mut raw = Raw::to(service.base()).await;
        let begin = if number % 2 == 0 { "x" } else { "1\r\nx\r\n" };
        raw.send(format!("POST /slow HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n{begin}")).await;
        tokio::time::sleep(millis(20)).await;
        waiting.push((raw, rest));
    }
    for (raw, rest) in &mut waiting {
        raw.send(rest).await;
    }
    let mut done = 0;
    for (raw, _) in &mut waiting {
        let answer = raw.answer().await;
        match answer.status {
            200 => done += 1,
            _ => answer.assert_problem(503, "overloaded"),
        }
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert!((1..20).contains(&done), "{done}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_bounds_there_is_an_answer_too() {
    let bounds = |config: &mut counterfoil::config::Config| {
        (config.limits.requests, config.limits.connections) = (1, 4);
    };
    let [begun, done] = [(), ()].map(|()| std::sync::Arc::new(tokio::sync::Notify::new()));
    let (begins, waits) = (begun.clone(), done.clone());
    let slow = move |mut edge: Edge| {
        let answer = async move || {
            begins.notify_one();
            waits.notified().await;
            "done"
        };
        edge.router = edge.router.route("/slow", get(answer));
        edge
    };
    let service = Service::start_with(bounds, slow).await;
    service.until_alone().await;
    let mut busy = Raw::to(service.base()).await;
    busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    begun.notified().await;
    let form =
        "POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let mut other = Raw::to(service.base()).await;
    other.send("GET /v1/token HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = other.answer().await;
    answer.assert_problem(503, "overloaded");
    assert_eq!(answer.header("retry-after"), Some("1"));
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
    let until = Instant::now() + PATIENCE;
    while exchange(service.base(), GET).await.status != 200 {
        assert!(Instant::now() < until);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_says_so_and_answers_what_is_under_way() {
    let service = Service::start_with(|config| config.drain.notice_ms = 3000, |edge| edge).await;
    let (mut idle, mut half) = (Raw::to(service.base()).await, Raw::to(service.base()).await);
    idle.send(GET).await;
    assert_eq!(idle.answer().await.status, 200);
    // A head that has begun: the first of its connection, and one on a connection that rested.
    let (mut first, mut next) = (Raw::to(service.base()).await, Raw::to(service.base()).await);
    first.send(&GET[..11]).await;
    next.send(GET).await;
    assert_eq!(next.answer().await.status, 200);
    tokio::time::sleep(millis(1500)).await;
    let body = "{\"note\":\"late\"}";
    let head = format!(
        "POST /v1/user/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        service.made.owner.token,
        body.len()
    );
    half.send(format!("{head}{}", &body[..5])).await;
    service.drain().reach(Stage::Leaving);
    tokio::time::sleep(millis(1000)).await;
    next.send(&GET[..11]).await;
    let ready = exchange(service.base(), "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    ready.assert_problem(503, "leaving");
    assert!(idle.ends_within(millis(20_000)).await);
    // Idle connections are closed when no new ones are accepted any more. What is refused is the answer: while a child of
    // another test has yet to become its program, it holds the listening socket too, and the kernel goes on connecting.
    let mut late = None;
    if let Ok(mut raw) = Raw::try_to(service.base()).await
        && raw.try_send(GET.as_ref()).await.is_ok()
    {
        late = raw.try_answer(false).await;
    }
    assert!(late.is_none(), "{late:?}");
    for begun in [&mut first, &mut next] {
        begun.send(&GET[11..]).await;
        let answer = begun.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{answer:?}");
    }
    half.send(&body[5..]).await;
    let answer = half.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (201, Some("close")), "{answer:?}");
    assert_eq!(service.events("token.issued").await, 3);
    service.stop().await;
}
