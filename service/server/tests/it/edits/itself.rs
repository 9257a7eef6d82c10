//! A token that acts on itself.

use super::{TOKENS, path, text};
use crate::support::Service;
use crate::support::people::person;
use crate::support::raw::Raw;
use counterfoil::clock::Clock;
use counterfoil_domain::role::Role;
use reqwest::{Method, StatusCode};
use serde_json::json;

/// A request as bytes.
fn request(token: &str, method: &str, path: &str, body: &str, kind: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_acts_on_itself_gets_its_whole_answer() {
    let service = Service::start().await;
    let form = "application/x-www-form-urlencoded";
    let json = "application/json";
    for (method, at, body, kind, first, second) in [
        ("DELETE", "id", "", json, 204, 401),
        ("POST", "/v1/token/rotate", r#"{"overlap":0}"#, json, 200, 401),
        ("POST", "/v1/token/rotate", r#"{"overlap":60}"#, json, 200, 200),
        ("POST", "/v1/token/rotate", "", json, 200, 200),
        ("PATCH", "id", r#"{"scopes":["read"]}"#, json, 200, 403),
        ("POST", "id/disable", "", json, 200, 401),
        ("POST", "/oauth2/revoke", "token", form, 200, 401),
        ("DELETE", TOKENS, "", json, 200, 401),
    ] {
        let bob = person(&service, &format!("{}@example.com", Clock::system().uuid()), Role::Member).await;
        let own = format!("{TOKENS}/{}", bob.token);
        let at = if let Some(rest) = at.strip_prefix("id") { format!("{own}{rest}") } else { at.to_string() };
        let body = if body == "token" { format!("token={}", bob.plaintext) } else { body.to_string() };
        // The next request is sent before the first is answered, on the same connection.
        let acts = request(&bob.plaintext, method, &at, &body, kind);
        let next = request(&bob.plaintext, "PATCH", &own, r#"{"note":"next"}"#, json);
        let mut raw = Raw::to(service.base()).await;
        raw.send(acts + &next).await;
        let (acted, after) = (raw.answer().await, raw.answer().await);
        assert_eq!((acted.status, after.status), (first, second), "{method} {at}: {acted:?} {after:?}");
        if at.ends_with("rotate") {
            let plaintext = acted.json()["plaintext"].as_str().unwrap().to_string();
            assert_eq!(service.introspect(&plaintext).await["active"], true);
        }
        if at == TOKENS {
            assert_eq!(acted.json(), json!({ "revoked": 1 }));
        }
    }
    // Prolonging itself needs more than to read.
    let narrow = service.issue(json!({ "scopes": ["read"] })).await;
    let (status, _) = service.call(Method::POST, "/v1/token/rotate", text(&narrow, "plaintext"), None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(
        service.call(Method::GET, "/v1/token", text(&narrow, "plaintext"), None).await.0,
        StatusCode::OK
    );
    // Rotating another token of its user's is no way to more scopes.
    let writer = service.issue(json!({ "scopes": ["write"] })).await;
    let other = format!("{}/rotate", path(&service.issue(json!({})).await));
    let (status, problem) = service.call(Method::POST, &other, text(&writer, "plaintext"), None).await;
    assert_eq!((status, text(&problem, "type")), (StatusCode::FORBIDDEN, "/problems/stronger-than-caller"));
    service.stop().await;
}
