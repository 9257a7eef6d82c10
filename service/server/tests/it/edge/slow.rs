//! Who keeps the service waiting makes way for others.

use super::{GET, millis};
use crate::support::http2::{END_HEADERS, END_STREAM, Frames, frame, head, kind};
use crate::support::raw::{Raw, exchange};
use crate::support::{Service, until};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use counterfoil::config::Config;
use counterfoil::http::admission::Edge;
use std::num::NonZeroU32;
use std::time::Instant;

/// So many may keep a service with few connections waiting.
const MOST: usize = 64;
const BODY: &str =
    "POST /v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n";
const FORM: &str = "POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\
                    Content-Type: application/x-www-form-urlencoded\r\n";
const ENHANCE_YOUR_CALM: u32 = 11;
const ENDED: &str = "counterfoil_slow_clients_ended_total";

/// Bytes of an answer, which ends with its connection.
async fn exchange_bytes(base: &str, request: &str) -> usize {
    let mut raw = Raw::to(base).await;
    raw.send(request).await;
    raw.rest().await
}

async fn start() -> Service {
    let hold = |mut edge: Edge| {
        edge.bounds.times.hold = millis(5000);
        edge
    };
    let configure = |config: &mut Config| {
        config.limits.connections = 10 * MOST;
        config.limits.strangers_burst = NonZeroU32::new(100_000).unwrap();
    };
    Service::start_with(configure, hold).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_bodies_that_are_waited_for_the_oldest_makes_way() {
    let service = start().await;
    let gateway = &service.made.gateway;
    let basic = STANDARD.encode(format!("{}:{}", gateway.client_id, gateway.client_secret));
    let form = format!("{FORM}Authorization: Basic {basic}\r\n\r\n");
    let (mut slow, began) = (Vec::new(), Instant::now());
    for number in 0..MOST + 2 {
        let mut raw = Raw::to(service.base()).await;
        raw.send(if number == 1 { &form } else { BODY }).await;
        // One after the other, so that it is known which is older.
        tokio::time::sleep(millis(20)).await;
        slow.push(raw);
    }
    slow[0].answer().await.assert_problem(503, "overloaded");
    slow[1].answer().await.assert_oauth(503, "temporarily_unavailable");
    // They have been told to go, and are not sent away at once.
    for raw in &mut slow[..2] {
        assert!(!raw.ends_within(millis(300)).await);
        raw.send("{").await;
    }
    // Who comes from elsewhere keeps its place, and gets one, whoever floods.
    let mut other = Raw::from("127.0.0.2", service.base()).await;
    other.send(BODY).await;
    tokio::time::sleep(millis(20)).await;
    for _ in 0..MOST {
        let mut raw = Raw::to(service.base()).await;
        raw.send(BODY).await;
        slow.push(raw);
    }
    let ended = format!("{ENDED} {}\n", MOST + 3);
    until("each has come", async || service.metrics().contains(&ended)).await;
    other.send("{}").await;
    assert_eq!(other.answer().await.status, 400);
    // The last has its place still, and whose body comes at once needs none.
    let mut last = slow.pop().unwrap();
    last.send("{}").await;
    assert_eq!(last.answer().await.status, 400);
    assert_eq!(exchange(service.base(), format!("{BODY}{{}}")).await.status, 400);
    assert!(slow[0].ends_within(millis(20_000)).await);
    assert!(began.elapsed() >= millis(5000), "{:?}", began.elapsed());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_answers_that_nobody_takes_the_oldest_is_cut() {
    let service = start().await;
    let file = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n";
    let one = exchange_bytes(service.base(), &format!("{file}Connection: close\r\n\r\n")).await;
    let many = format!("{}{file}Connection: close\r\n\r\n", format!("{file}\r\n").repeat(29));
    let mut slow = Vec::new();
    for _ in 0..=MOST {
        let mut raw = Raw::from("127.0.0.1", service.base()).await;
        raw.send(&many).await;
        slow.push(raw);
        tokio::time::sleep(millis(50)).await;
    }
    until("one makes way", async || service.metrics().contains(&format!("{ENDED} 1\n"))).await;
    // The first gets what was on its way, and then nothing; the others get all.
    let (first, second) = (slow[0].rest().await, slow[1].rest().await);
    assert!(first < 29 * one && second > 29 * one, "{first} {second} {one}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_connections_of_http2_one_that_rests_makes_way() {
    let service = start().await;
    let get = head("GET", "/livez", &[]);
    let ask = frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &get);
    let (mut idle, first) = (Vec::new(), Instant::now());
    for _ in 0..MOST {
        let mut frames = Frames::to(service.base(), &[]).await;
        frames.send(&ask).await;
        assert_eq!(frames.fate(1).await.unwrap().kind, kind::HEADERS);
        // One after the other, so that it is known which has rested longer.
        tokio::time::sleep(millis(20)).await;
        idle.push(frames);
    }
    // An address leaves its own in peace for a while: the one that comes on top is told to be calm.
    if first.elapsed() < millis(4500) {
        let mut next = Frames::to(service.base(), &[]).await;
        next.send(&ask).await;
        let goaway = next.until(kind::GOAWAY).await.unwrap();
        assert!(goaway.code() == ENHANCE_YOUR_CALM || first.elapsed() >= millis(5000), "{goaway:?}");
    }
    // Others need not be as patient. The one that makes way is told so, and may come again.
    let mut other = Frames::from("127.0.0.2", service.base()).await;
    other.send(&ask).await;
    assert_eq!(other.fate(1).await.unwrap().kind, kind::HEADERS);
    assert_eq!(idle[0].until(kind::GOAWAY).await.unwrap().code(), 0);
    assert!(idle[0].ends_within(millis(10_000)).await);
    assert!(!idle[MOST - 1].ends_within(millis(100)).await);
    // HTTP/1.1 goes on beside it.
    assert_eq!(exchange(service.base(), GET).await.status, 200);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_waited_for_have_so_much_room() {
    let service = start().await;
    let half = format!("GET /livez HTTP/1.1\r\nHost: x\r\nX: {}", "x".repeat(31_000));
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut raw = Raw::to(service.base()).await;
        raw.send(&half).await;
        slow.push(raw);
    }
    let mut refused = 0;
    for raw in &mut slow {
        raw.send("\r\n\r\n").await;
        match raw.answer().await {
            answer if answer.status == 200 => {}
            answer => {
                answer.assert_problem(503, "overloaded");
                refused += 1;
            }
        }
    }
    // 8 MiB are room for 140 of them.
    assert!((20..=80).contains(&refused), "{refused}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_rests_goes_on_where_it_was() {
    let service = start().await;
    let (first, rest) = GET.split_at(11);
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\ntoken=x";
    let post = format!("POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\n{form}");
    // Whatever was there, and whatever of the next request was sent with it.
    for (before, status) in [(GET, 200), (post.as_str(), 401)] {
        let mut raw = Raw::to(service.base()).await;
        for begun in ["", first, "\r\n", "\r\n\r\nG"] {
            raw.send(format!("{before}{begun}")).await;
            assert_eq!(raw.answer().await.status, status);
            tokio::time::sleep(millis(1500)).await;
            match begun {
                "" | "\r\n" => raw.send(GET).await,
                begun => raw.send(if begun == first { rest } else { &GET[1..] }).await,
            }
            assert_eq!(raw.answer().await.status, 200, "{begun:?}");
            // And pieces, however small.
            for byte in GET.bytes() {
                raw.send([byte]).await;
            }
            assert_eq!(raw.answer().await.status, 200, "{begun:?}");
        }
        // What cannot be read is told so there, too.
        tokio::time::sleep(millis(1500)).await;
        raw.send("nonsense\r\n\r\n").await;
        raw.answer().await.assert_problem(400, "not-http");
        assert!(raw.ends_within(millis(10_000)).await);
    }
    // An end is an end.
    let mut raw = Raw::to(service.base()).await;
    raw.send(GET).await;
    assert_eq!(raw.answer().await.status, 200);
    tokio::time::sleep(millis(1500)).await;
    raw.finish().await;
    assert!(raw.ends_properly().await);
    service.stop().await;
}
