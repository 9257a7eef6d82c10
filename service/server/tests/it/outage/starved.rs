//! A pool that has nothing left to give: what was done is not called undone.

use crate::queue::{hold_the_order, until_somebody_waits};
use crate::support::Service;
use crate::support::browser::{OWNER, owners_password, request};
use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sqlx::Connection;

/// Sends a request, and holds all connections for reads from before its commit on until it is answered.
async fn unread(service: &Service, request: RequestBuilder) -> (StatusCode, Value) {
    let mut order = hold_the_order(service).await;
    let answer = tokio::spawn(request.send());
    until_somebody_waits(&mut order).await;
    let pool = &service.database.pool;
    let held = join_all((0..pool.options().get_max_connections()).map(|_| pool.acquire())).await;
    assert!(held.iter().all(Result::is_ok));
    sqlx::query("COMMIT").execute(&mut order).await.unwrap();
    let response = answer.await.unwrap().unwrap();
    let answered = (response.status(), response.json().await.unwrap_or(Value::Null));
    drop(held);
    order.close().await.unwrap();
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_answered_whatever_can_be_read_then() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let token = service.issue(json!({ "note": "before" })).await;
    let path = format!("/v1/user/tokens/{}", token["id"].as_str().unwrap());
    let (_, gateways) = service.call(Method::GET, "/v1/gateways", &owner, None).await;
    let gateway = format!("/v1/gateways/{}", gateways["items"][0]["id"].as_str().unwrap());
    let name = gateways["items"][0]["name"].clone();
    for (method, path, body, field, value) in [
        (Method::PATCH, path.clone(), json!({ "scopes": ["read"] }), "note", json!("before")),
        (Method::PATCH, path.clone(), json!({ "note": "after" }), "note", json!("after")),
        // It is so already.
        (Method::PATCH, path.clone(), json!({ "note": "after" }), "note", json!("after")),
        (Method::PATCH, path.clone(), json!({ "note": null }), "note", Value::Null),
        (Method::POST, format!("{path}/disable"), json!({}), "state", json!("disabled")),
        (Method::POST, format!("{path}/enable"), json!({}), "state", json!("live")),
        (Method::POST, format!("{path}/rotate"), json!({}), "generation", json!(2)),
        (Method::PATCH, gateway.clone(), json!({ "kinds": ["personal"] }), "name", name),
        (Method::PATCH, gateway.clone(), json!({ "name": "another" }), "name", json!("another")),
    ] {
        let asked = request(&service, method, &path).bearer_auth(&owner).json(&body);
        let (status, answer) = unread(&service, asked).await;
        assert_eq!(status, StatusCode::OK, "{path} {body}: {answer}");
        assert_eq!(answer[field], value, "{path} {body}: {answer}");
        let thing =
            ["/disable", "/enable", "/rotate"].iter().fold(&*path, |path, end| path.trim_end_matches(end));
        assert_eq!(service.call(Method::GET, thing, &owner, None).await.1[field], value, "{path} {body}");
    }
    let body = json!({ "email": OWNER, "password": owners_password(&service) });
    let (status, answer) = unread(&service, request(&service, Method::POST, "/v1/session").json(&body)).await;
    assert_eq!((status, &answer["user"]["email"]), (StatusCode::CREATED, &json!(OWNER)), "{answer}");
    assert_eq!(answer["organizations"][0]["name"], "acme");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_that_cannot_be_read_is_not_called_undone() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let token = service.issue(json!({})).await;
    let rotation = format!("/v1/user/tokens/{}/rotate", token["id"].as_str().unwrap());
    let (_, gateways) = service.call(Method::GET, "/v1/gateways", &owner, None).await;
    let tokens = format!("/v1/gateways/{}/tokens", gateways["items"][0]["id"].as_str().unwrap());
    let paths = [("/v1/user/tokens", json!({})), ("/v1/gateways", json!({ "name": "second" }))];
    let more = [(rotation.as_str(), json!({})), (tokens.as_str(), json!({}))];
    for (path, body) in paths.into_iter().chain(more) {
        let (status, answer) = service.post_once(path, "once", body.clone()).await;
        assert!(status.is_success(), "{path}: {answer}");
        let again = request(&service, Method::POST, path).bearer_auth(&owner).json(&body);
        let (status, answer) = unread(&service, again.header("idempotency-key", "once")).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {answer}");
        assert_eq!(answer["type"], "/problems/outcome-unknown", "{path}");
        assert_eq!(service.post_once(path, "once", body).await.0, StatusCode::OK, "{path}");
    }
    service.stop().await;
}
