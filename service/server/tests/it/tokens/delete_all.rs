//! To delete all of a user's tokens again, under a key, ends nothing that was issued since.

use super::text;
use crate::support::Service;
use crate::support::browser::{HERE, OWNER, browse, owners_password, request, signed_in};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};

async fn delete_all(
    service: &Service,
    cookie: &str,
    key: Option<&str>,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let mut asked =
        request(service, Method::DELETE, "/v1/user/tokens").header("cookie", cookie).header("origin", HERE);
    if let Some(key) = key {
        asked = asked.header("idempotency-key", key);
    }
    if let Some(body) = body {
        asked = asked.json(&body);
    }
    let answer = asked.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_all_under_a_key_is_done_once() {
    let service = Service::start().await;
    let cookie = signed_in(&service, OWNER, &owners_password(&service)).await;
    let (before, done) = (service.issue(json!({})).await, (StatusCode::OK, json!({ "revoked": 2 })));
    assert_eq!(delete_all(&service, &cookie, Some("once"), None).await, done);
    assert_eq!(service.introspect(text(&before, "plaintext")).await["active"], false);

    let issue = async || {
        let path = "/v1/user/tokens";
        browse(&service, &cookie, Method::POST, path, Some(json!({}))).await.1
    };
    let later = issue().await;
    let lives = async |token: &Value| service.introspect(text(token, "plaintext")).await["active"] == true;
    for _ in 0..3 {
        assert_eq!(delete_all(&service, &cookie, Some("once"), None).await, done);
        assert!(lives(&later).await);
    }
    assert_eq!(service.events("tokens.revoked_all").await, 1);
    // The same key is no other request, and another key is one.
    let (status, problem) =
        delete_all(&service, &cookie, Some("once"), Some(json!({ "reason": "leaked" }))).await;
    assert_eq!(
        (status, text(&problem, "type")),
        (StatusCode::UNPROCESSABLE_ENTITY, "/problems/idempotency-key-reused")
    );
    assert!(lives(&later).await);
    let (status, answer) = delete_all(&service, &cookie, Some("again"), None).await;
    assert_eq!((status, &answer["revoked"]), (StatusCode::OK, &json!(1)));
    assert!(!lives(&later).await);
    // What found nothing to end is remembered as well.
    let nothing = (StatusCode::OK, json!({ "revoked": 0 }));
    assert_eq!(delete_all(&service, &cookie, Some("nothing"), None).await, nothing);
    let last = issue().await;
    assert_eq!(delete_all(&service, &cookie, Some("nothing"), None).await, nothing);
    assert!(lives(&last).await);
    assert_eq!(delete_all(&service, &cookie, None, None).await.1["revoked"], 1);
    assert!(!lives(&last).await);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_all_that_cannot_see_a_token_does_not_say_that_all_have_ended() {
    let service = Service::start().await;
    let cookie = signed_in(&service, OWNER, &owners_password(&service)).await;
    let token = service.issue(json!({})).await;
    let cluster = service.database.private.as_ref().unwrap();
    let mut superuser = cluster.superuser("counterfoil").connect().await.unwrap();
    // By the log it holds a slot; by the tables somebody took that away.
    let taken = format!(
        "CREATE TABLE kept AS SELECT * FROM claimed_slots; DELETE FROM claimed_slots WHERE token_id = '{}'",
        token["id"].as_str().unwrap()
    );
    superuser.execute(AssertSqlSafe(taken)).await.unwrap();
    let (status, _) = browse(&service, &cookie, Method::DELETE, "/v1/user/tokens", None).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(service.is_active(token["plaintext"].as_str().unwrap()).await.unwrap());
    superuser
        .execute("DELETE FROM claimed_slots; INSERT INTO claimed_slots SELECT * FROM kept")
        .await
        .unwrap();
    let (status, answer) = browse(&service, &cookie, Method::DELETE, "/v1/user/tokens", None).await;
    assert_eq!((status, &answer["revoked"]), (StatusCode::OK, &json!(2)));
    drop(superuser);
    service.stop().await;
}
