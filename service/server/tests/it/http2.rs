//! HTTP/2 beside HTTP/1.1: the same answers.

mod bounds;

use crate::support::Service;
use crate::support::http2::{END_HEADERS, END_STREAM, Frames, Http2, fields, frame, head, kind, later};
use crate::support::raw::exchange;
use counterfoil::config::Config;
use serde_json::json;
use std::collections::HashSet;

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const WHOLE: u8 = END_STREAM | END_HEADERS;

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_share_a_connection_and_each_is_answered_by_itself() {
    let trusting = |config: &mut Config| {
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        config.limits.failures_per_second = 1.try_into().unwrap();
        config.limits.failures_burst = 3.try_into().unwrap();
    };
    let service = Service::start_with(trusting, |edge| edge).await;
    let token = service.issue(json!({})).await["plaintext"].as_str().unwrap().to_string();
    let gateway = &service.made.gateway;
    let good = format!("{FORM}Authorization: Bearer {}\r\n", gateway.client_secret);
    let http2 = Http2::to(service.base()).await;
    let form = format!("token={token}");
    let asked = (0..90).map(|_| http2.ask("POST", "/oauth2/introspect", &good, &form));
    let answers = futures_util::future::join_all(asked).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.json()["active"] == true));
    let ids: HashSet<_> = answers.iter().filter_map(|answer| answer.header("x-request-id")).collect();
    assert_eq!(ids.len(), 90);
    // A body that says nothing of its length goes by the route, and is answered alike.
    let (send, body) = later();
    send.send("token=x").unwrap();
    drop(send);
    let answer = http2.begin("POST", "/oauth2/introspect", &good, body).await.unwrap().unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "{\"active\":false}"));
    // Over either protocol, a handler is told of the same address.
    let mut refused = Vec::new();
    for count in 0..50 {
        let lines = "Authorization: Bearer wrong\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n";
        refused.push(match count % 2 {
            0 => http2.ask("GET", "/v1/token", lines, "").await.status,
            _ => {
                exchange(service.base(), format!("GET /v1/token HTTP/1.1\r\nHost: x\r\n{lines}\r\n"))
                    .await
                    .status
            }
        });
    }
    assert!(refused[..3] == [401; 3] && refused.contains(&429), "{refused:?}");
    let elsewhere = "Authorization: Bearer wrong\r\nX-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n";
    http2.ask("GET", "/v1/token", elsewhere, "").await.assert_problem(401, "unauthenticated");
    assert!(service.metrics().contains("counterfoil_introspections_total{outcome=\"active\"} 90"));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_large_or_odd_is_refused_as_over_http1() {
    let service = Service::start().await;
    let owner = format!("Authorization: Bearer {}\r\n", service.made.owner.token);
    let lines = |count: usize| (0..count).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    let long = |length: usize| "x".repeat(length);
    let http2 = Http2::to(service.base()).await;
    for (method, path, headers, status, problem) in [
        ("GET", "/v1/token", lines(65), 431, "headers-too-large"),
        ("GET", "/v1/token", format!("X: {}\r\n", long(33_000)), 431, "headers-too-large"),
        ("GET", "/v1/token", format!("Authorization: Bearer {}\r\n", long(20_000)), 401, "unauthenticated"),
        ("GET", "/nothing", String::new(), 404, "not-found"),
        ("GET", "/v1/user/tokens/%ff", owner.clone(), 400, "malformed"),
        ("PUT", "/v1/user/tokens", owner.clone(), 405, "method"),
        ("AAAAAAAA", "/livez", String::new(), 405, "method"),
        ("POST", "/v1/user/tokens", format!("{owner}Content-Type: text/plain\r\n"), 415, "media-type"),
    ] {
        let answer = http2.ask(method, path, &headers, "x").await;
        answer.assert_problem(status, problem);
        assert!(answer.header("x-request-id").is_some() && !answer.body.contains("xxx"), "{answer:?}");
    }
    http2.ask("GET", "/oauth2/introspect", "", "").await.assert_oauth(405, "invalid_request");
    // A body that is too long is refused when that is known, and nothing else suffers.
    let json = format!("{owner}Content-Type: application/json\r\n");
    let (send, body) = later();
    let announced = http2.begin("POST", "/v1/user/tokens", &format!("{json}Content-Length: 70000\r\n"), body);
    announced.await.unwrap().unwrap().assert_problem(413, "too-large");
    drop(send);
    http2.ask("POST", "/v1/user/tokens", &json, long(66_000)).await.assert_problem(413, "too-large");
    // HEAD has the head alone.
    for (path, status, length) in [("/livez", 200, "3"), ("/openapi.json", 200, ""), ("/nothing", 404, "")] {
        let answer = http2.ask("HEAD", path, "", "").await;
        assert_eq!((answer.status, answer.body.as_str()), (status, ""));
        let said = answer.header("content-length").unwrap();
        assert!(said.parse::<usize>().unwrap() > 0 && (length.is_empty() || said == length), "{said}");
    }
    let mut frames = Frames::to(service.base(), &[]).await;
    frames.send(&frame(kind::HEADERS, WHOLE, 1, &head("HEAD", "/oauth2/nothing", &[]))).await;
    assert_eq!(frames.fate(1).await.unwrap().flags, WHOLE);
    // An answer of many pieces comes whole.
    let document = http2.ask("GET", "/openapi.json", "", "").await;
    assert_eq!(document.header("content-length").unwrap().parse(), Ok(document.body.len()));
    assert!(document.json()["openapi"].is_string());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_request_ends_its_stream_or_its_connection() {
    let service = Service::start().await;
    let usual = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/oauth2/revoke")];
    let with = |more: &[(&str, &str)]| fields(&[&usual, more].concat());
    const PROTOCOL_ERROR: u32 = 1;
    for (what, block) in [
        ("upper case", with(&[("Accept", "x")])),
        ("connection", with(&[("connection", "close")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("upgrade", with(&[("upgrade", "websocket")])),
        ("te", with(&[("te", "gzip")])),
        ("NUL", with(&[("x", "a\0b")])),
        ("line end", with(&[("x", "a\r\nb: c")])),
        ("a name with a space", with(&[("a b", "x")])),
        ("an unknown pseudo-header", with(&[(":x", "y")])),
        ("a late pseudo-header", with(&[("x", "y"), (":path", "/livez")])),
        ("two paths", fields(&[&usual[..], &usual[3..]].concat())),
        ("no path", fields(&usual[..3])),
        ("an empty path", fields(&[usual[0], usual[1], usual[2], (":path", "")])),
        ("no slash", fields(&[usual[0], usual[1], usual[2], (":path", "livez")])),
        ("no method", fields(&usual[1..])),
        ("a method that is none", fields(&[(":method", "G T"), usual[1], usual[2], usual[3]])),
        ("a length without a body", with(&[("content-length", "5")])),
        ("two lengths", with(&[("content-length", "0"), ("content-length", "5")])),
        ("a length that is none", with(&[("content-length", "-1")])),
        ("nothing", Vec::new()),
        ("a broken index", vec![0xff, 0xff, 0xff]),
    ] {
        let mut frames = Frames::to(service.base(), &[]).await;
        frames.send(&frame(kind::HEADERS, WHOLE, 1, &block)).await;
        let fate = frames.fate(1).await.unwrap();
        assert!(matches!(fate.kind, kind::RST_STREAM | kind::GOAWAY), "{what}: {fate:?}");
        assert!([PROTOCOL_ERROR, 9].contains(&fate.code()), "{what}: {fate:?}");
    }
    // More or less of a body than was announced.
    for body in ["token=", "token=xxx"] {
        let mut frames = Frames::to(service.base(), &[]).await;
        let kind_of_body = ("content-type", "application/x-www-form-urlencoded");
        frames
            .send(&frame(kind::HEADERS, END_HEADERS, 1, &with(&[kind_of_body, ("content-length", "7")])))
            .await;
        frames.send(&frame(kind::DATA, END_STREAM, 1, body.as_bytes())).await;
        let fate = frames.fate(1).await.unwrap();
        assert_eq!((fate.kind, fate.code()), (kind::RST_STREAM, PROTOCOL_ERROR), "{body}");
    }
    // What is well-formed has an answer, wherever it asks to be taken.
    for block in [fields(&[(":method", "CONNECT"), (":authority", "x:1")]), head("OPTIONS", "*", &[])] {
        let mut frames = Frames::to(service.base(), &[]).await;
        frames.send(&frame(kind::HEADERS, WHOLE, 1, &block)).await;
        let fate = frames.fate(1).await.unwrap();
        // The status 404 is entry 13 of the table (RFC 7541 appendix A).
        assert_eq!((fate.kind, fate.payload[0]), (kind::HEADERS, 0x80 | 13), "{fate:?}");
    }
    // A head that is far too large is refused by the library, and the connection goes on.
    let mut frames = Frames::to(service.base(), &[]).await;
    let block = head("GET", "/livez", &[("x", &"y".repeat(70_000))]);
    let (first, others) = block.split_at(16_000);
    frames.send(&frame(kind::HEADERS, END_STREAM, 1, first)).await;
    for (place, part) in others.chunks(16_000).enumerate() {
        let last = if (place + 1) * 16_000 >= others.len() { END_HEADERS } else { 0 };
        frames.send(&frame(kind::CONTINUATION, last, 1, part)).await;
    }
    let fate = frames.fate(1).await.unwrap();
    assert_eq!((fate.kind, fate.flags & END_STREAM), (kind::HEADERS, END_STREAM), "{fate:?}");
    frames.send(&frame(kind::HEADERS, WHOLE, 3, &head("GET", "/livez", &[]))).await;
    assert_eq!(frames.fate(3).await.unwrap().payload[0], 0x80 | 8);
    service.stop().await;
}
