//! Requests made to be read in two ways: each has one answer, and what was a body is never a request.

use super::{GET, millis};
use crate::support::Service;
use crate::support::raw::{Answer, Raw};

/// Every answer to what was sent, until the connection ends or nothing more comes.
async fn answers(service: &Service, bytes: impl AsRef<[u8]>) -> Vec<Answer> {
    let mut raw = Raw::to(service.base()).await;
    let _ = raw.try_send(bytes.as_ref()).await;
    let _ = raw.try_finish().await;
    let mut answers = Vec::new();
    while let Some(answer) = raw.try_answer(false).await {
        answers.push(answer);
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn framing_that_can_be_read_in_two_ways_is_not_believed() {
    let service = Service::start().await;
    let inner = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let post = |headers: &str, body: &str| {
        format!(
            "POST /v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}\r\n{body}"
        )
    };
    for (what, request) in [
        ("identity", post("Transfer-Encoding: identity\r\n", inner)),
        ("not last", post("Transfer-Encoding: chunked, identity\r\n", inner)),
        ("misspelt", post("Transfer-Encoding: xchunked\r\n", inner)),
        ("vertical tab", post("Transfer-Encoding: \x0bchunked\r\n", &format!("0\r\n\r\n{inner}"))),
        (
            "1.0",
            post("Transfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{inner}")).replacen("1.1", "1.0", 1),
        ),
        ("two lengths", post("Content-Length: 0\r\nContent-Length: 33\r\n", inner)),
        ("a list of lengths", post("Content-Length: 0, 33\r\n", inner)),
        ("a signed length", post("Content-Length: +0\r\n", inner)),
        ("a hexadecimal length", post("Content-Length: 0x0\r\n", inner)),
        ("an endless length", post("Content-Length: 99999999999999999999\r\n", inner)),
        ("an empty length", post("Content-Length: \r\n", inner)),
        ("folded", post("X: a\r\n b\r\nContent-Length: 0\r\n", inner)),
        ("folded at first", format!("GET /livez HTTP/1.1\r\n Host: x\r\n\r\n{inner}")),
        ("a space before the colon", post("Content-Length : 0\r\n", inner)),
        ("a bare CR", post("X: a\rContent-Length: 0\r\n", inner)),
        ("a NUL", post("X: a\0b\r\nContent-Length: 0\r\n", inner)),
        ("no name", post(": a\r\nContent-Length: 0\r\n", inner)),
        ("two spaces", format!("GET  /livez HTTP/1.1\r\nHost: x\r\n\r\n{inner}")),
        ("a space in the target", format!("GET /a b HTTP/1.1\r\nHost: x\r\n\r\n{inner}")),
        ("no version", format!("GET /livez\r\nHost: x\r\n\r\n{inner}")),
        ("HTTP/1.2", format!("GET /livez HTTP/1.2\r\nHost: x\r\n\r\n{inner}")),
        ("HTTP/2.0", format!("GET /livez HTTP/2.0\r\nHost: x\r\n\r\n{inner}")),
        ("half a preface", format!("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n{inner}")),
    ] {
        let answers = answers(&service, request).await;
        assert_eq!((answers.len(), answers[0].status), (1, 400), "{what}: {answers:?}");
        answers[0].assert_problem(400, "not-http");
    }
    // Chunks win over a length, and the connection ends (RFC 9112 section 6.1).
    for headers in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 50\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let answers = answers(&service, post(headers, &format!("0\r\n\r\n{inner}"))).await;
        assert_eq!(answers.len(), 1, "{headers:?}: {answers:?}");
        answers[0].assert_problem(400, "malformed");
        assert_eq!(answers[0].header("connection"), Some("close"));
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_is_a_chunk_or_the_body_is_broken() {
    let service = Service::start().await;
    let owner = &service.made.owner.token;
    let head = format!(
        "POST /v1/user/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {owner}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let long = |length: usize| "x".repeat(length);
    for (what, body) in [
        ("no size", "\r\n{}\r\n0\r\n\r\n".to_string()),
        ("a sign", "+2\r\n{}\r\n0\r\n\r\n".into()),
        ("a prefix", "0x2\r\n{}\r\n0\r\n\r\n".into()),
        ("too large a size", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n".into()),
        ("a bare LF", "2\n{}\n0\n\n".into()),
        ("a longer chunk", "1\r\n{}\r\n0\r\n\r\n".into()),
        ("no end", "2\r\n{}\r\n".into()),
        ("half an end", "2\r\n{}\r\n0\r\n".into()),
        ("an endless extension", format!("2;x={}\r\n{{}}\r\n0\r\n\r\n", long(40_000))),
        ("extensions without end", format!("1;{0}\r\n{{\r\n1;{0}\r\n}}\r\n0\r\n\r\n", long(10_000))),
        ("an endless trailer", format!("2\r\n{{}}\r\n0\r\nX: {}\r\n\r\n", long(100_000))),
        ("many trailers", format!("2\r\n{{}}\r\n0\r\n{}\r\n", "X: y\r\n".repeat(5000))),
        ("a trailer that is none", "2\r\n{}\r\n0\r\nX y\r\n\r\n".into()),
    ] {
        let answers = answers(&service, format!("{head}{body}")).await;
        assert_eq!(answers.len(), 1, "{what}: {answers:?}");
        answers[0].assert_problem(400, "malformed");
    }
    // Small ones are read over; a trailer is never taken for a header.
    let body = "2;a=b;c=\"d\"\r\n{}\r\n0\r\nX-API-KEY: x\r\nContent-Length: 9\r\n\r\n";
    let made = answers(&service, format!("{head}{body}{GET}")).await;
    assert_eq!(made.iter().map(|answer| answer.status).collect::<Vec<_>>(), [201, 200]);
    assert_eq!(service.events("token.issued").await, 3);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_reads_is_not_the_next_request() {
    let service = Service::start().await;
    let inner = "GET /v1/token HTTP/1.1\r\nHost: x\r\n\r\n";
    for head in [
        "GET /livez",
        "DELETE /v1/session",
        "POST /nothing",
        "POST /v1/user/tokens",
        "POST /oauth2/introspect",
    ] {
        for framed in [
            format!("Content-Length: {}\r\n\r\n{inner}", inner.len()),
            format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()),
            format!("Expect: 100-continue\r\nContent-Length: {}\r\n\r\n{inner}", inner.len()),
        ] {
            let request = format!("{head} HTTP/1.1\r\nHost: x\r\n{framed}{GET}");
            let mut answers = answers(&service, request).await;
            answers.retain(|answer| answer.status != 100);
            // The connection goes on after the body, or ends with the answer.
            assert!((1..=2).contains(&answers.len()), "{head} {framed:?}: {answers:?}");
            assert!(answers[1..].iter().all(|answer| answer.body == "ok\n"), "{head}: {answers:?}");
            assert!(answers[0].status != 500, "{answers:?}");
        }
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_asks_to_be_something_else_is_a_request_like_any_other() {
    let service = Service::start().await;
    let with = |line: &str, headers: &str| format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}\r\n{GET}");
    for (request, status) in [
        (with("CONNECT x.example:443", ""), 404),
        (with("CONNECT /livez", ""), 405),
        (with("GET http://evil.example/livez", ""), 200),
        (with("GET ftp://evil.example/livez", ""), 200),
        (with("GET http://evil.example", ""), 404),
        (with("GET ://evil.example/livez", ""), 200),
        (with("GET /livez", "Connection: Upgrade\r\nUpgrade: websocket\r\n"), 200),
        (
            with(
                "GET /livez",
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n",
            ),
            200,
        ),
        (with("GET /livez", "Expect: the-unexpected\r\n"), 200),
        (with("GET /livez?x#y", ""), 200),
        // A name without a slash is an authority (RFC 9112 section 3.2.3), and has no path.
        (with("GET livez", ""), 404),
        (with("PRI /livez", ""), 405),
        (format!("\r\n\r\n{}", with("GET /livez", "")), 200),
        // A line may end in LF alone (RFC 9112 section 2.2).
        (format!("GET /livez HTTP/1.1\nHost: x\n\n{GET}"), 200),
    ] {
        let answers = answers(&service, &request).await;
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses[0], status, "{request:?}: {answers:?}");
        assert!(
            statuses[1..].iter().all(|status| *status == 200) && statuses.len() <= 2,
            "{request:?}: {answers:?}"
        );
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_requests_in_one_piece_is_answered_one_by_one() {
    let service = Service::start().await;
    let mut raw = Raw::to(service.base()).await;
    let flood = format!("{GET}GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").repeat(3000);
    raw.send(flood).await;
    for _ in 0..3000 {
        assert_eq!(raw.answer().await.status, 200);
        assert_eq!(raw.answer().await.status, 404);
    }
    assert!(!raw.ends_within(millis(100)).await);
    // Nothing but line ends is no request.
    let mut empty = Raw::to(service.base()).await;
    for _ in 0..100 {
        if empty.try_send("\r\n".repeat(1000).as_bytes()).await.is_err() {
            break;
        }
    }
    empty.answer().await.assert_problem(431, "headers-too-large");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_one_host() {
    let service = Service::start().await;
    let introspect = "POST /oauth2/introspect HTTP/1.1\r\nContent-Length: 0\r\n";
    for head in ["GET /livez HTTP/1.1\r\n", "GET /v1/token HTTP/1.1\r\n", introspect] {
        for hosts in ["", "Host: x\r\nHost: x\r\n", "Host: x\r\nX: y\r\nhost: y\r\n"] {
            let answers = answers(&service, format!("{head}{hosts}\r\n{GET}")).await;
            assert_eq!(
                answers.iter().map(|answer| answer.status).collect::<Vec<_>>(),
                [400, 200],
                "{hosts:?}"
            );
        }
    }
    assert_eq!(answers(&service, "GET /livez HTTP/1.0\r\n\r\n").await[0].status, 200);
    service.stop().await;
}
