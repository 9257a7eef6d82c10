//! The log: a line for each request, and no secret.

use super::FORM;
use crate::support::program::Program;
use crate::support::raw::{Raw, exchange};
use counterfoil::clock::random;
use counterfoil_domain::plaintext::Plaintext;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn logs_have_a_line_for_each_request_and_no_secret() {
    let mut program = Program::made_in(&[("COUNTERFOIL__LOG__FORMAT", "json")]).await;
    let token = program.printed("owner", "token");
    // A token of somebody's, everywhere but where it belongs.
    let canary = Plaintext::mint("cf_pat_", &random()).into_shown();
    let mut raw = Raw::to(program.base()).await;
    // What init committed is known within a moment.
    let until = Instant::now() + Duration::from_secs(30);
    let mut ids = Vec::new();
    loop {
        raw.send(format!("GET /v1/token HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n")).await;
        let answer = raw.answer().await;
        ids.push(answer.header("x-request-id").unwrap().to_string());
        if answer.status == 200 {
            break;
        }
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let everywhere = format!(
        "Host: {canary}\r\nX-Request-Id: {canary}\r\nX-Organization: {canary}\r\nIdempotency-Key: {canary}\r\n\
         User-Agent: {canary}\r\nReferer: {canary}\r\ntraceparent: {canary}\r\nX-Forwarded-For: {canary}\r\n"
    );
    for request in [
        format!(
            "DELETE /v1/user/tokens/{canary} HTTP/1.1\r\n{everywhere}Authorization: Bearer {token}\r\n\r\n"
        ),
        format!("GET /v1/user/tokens?search={canary}&cursor={canary} HTTP/1.1\r\n{everywhere}\r\n"),
        format!("GET /{canary}/{canary} HTTP/1.1\r\n{everywhere}Authorization: Bearer {canary}\r\n\r\n"),
        format!("{canary} /v1/token HTTP/1.1\r\n{everywhere}X-API-KEY: {canary}\r\n\r\n"),
        format!(
            "POST /v1/user/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{{\"{canary}\":1}}",
            canary.len() + 6
        ),
        format!(
            "POST /v1/user/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{{\"note\":\"{canary}\"}}",
            canary.len() + 11
        ),
    ] {
        raw.send(request).await;
        let answer = raw.answer().await;
        assert!((400..500).contains(&answer.status), "{answer:?}");
        assert!(!format!("{answer:?}").contains(&canary), "{answer:?}");
        ids.push(answer.header("x-request-id").unwrap().to_string());
    }
    let (id, secret) = (program.printed("gateway", "client_id"), program.printed("gateway", "client_secret"));
    let form = format!("client_id={id}&client_secret={secret}&token={token}");
    raw.send(format!(
        "POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: {}\r\n\r\n{form}",
        form.len()
    ))
    .await;
    let introspected = raw.answer().await;
    assert_eq!(introspected.status, 200, "{introspected:?}");
    let metrics = exchange(program.metrics(), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(metrics.status, 200);

    program.stop().await;
    let said = program.said();
    let all = format!("{said}{}", metrics.body);
    for secret in [&canary, &token, &secret, &program.printed("owner", "password")] {
        assert!(!all.contains(secret), "{all}");
    }
    // One document a line, whatever it is about.
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["message"].as_str().unwrap().starts_with("serving on http://")));
    let requests: Vec<Value> =
        lines.into_iter().filter(|line| line["target"] == "counterfoil::request").collect();
    let logged: Vec<&str> = requests.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(logged, ids, "a line each, in their order, and none for an introspection that succeeded");
    let first = requests.iter().find(|line| line["status"] == 200).unwrap();
    assert_eq!((&first["route"], &first["method"]), (&json!("/v1/token"), &json!("GET")));
    assert!(first["actor"].as_str().unwrap().starts_with("token ") && first["duration_us"].is_u64());
    assert!(requests.iter().any(|line| line["route"] == "/v1/user/tokens/{id}" && line["status"] == 400));
}
