//! Requests, byte by byte, through everything that reads them: the head, its headers, the target, JSON, forms, Basic
//! credentials, cursors and instants. The answers are documented ones, and the program goes on as it was.

use super::changes::{changed, one};
use crate::support::program::Program;
use crate::support::raw::Raw;
use crate::support::rounds;
use base64::Engine;
use reqwest::Client;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Issues a token as the owner.
async fn issue(program: &Program) -> Value {
    let since = Instant::now();
    loop {
        let request = Client::new().post(format!("{}/v1/user/tokens", program.base()));
        let request = request.bearer_auth(program.printed("owner", "token")).json(&json!({}));
        let response = request.send().await.unwrap();
        if response.status() == 201 {
            return response.json().await.unwrap();
        }
        // What init committed is known within a moment.
        assert!(since.elapsed() < Duration::from_secs(30), "{}", response.status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Good requests, to be bent. None of them ends the token that it is sent with.
async fn good(program: &Program) -> Vec<Vec<u8>> {
    let (token, other) = (issue(program).await, issue(program).await);
    let (plaintext, id) = (token["plaintext"].as_str().unwrap(), other["id"].as_str().unwrap());
    let (client, secret) =
        (program.printed("gateway", "client_id"), program.printed("gateway", "client_secret"));
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{client}:{secret}"));
    let request = |line: &str, headers: &str, body: &str| {
        let length = body.len();
        format!(
            "{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {plaintext}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    };
    let form = |path: &str, headers: &str, body: &str| {
        let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: x\r\n{headers}{kind}Content-Length: {length}\r\n\r\n{body}")
            .into_bytes()
    };
    let json = "Content-Type: application/json\r\n";
    vec![
        request(
            "POST /v1/user/tokens",
            json,
            r#"{"note":"ü","scopes":["read"],"expires_at":"1970-01-01T00:00:00Z"}"#,
        ),
        request(&format!("PATCH /v1/user/tokens/{id}"), json, r#"{"note":null,"scopes":["read","write"]}"#),
        request(&format!("POST /v1/user/tokens/{id}/rotate"), json, r#"{"overlap":-1,"expires_at":null}"#),
        request(&format!("GET /v1/user/tokens/{id}"), "If-Match: \"1\"\r\nX-Organization: x\r\n", ""),
        request("GET /v1/user/tokens?limit=5&search=b&sort=expires&order=asc&state=live", "", ""),
        request("GET /v1/user/tokens?cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "", ""),
        request("GET /v1/events?after=1&until=2027-06-01T02:00:00%2B02:00&type=token.issued", "", ""),
        request("POST /v1/gateways", json, r#"{"name":"","kinds":["personal"]}"#),
        request("POST /v1/session", json, r#"{"email":"","password":"p"}"#),
        form(
            "/oauth2/introspect",
            &format!("Authorization: Basic {basic}\r\n"),
            &format!("token={plaintext}&a=%2B"),
        ),
        form(
            "/oauth2/introspect",
            "",
            &format!("token={plaintext}&client_id={client}&client_secret={secret}"),
        ),
        form(
            "/oauth2/revoke",
            &format!("Authorization: Basic {basic}\r\n"),
            "token=cf_pat_x&token_type_hint=a",
        ),
        b"POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
          Transfer-Encoding: chunked\r\n\r\n7\r\ntoken=x\r\n0\r\n\r\n"
            .to_vec(),
    ]
}

/// Nobody is refused for asking too often, and what is said of the client's address is read.
const SETTINGS: [(&str, &str); 5] = [
    ("COUNTERFOIL__LIMITS__FAILURES_PER_SECOND", "1000000"),
    ("COUNTERFOIL__LIMITS__FAILURES_BURST", "1000000"),
    ("COUNTERFOIL__LIMITS__CREDENTIAL_PER_SECOND", "1000000"),
    ("COUNTERFOIL__LIMITS__CREDENTIAL_BURST", "1000000"),
    ("COUNTERFOIL__TRUSTED_PROXIES", "127.0.0.0/8"),
];

/// A series of the program's metrics.
async fn series(program: &Program, name: &str) -> f64 {
    let text = reqwest::get(format!("{}/metrics", program.metrics())).await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap().parse().unwrap()
}

/// The statuses that come back, for each request that the bytes are taken for.
async fn answers(program: &Program, request: &[u8]) -> Vec<u16> {
    let (began, mut raw) = (Instant::now(), Raw::to(program.base()).await);
    // It may be answered, and the connection ended, before all of it is sent.
    let _ = raw.try_send(request).await;
    raw.finish().await;
    let mut statuses = Vec::new();
    while let Some(answer) = raw.try_answer(false).await {
        statuses.push(answer.status);
    }
    assert!(began.elapsed() < Duration::from_secs(15), "{}", String::from_utf8_lossy(request));
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bent_request_has_documented_answers_and_changes_nothing_else() {
    let mut program = Program::made_in(&SETTINGS).await;
    let good = good(&program).await;
    for request in &good {
        let statuses = answers(&program, request).await;
        let shown = String::from_utf8_lossy(request);
        assert!(matches!(statuses[..], [200 | 400 | 401 | 404 | 412 | 422]), "{statuses:?} {shown}");
    }
    let mut before = 0.0;
    let all = rounds(3_000, 300_000);
    for round in 0..all {
        if round == all / 3 {
            before = series(&program, "process_resident_memory_bytes").await;
        }
        let request = changed(&good[round % good.len()], &one());
        let statuses = answers(&program, &request).await;
        let documented = |status: &u16| matches!(status, 100 | 200..=204 | 304 | 400..=431);
        assert!(statuses.iter().all(documented), "{statuses:?} {:?}", String::from_utf8_lossy(&request));
    }
    let grown = series(&program, "process_resident_memory_bytes").await - before;
    assert!(grown < f64::from(64 << 20), "{grown} bytes more");
    assert_eq!(series(&program, "counterfoil_panics_total").await, 0.0, "{}", program.said());
    let verified = program.beside("counterfoil").arg("verify").output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
    program.stop().await;
}
