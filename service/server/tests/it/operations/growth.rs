//! What does not grow, however often it is done: series, the maps behind them, open files and memory.

use super::{FORM, series};
use crate::support::load::People;
use crate::support::program::Program;
use crate::support::raw::{Raw, exchange};
use crate::support::{is_soak, rounds};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use std::ops::Range;

/// By how many kilobytes the second half of the long run may make the memory grow. What the allocator holds differs by about
/// one thousand from one moment to another; a request that left 200 bytes behind would be found.
const MEMORY: usize = 4096;

/// How large everything is.
#[derive(Debug)]
struct Size {
    series: usize,
    digests: f64,
    rate_keys: f64,
    files: f64,
    /// In kilobytes.
    memory: usize,
}

async fn size(program: &Program) -> Size {
    let metrics = exchange(program.metrics(), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.body;
    Size {
        series: metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).count(),
        digests: series(&metrics, "counterfoil_index_digests"),
        rate_keys: series(&metrics, "counterfoil_rate_limit_keys"),
        files: series(&metrics, "process_open_fds"),
        memory: program.memory(),
    }
}

/// Requests of strangers that make no sense, each of them another one, and each of them for somebody else, as it says.
async fn odd_requests(program: &Program, numbers: Range<usize>) {
    let mut raw = Raw::to(program.base()).await;
    for n in numbers {
        let method = ["GET", "POST", "BREW", "DELETE"][n % 4];
        let (odd, path) = match n % 5 {
            0 => (format!("M{n}"), format!("/v1/user/tokens/{n}")),
            1 => (method.into(), format!("/ext_authz/{n}")),
            2 => (method.into(), format!("/oauth2/{n}?x={n}")),
            3 => (format!("M{n}"), "/oauth2/introspect".into()),
            _ => (method.into(), format!("/{n}/{n}")),
        };
        let address = format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255);
        let headers = format!("Host: h{n}.example\r\nUser-Agent: a{n}\r\nX-Forwarded-For: {address}\r\n");
        raw.send(format!("{odd} {path} HTTP/1.1\r\n{headers}\r\n")).await;
        assert!((400..500).contains(&raw.answer().await.status));
    }
}

/// A gateway's life: it is registered, asks once, and is removed.
async fn gateway(program: &Program, people: &People, client: &Client, number: usize) {
    let ask = |method, path: &str| {
        client.request(method, format!("{}{path}", program.base())).bearer_auth(people.own())
    };
    let register = ask(Method::POST, "/v1/gateways").json(&json!({ "name": format!("gateway {number}") }));
    let made: Value = register.send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
    let text = |field: &str| made[field].as_str().unwrap();
    let asks = People::with(people.own(), text("client_id"), text("client_secret"));
    asks.until_active(program.base(), people.own()).await;
    let removed = ask(Method::DELETE, &format!("/v1/gateways/{}", text("id"))).send().await.unwrap();
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
}

/// Whoever takes compressed answers gets what everybody gets.
async fn takes_gzip(program: &Program, people: &People) {
    let bearer = format!("Authorization: Bearer {}\r\n", people.own());
    let post = format!("{FORM}Content-Length: 7\r\n");
    for (base, first, more, body, status) in [
        (program.metrics(), "GET /metrics", "", "", 200),
        (program.base(), "GET /v1/token", &bearer, "", 200),
        (program.base(), "GET /v1/user/tokens", &bearer, "", 200),
        (program.base(), "POST /oauth2/introspect", &post, "token=x", 401),
    ] {
        let head = format!("{first} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n{more}\r\n{body}");
        let answer = exchange(base, head).await;
        // Failures of an address are few a second.
        assert!(answer.status == status || status == 401 && answer.status == 429, "{first}: {answer:?}");
        assert_eq!(answer.header("content-encoding"), None, "{first}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_often_leaves_nothing_behind() {
    let mut program = Program::made().await;
    let printed = |of, field| program.printed(of, field);
    let people = People::with(
        &printed("owner", "token"),
        &printed("gateway", "client_id"),
        &printed("gateway", "client_secret"),
    );
    people.until_active(program.base(), people.own()).await;
    let (client, before) = (Client::new(), size(&program).await);
    let (odd, few) = (rounds(2_000, 50_000) / 2, rounds(50, 1_000) / 2);
    let mut halves = Vec::new();
    for half in 0..2 {
        odd_requests(&program, half * odd..(half + 1) * odd).await;
        for number in 0..few {
            gateway(&program, &people, &client, number).await;
            takes_gzip(&program, &people).await;
        }
        halves.push(size(&program).await);
    }
    let [warm, after] = &halves[..] else { unreachable!() };
    let grown = after.series - before.series;
    assert!(grown < 150 && after.series - warm.series < 10, "{grown} new series: {halves:#?}");
    assert_eq!(after.digests, before.digests, "{halves:#?}");
    assert!(after.rate_keys < 10.0 && after.files < warm.files + 10.0, "{halves:#?}");
    eprintln!("memory: {} kB, then {} kB, then {} kB", before.memory, warm.memory, after.memory);
    if is_soak() {
        assert!(after.memory < warm.memory + MEMORY, "{halves:#?}");
    }
    program.stop().await;
}
