//! A plaintext where it does not belong.

use super::{TOKENS, path, text};
use crate::support::Service;
use reqwest::{Client, Method};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_plaintext_in_the_wrong_place_is_not_repeated() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let token = service.issue(json!({})).await;
    let (secret, path) = (text(&token, "plaintext"), path(&token));
    let mut said = String::new();
    let ask = async |method: Method, path: &str, header: &str, body: Value| {
        let request = Client::new().request(method, format!("{}{path}", service.base())).bearer_auth(&owner);
        let request = if header.is_empty() { request } else { request.header(header, secret) };
        let response = request.json(&body).send().await.unwrap();
        let status = response.status().as_u16();
        (status, format!("{:?} {}", response.headers().clone(), response.text().await.unwrap()))
    };
    let mut unknown = serde_json::Map::new();
    unknown.insert(secret.into(), json!(1));
    let unknown = Value::Object(unknown);
    for (method, at, header, body, status) in [
        (Method::POST, TOKENS.to_string(), "", json!({ "note": secret }), 422),
        (Method::POST, TOKENS.to_string(), "", json!({ "note": format!("the key is {secret}!") }), 422),
        (Method::PATCH, path.clone(), "", json!({ "note": secret }), 422),
        (Method::POST, TOKENS.to_string(), "", json!({ "scopes": [secret] }), 422),
        (Method::POST, TOKENS.to_string(), "", json!({ "expires_at": secret }), 400),
        (Method::POST, TOKENS.to_string(), "", json!(secret), 400),
        (Method::POST, TOKENS.to_string(), "", unknown.clone(), 400),
        (Method::PATCH, path.clone(), "", unknown, 400),
        (Method::POST, format!("{path}/rotate"), "", json!({ "overlap": secret }), 422),
        (Method::POST, format!("{path}/disable"), "", json!({ "reason": secret }), 422),
        (Method::DELETE, path.clone(), "", json!({ "reason": secret }), 422),
        (Method::GET, format!("{TOKENS}/{secret}"), "", json!({}), 404),
        (Method::DELETE, format!("{TOKENS}/{secret}"), "", json!({}), 404),
        (Method::POST, format!("{TOKENS}/{secret}/rotate"), "", json!({}), 404),
        (Method::GET, format!("/{secret}"), "", json!({}), 404),
        (Method::GET, format!("{TOKENS}?search={secret}"), "", json!({}), 200),
        (Method::GET, format!("{TOKENS}?cursor={secret}"), "", json!({}), 400),
        (Method::GET, format!("{TOKENS}?state={secret}"), "", json!({}), 400),
        (Method::GET, format!("{TOKENS}?{secret}=1"), "", json!({}), 400),
        (Method::POST, TOKENS.to_string(), "idempotency-key", json!({}), 201),
        (Method::POST, TOKENS.to_string(), "idempotency-key", json!({}), 200),
        (Method::GET, TOKENS.to_string(), "x-organization", json!({}), 400),
        (Method::GET, TOKENS.to_string(), "x-request-id", json!({}), 200),
        (Method::PATCH, path.clone(), "if-match", json!({ "note": "x" }), 412),
    ] {
        let (answered, answer) = ask(method.clone(), &at, header, body).await;
        assert_eq!(answered, status, "{method} {at} {header}: {answer}");
        said += &answer;
    }
    said += &service.metrics();
    assert!(!said.contains(secret));
    // The secret proper, without its prefix, is nowhere either.
    let core = &secret["cf_pat_".len() + 4..];
    assert!(!said.contains(core));
    for sql in [
        "SELECT count(*) FROM events e WHERE strpos(e::text, $1) > 0",
        "SELECT count(*) FROM tokens t WHERE strpos(t::text, $1) > 0",
        "SELECT count(*) FROM personal_values v WHERE strpos(v::text, $1) > 0",
        "SELECT count(*) FROM idempotency_keys k WHERE strpos(k::text, $1) > 0",
    ] {
        let found: i64 = sqlx::query_scalar(sql).bind(core).fetch_one(&service.database.pool).await.unwrap();
        assert_eq!(found, 0, "{sql}");
    }
    assert_eq!(service.introspect(secret).await["active"], true);
    service.stop().await;
}
