//! A personal token's life over HTTP.

mod delete_all;

use crate::support::{Service, until};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lives_and_ends() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let token = service.issue(json!({ "note": "ci", "scopes": ["read"] })).await;
    let (plaintext, path) = (text(&token, "plaintext"), format!("/v1/user/tokens/{}", text(&token, "id")));

    let answer = service.introspect(plaintext).await;
    assert_eq!(
        (&answer["active"], text(&answer, "scope"), &answer["exp"]),
        (&json!(true), "read", &Value::Null)
    );
    let (_, record) = service.call(Method::GET, &path, &owner, None).await;
    assert!(record.get("plaintext").is_none() && record.get("digest").is_none(), "{record}");

    // A change changes what it names, and nothing else.
    let patch = |body| service.call(Method::PATCH, &path, &owner, Some(body));
    assert_eq!(patch(json!({ "note": "renamed" })).await.1["scopes"], json!(["read"]));
    assert_eq!(patch(json!({ "note": "renamed" })).await.0, StatusCode::OK);
    assert_eq!(patch(json!({})).await.0, StatusCode::OK);
    assert_eq!(service.events("token.renamed").await, 1);
    assert_eq!(patch(json!({ "scopes": ["read", "write"] })).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        patch(json!({ "expires_at": "1970-01-31T00:00:00Z" })).await.0,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(patch(json!({ "expires_at": 1 })).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(service.introspect(plaintext).await["active"], true);

    // A narrow token cannot write, but it can end itself; again is fine.
    let (status, _) = service.call(Method::POST, "/v1/user/tokens", plaintext, Some(json!({}))).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(service.call(Method::DELETE, &path, plaintext, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(service.introspect(plaintext).await, json!({ "active": false }));
    assert_eq!(service.call(Method::DELETE, &path, &owner, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(service.events("token.revoked").await, 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_use_of_a_new_plaintext_ends_the_earlier_one() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let token = service.issue(json!({})).await;
    let (earlier, path) =
        (text(&token, "plaintext"), format!("/v1/user/tokens/{}/rotate", text(&token, "id")));
    let (_, first) = service.call(Method::POST, &path, &owner, None).await;
    // The answer was lost: rotated again, the earlier plaintext still works.
    let (_, second) = service.call(Method::POST, &path, &owner, None).await;
    assert_eq!(service.introspect(earlier).await["active"], true);
    assert_eq!(service.introspect(text(&first, "plaintext")).await["active"], false);
    assert_eq!(service.introspect(text(&second, "plaintext")).await["active"], true);
    let ended = async || service.events("token.previous_ended").await == 1;
    until("the earlier plaintext is ended", ended).await;
    assert_eq!(service.introspect(earlier).await["active"], false);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_end_with_exactly_fifty() {
    let service = std::sync::Arc::new(Service::start().await);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let service = service.clone();
        calls.spawn(async move {
            service.call(Method::POST, "/v1/user/tokens", &service.made.owner.token, Some(json!({}))).await
        });
    }
    let answers = calls.join_all().await;
    // One stood before: the owner's first.
    assert_eq!(answers.iter().filter(|(status, _)| *status == StatusCode::CREATED).count(), 49);
    assert!(
        answers
            .iter()
            .all(|(status, answer)| *status == StatusCode::CREATED
                || answer["type"] == "/problems/token-limit")
    );
    let (_, answer) = service.call(Method::DELETE, "/v1/user/tokens", &service.made.owner.token, None).await;
    assert_eq!(answer, json!({ "revoked": 50 }));
    for (_, token) in answers.iter().filter(|(status, _)| *status == StatusCode::CREATED) {
        assert_eq!(service.introspect(text(token, "plaintext")).await["active"], false);
    }
    std::sync::Arc::into_inner(service).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_cannot_be_edited() {
    let service = Service::start().await;
    for sql in ["UPDATE events SET record = ''", "DELETE FROM events", "TRUNCATE events"] {
        assert!(sqlx::query(sql).execute(&service.database.pool).await.is_err(), "the service: {sql}");
    }
    let cluster = service.database.private.as_ref().unwrap();
    let mut superuser = sqlx::ConnectOptions::connect(&cluster.superuser("counterfoil")).await.unwrap();
    for sql in ["UPDATE events SET record = ''", "DELETE FROM events", "TRUNCATE events"] {
        assert!(sqlx::query(sql).execute(&mut superuser).await.is_err(), "the superuser: {sql}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_happens_once_and_shows_nothing_twice() {
    let service = Service::start().await;
    let issue = |key, body| service.post_once("/v1/user/tokens", key, body);
    let before = service.events("token.issued").await;
    let (first, repeated) =
        tokio::join!(issue("k", json!({ "note": "a" })), issue("k", json!({ "note": "a" })));
    let (first, repeated) =
        if first.0 == StatusCode::CREATED { (first, repeated) } else { (repeated, first) };
    assert_eq!((first.0, repeated.0), (StatusCode::CREATED, StatusCode::OK));
    assert_eq!((text(&repeated.1, "plaintext"), &repeated.1["id"]), ("not_repeated", &first.1["id"]));
    assert_eq!(issue("k", json!({ "note": "b" })).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(service.events("token.issued").await, before + 1);

    // A lost answer to a rotation: the earlier plaintext works on.
    let path = format!("/v1/user/tokens/{}/rotate", text(&first.1, "id"));
    assert_eq!(service.post_once(&path, "r", json!({})).await.0, StatusCode::OK);
    assert_eq!(text(&service.post_once(&path, "r", json!({})).await.1, "plaintext"), "not_repeated");
    assert_eq!(service.events("token.rotated").await, 1);
    assert_eq!(service.introspect(text(&first.1, "plaintext")).await["active"], true);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_its_credentials_own() {
    let service = Service::start().await;
    let (one, other) = (service.issue(json!({})).await, service.issue(json!({})).await);
    for token in [&one, &other] {
        let request = reqwest::Client::new().post(format!("{}/v1/token/rotate", service.base()));
        let request = request.bearer_auth(text(token, "plaintext")).header("idempotency-key", "tonight");
        let rotated: Value =
            request.json(&json!({ "overlap": 0 })).send().await.unwrap().json().await.unwrap();
        assert_eq!(rotated["id"], token["id"]);
        assert_ne!(text(&rotated, "plaintext"), "not_repeated");
        assert_eq!(service.introspect(text(token, "plaintext")).await["active"], false);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_plaintext_ends_nothing() {
    let service = Service::start().await;
    let token = service.issue(json!({})).await;
    let path = format!("/v1/user/tokens/{}/rotate", text(&token, "id"));
    let (_, rotated) =
        service.call(Method::POST, &path, &service.made.owner.token, Some(json!({ "overlap": 0 }))).await;
    let commands = || {
        let metrics = service.metrics();
        let sum = metrics.lines().find_map(|line| line.strip_prefix("counterfoil_batch_commands_sum "));
        sum.unwrap().parse::<f64>().unwrap()
    };
    let before = commands();
    let form = format!("token={}", text(&token, "plaintext"));
    let request = reqwest::Client::new().post(format!("{}/oauth2/revoke", service.base()));
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    // Nor does it keep the writer busy.
    assert_eq!(commands(), before);
    assert_eq!(service.introspect(text(&rotated, "plaintext")).await["active"], true);
    assert_eq!(service.events("token.revoked").await, 0);
    service.stop().await;
}
