//! Whatever is not active is told apart by nobody: the same bytes and the same headers, at every door.

use super::{Doors, FORM, alike, basic};
use crate::support::people::person;
use crate::support::raw::{Answer, exchange};
use crate::support::until;
use counterfoil::clock::{Clock, random};
use counterfoil_domain::plaintext::Plaintext;
use counterfoil_domain::role::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const TOKENS: &str = "/v1/user/tokens";

/// Does something to a new token as its owner. Its first plaintext.
async fn after(doors: &Doors, method: Method, suffix: &str, body: Value) -> String {
    let token = doors.service.issue(json!({})).await;
    let path = format!("{TOKENS}/{}{suffix}", token["id"].as_str().unwrap());
    let (status, answer) =
        doors.service.call(method, &path, &doors.service.made.owner.token, Some(body)).await;
    assert!(status.is_success(), "{suffix}: {answer}");
    token["plaintext"].as_str().unwrap().into()
}

/// Plaintexts that had their time, by what ended it.
async fn ended(doors: &Doors) -> Vec<(&'static str, String)> {
    let soon = Clock::system().now().plus_seconds(2);
    let expiring = doors.service.issue(json!({ "expires_at": soon.to_string() })).await;
    let expiring = expiring["plaintext"].as_str().unwrap().to_string();
    let expired = async || doors.service.events("token.expired").await == 1;
    until("the expiry is recorded", expired).await;
    vec![
        ("revoked", after(doors, Method::DELETE, "", json!({})).await),
        ("expired", expiring),
        ("disabled", after(doors, Method::POST, "/disable", json!({})).await),
        ("rotated", after(doors, Method::POST, "/rotate", json!({ "overlap": 0 })).await),
    ]
}

/// A request of a token's holder, or of whoever says so.
async fn presented(doors: &Doors, token: &str, path: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    alike(&exchange(doors.service.base(), head).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_active_is_answered_alike_whatever_it_was() {
    let doors = Doors::open(|_| {}).await;
    let owner = doors.service.made.owner.token.clone();
    let good = format!("{FORM}{}", doors.good());
    let asked = async |headers: &str, token: &str| {
        alike(&doors.post("introspect", headers, format!("token={token}")).await)
    };
    let unknown = Plaintext::mint("cf_pat_", &random()).into_shown();
    let (told, refused) = (asked(&good, &unknown).await, presented(&doors, &unknown, "/v1/token").await);
    assert_eq!((told.status, told.body.as_str(), refused.status), (200, "{\"active\":false}", 401));
    for (what, token) in ended(&doors).await {
        assert_eq!(asked(&good, &token).await, told, "{what}");
        assert_eq!(presented(&doors, &token, "/v1/token").await, refused, "{what}");
    }

    // Of another environment, or another kind.
    let environment: uuid::Uuid = sqlx::query_scalar("SELECT id FROM environments")
        .fetch_one(&doors.service.database.pool)
        .await
        .unwrap();
    let body = json!({ "name": "edge", "environment_id": environment });
    let (status, edge) = doors.service.call(Method::POST, "/v1/gateways", &owner, Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{edge}");
    let text = |field: &str| edge[field].as_str().unwrap();
    let elsewhere = format!("{FORM}{}", basic(format!("{}:{}", text("client_id"), text("client_secret"))));
    assert_eq!(asked(&elsewhere, &doors.token).await, told, "another environment's");
    assert_eq!(asked(&good, text("client_secret")).await, told, "a gateway's");
    doors.assert_active(&doors.introspect(&good).await);

    // And a record of somebody else's is as one that there is not.
    let other = person(&doors.service, "other@example.com", Role::Member).await;
    let missing = presented(&doors, &owner, &format!("{TOKENS}/{}", uuid::Uuid::nil())).await;
    assert_eq!(missing.status, 404);
    let theirs = format!("{TOKENS}/{}", other.token);
    assert_eq!(presented(&doors, &owner, &theirs).await, missing);
    assert_eq!(presented(&doors, &other.plaintext, &theirs).await.status, 200);
    doors.service.stop().await;
}
