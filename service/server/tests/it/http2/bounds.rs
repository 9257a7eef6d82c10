//! What a connection with many streams may cost.

use super::WHOLE;
use crate::support::http2::{END_HEADERS, END_STREAM, Frames, Http2, frame, head, kind, later};
use crate::support::raw::{Raw, exchange};
use crate::support::{PATIENCE, Service};
use axum::routing::get;
use counterfoil::config::Config;
use counterfoil::http::admission::Edge;
use counterfoil::http::wire::Times;
use counterfoil::ops::drain::Stage;
use http_body_util::{BodyExt, Empty};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A service with shorter times.
async fn hasty(change: impl FnOnce(&mut Times)) -> Service {
    let shorter = |mut edge: Edge| {
        change(&mut edge.bounds.times);
        edge
    };
    Service::start_with(|_| {}, shorter).await
}

/// A service with a door that answers when it is told to.
async fn waiting(configure: impl FnOnce(&mut Config)) -> (Service, Arc<Notify>) {
    let done = Arc::new(Notify::new());
    let waits = done.clone();
    let slow = move |mut edge: Edge| {
        let answer = async move || {
            waits.notified().await;
            "done"
        };
        edge.router = edge.router.route("/slow", get(answer));
        edge
    };
    (Service::start_with(configure, slow).await, done)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_a_hundred_streams_and_who_resets_them_is_sent_away() {
    const REFUSED_STREAM: u32 = 7;
    const ENHANCE_YOUR_CALM: u32 = 11;
    let service = Service::start().await;
    let mut frames = Frames::to(service.base(), &[]).await;
    let settings = frames.until(kind::SETTINGS).await.unwrap().payload;
    assert!(settings.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 100]), "{settings:?}");
    let half = head("POST", "/v1/session", &[("content-type", "application/json")]);
    for number in 0..101 {
        frames.send(&frame(kind::HEADERS, END_HEADERS, 2 * number + 1, &half)).await;
    }
    let reset = frames.until(kind::RST_STREAM).await.unwrap();
    assert_eq!((reset.stream, reset.code()), (201, REFUSED_STREAM));
    // One that ends makes room.
    frames.send(&frame(kind::DATA, END_STREAM, 1, b"{}")).await;
    assert_eq!(frames.fate(1).await.unwrap().kind, kind::HEADERS);
    frames.send(&frame(kind::HEADERS, WHOLE, 203, &head("GET", "/livez", &[]))).await;
    assert_eq!(frames.fate(203).await.unwrap().payload[0], 0x80 | 8);

    let mut rapid = Frames::to(service.base(), &[]).await;
    let get = head("GET", "/v1/token", &[]);
    let mut flood = Vec::new();
    for number in 0..500 {
        flood.extend(frame(kind::HEADERS, WHOLE, 2 * number + 1, &get));
        flood.extend(frame(kind::RST_STREAM, 0, 2 * number + 1, &8u32.to_be_bytes()));
    }
    rapid.try_send(&flood).await;
    assert_eq!(rapid.until(kind::GOAWAY).await.unwrap().code(), ENHANCE_YOUR_CALM);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_its_time_and_so_has_an_idle_connection() {
    let service = hasty(|times| {
        (times.head, times.idle, times.linger) = (millis(500), millis(4000), millis(5000));
    })
    .await;
    let get = frame(kind::HEADERS, WHOLE, 1, &head("GET", "/livez", &[]));
    // A preface, a frame, or a head that does not end.
    let mut preface = Raw::to(service.base()).await;
    preface.send("PRI * HTTP/2.0\r\n").await;
    assert!(preface.ends_within(millis(3500)).await);
    for start in [get[..20].to_vec(), frame(kind::HEADERS, END_STREAM, 1, &get[9..])] {
        let (began, mut frames) = (Instant::now(), Frames::to(service.base(), &[]).await);
        frames.send(&start).await;
        assert!(frames.ends_within(millis(3500)).await && began.elapsed() >= millis(500));
    }
    // A byte now and then prolongs nothing.
    let (began, mut frames) = (Instant::now(), Frames::to(service.base(), &[]).await);
    for byte in frame(kind::HEADERS, WHOLE, 1, &head("GET", &format!("/{}", "x".repeat(1000)), &[])) {
        if !frames.try_send(&[byte]).await || frames.ends_within(millis(50)).await {
            break;
        }
    }
    assert!(began.elapsed() < millis(3500), "{:?}", began.elapsed());

    // Between requests there is more time; pings do not prolong it, and the client is told of the end.
    let mut frames = Frames::to(service.base(), &[]).await;
    frames.send(&get).await;
    assert_eq!(frames.fate(1).await.unwrap().kind, kind::HEADERS);
    let answered = Instant::now();
    let pings = async {
        loop {
            frames.try_send(&frame(kind::PING, 0, 0, &[0; 8])).await;
            let came = frames.next().await;
            if came.as_ref().is_none_or(|came| came.kind == kind::GOAWAY) {
                return came;
            }
            tokio::time::sleep(millis(100)).await;
        }
    };
    let goaway = tokio::time::timeout(millis(20_000), pings).await.unwrap().unwrap();
    assert!(goaway.code() == 0 && answered.elapsed() >= millis(3900), "{goaway:?} {:?}", answered.elapsed());
    assert!(frames.ends_within(millis(20_000)).await);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_of_an_answer_is_not_waited_for() {
    let service = hasty(|times| times.write = millis(1000)).await;
    // A window of nothing, and one that is too small for the whole answer (RFC 9113 section 6.9.2).
    for window in [0, 1000] {
        let mut frames = Frames::to(service.base(), &[(4, window)]).await;
        let began = Instant::now();
        frames.send(&frame(kind::HEADERS, WHOLE, 1, &head("GET", "/openapi.json", &[]))).await;
        assert_eq!(frames.fate(1).await.unwrap().kind, kind::HEADERS);
        assert!(frames.ends_within(millis(15_000)).await);
        assert!(began.elapsed() >= millis(1000), "{:?}", began.elapsed());
    }
    assert!(service.metrics().contains("counterfoil_connection_timeouts_total 2"));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_one_answer_not_is_told_to_come_again_and_may_take_the_others() {
    let service = hasty(|times| times.write = millis(2000)).await;
    let began = Instant::now();
    // Answers without a body go through a window of nothing.
    let mut frames = Frames::to(service.base(), &[(4, 0)]).await;
    frames.send(&frame(kind::HEADERS, WHOLE, 1, &head("GET", "/openapi.json", &[]))).await;
    assert_eq!(frames.fate(1).await.unwrap().kind, kind::HEADERS);
    for stream in (3..).step_by(2) {
        frames.send(&frame(kind::HEADERS, WHOLE, stream, &head("HEAD", "/livez", &[]))).await;
        let came = frames.fate(stream).await.unwrap();
        if came.kind == kind::GOAWAY {
            assert_eq!(came.code(), 0);
            break;
        }
        assert_eq!(came.kind, kind::HEADERS);
        assert!(began.elapsed() < millis(15_000), "a stream is held for as long as its client likes");
        tokio::time::sleep(millis(50)).await;
    }
    assert!(began.elapsed() >= millis(2000), "{:?}", began.elapsed());
    // And what it still takes, it gets.
    frames.send(&frame(kind::WINDOW_UPDATE, 0, 1, &1_000_000u32.to_be_bytes())).await;
    frames.send(&frame(kind::WINDOW_UPDATE, 0, 0, &1_000_000u32.to_be_bytes())).await;
    while frames.until(kind::DATA).await.unwrap().flags & END_STREAM == 0 {}
    assert!(frames.ends_within(millis(15_000)).await);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_have_places_and_requests_are_shed_one_by_one() {
    let bounds = |config: &mut Config| config.limits.requests = 4;
    let (service, done) = waiting(bounds).await;
    service.until_alone().await;
    let http2 = Http2::to(service.base()).await;
    let get = |path: &'static str| http2.begin("GET", path, "", Empty::new().boxed());
    // The first stream stands in the connection's place, four more have one each; the next has none.
    let slow = [get("/slow"), get("/slow"), get("/slow")];
    tokio::time::sleep(millis(200)).await;
    // One place among the requests is free: who waits for a body gives it back, and the next may take it.
    let ((_send, body), (_send_too, body_too)) = (later(), later());
    let mut half = Vec::new();
    for body in [body, body_too] {
        half.push(http2.begin("POST", "/v1/session", "Content-Type: application/json\r\n", body));
        tokio::time::sleep(millis(200)).await;
    }
    // Now that place is free again; none among the streams is.
    let refused = get("/v1/token").await.unwrap().unwrap();
    refused.assert_problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    http2
        .ask("POST", "/oauth2/introspect", form, "token=x")
        .await
        .assert_oauth(503, "temporarily_unavailable");
    assert_eq!(get("/livez").await.unwrap().unwrap().status, 200);
    exchange(service.base(), "GET /v1/token HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .assert_problem(401, "unauthenticated");
    half.iter().for_each(|half| half.abort());
    done.notify_waiters();
    for slow in slow {
        assert_eq!(slow.await.unwrap().unwrap().body, "done");
    }
    let until = Instant::now() + PATIENCE;
    while futures_util::future::join_all([get("/v1/token"), get("/v1/token"), get("/v1/token")])
        .await
        .into_iter()
        .any(|answer| answer.unwrap().unwrap().status != 401)
    {
        assert!(Instant::now() < until, "the places do not come back");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_waits_for_no_body_is_not_followed_by_a_reset_while_the_body_comes() {
    let service = hasty(|times| times.linger = millis(20_000)).await;
    for path in ["/v1/user/tokens", "/oauth2/introspect", "/nothing"] {
        let mut frames = Frames::to(service.base(), &[]).await;
        frames.send(&frame(kind::HEADERS, END_HEADERS, 1, &head("POST", path, &[]))).await;
        assert_eq!(frames.fate(1).await.unwrap().kind, kind::HEADERS, "{path}");
        tokio::time::sleep(millis(200)).await;
        frames.send(&frame(kind::DATA, 0, 1, &[b'x'; 1000])).await;
        frames.send(&frame(kind::DATA, END_STREAM, 1, b"")).await;
        assert!(resets_before_a_ping(&mut frames).await.is_empty(), "{path}");
    }
    service.stop().await;
}

/// The streams that were reset until a ping is answered.
async fn resets_before_a_ping(frames: &mut Frames) -> Vec<u32> {
    frames.send(&frame(kind::PING, 0, 0, &[0; 8])).await;
    let mut reset = Vec::new();
    loop {
        let came = frames.next().await.unwrap();
        match came.kind {
            kind::RST_STREAM => reset.push(came.stream),
            kind::PING => return reset,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_waits_for_is_read_on_within_bounds() {
    const NO_ERROR: u32 = 0;
    let service = hasty(|times| times.linger = millis(500)).await;
    let mut frames = Frames::to(service.base(), &[]).await;
    // One that does not end has its time.
    let began = Instant::now();
    frames.send(&frame(kind::HEADERS, END_HEADERS, 1, &head("POST", "/nothing", &[]))).await;
    assert_eq!(frames.until(kind::RST_STREAM).await.unwrap().code(), NO_ERROR);
    assert!(began.elapsed() >= millis(450), "{:?}", began.elapsed());
    service.stop().await;

    let service = hasty(|times| times.linger = millis(20_000)).await;
    let mut frames = Frames::to(service.base(), &[]).await;
    // A few of a connection are read on; the other streams are the client's again at once.
    for number in 0..20 {
        frames.send(&frame(kind::HEADERS, END_HEADERS, 2 * number + 1, &head("POST", "/nothing", &[]))).await;
    }
    let mut reset = Vec::new();
    while reset.len() < 12 {
        reset.push(frames.until(kind::RST_STREAM).await.unwrap().stream);
    }
    assert!(resets_before_a_ping(&mut frames).await.is_empty(), "{reset:?}");
    // One of them comes in full.
    let lingers = (0..20).map(|number| 2 * number + 1).find(|stream| !reset.contains(stream)).unwrap();
    let (mut sent, mut window) = (0, 65_535);
    let ended = loop {
        while window >= 16_384 {
            frames.send(&frame(kind::DATA, 0, lingers, &[b'x'; 16_384])).await;
            (sent, window) = (sent + 16_384, window - 16_384);
        }
        let came = frames.next().await.unwrap();
        match (came.kind, came.stream) {
            (kind::WINDOW_UPDATE, stream) if stream == lingers => window += came.code() as usize,
            (kind::RST_STREAM, _) => break came,
            _ => {}
        }
    };
    assert_eq!((ended.stream, ended.code()), (lingers, NO_ERROR));
    assert!((2 << 20..(2 << 20) + 131_072).contains(&sent), "{sent}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_tells_the_client_and_answers_what_is_under_way() {
    let (service, done) = waiting(|_| {}).await;
    let (busy, mut idle) = (Http2::to(service.base()).await, Http2::to(service.base()).await);
    let mut silent = Frames::to(service.base(), &[]).await;
    assert_eq!(idle.ask("GET", "/livez", "", "").await.status, 200);
    let slow = busy.begin("GET", "/slow", "", Empty::new().boxed());
    tokio::time::sleep(millis(200)).await;
    service.drain().reach(Stage::Leaving);
    assert!(idle.ends_within(millis(8000)).await);
    // Who does not answer to that is not waited for.
    assert_eq!(silent.until(kind::GOAWAY).await.unwrap().code(), 0);
    assert!(silent.ends_within(millis(8000)).await);
    done.notify_one();
    assert_eq!(slow.await.unwrap().unwrap().body, "done");
    drop(busy);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_reset_has_its_place_until_it_is_done() {
    let (service, done) = waiting(|config| config.limits.requests = 1).await;
    service.until_alone().await;
    let http2 = Http2::to(service.base()).await;
    let slow = http2.begin("GET", "/slow", "", Empty::new().boxed());
    tokio::time::sleep(millis(300)).await;
    slow.abort();
    tokio::time::sleep(millis(300)).await;
    http2.ask("GET", "/v1/token", "", "").await.assert_problem(503, "overloaded");
    done.notify_one();
    let until = Instant::now() + PATIENCE;
    while http2.ask("GET", "/v1/token", "", "").await.status != 401 {
        assert!(Instant::now() < until, "the place does not come back");
    }
    service.stop().await;
}
