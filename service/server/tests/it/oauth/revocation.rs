//! Revocation (RFC 7009).

use super::{Doors, FORM, alike, basic, post};
use crate::support::Service;
use crate::support::people::{Person, person};
use crate::support::raw::{Answer, exchange};
use counterfoil_domain::role::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn revocation_in_every_corner() {
    let doors = Doors::open(|_| {}).await;
    let service = &doors.service;
    let good = format!("{FORM}{}", doors.good());
    let inactive = json!({ "active": false });
    let unknown = doors.revoke(&good, "unknown").await;
    for (events, (headers, hint)) in [
        (good.clone(), "&token_type_hint=refresh_token"),
        (good.clone(), "&token_type_hint=zzz"),
        (good.clone(), ""),
        (FORM.to_string(), ""),
        (format!("{FORM}Authorization: Bearer TOKEN\r\n"), ""),
        (format!("{FORM}X-API-KEY: TOKEN\r\n"), ""),
    ]
    .into_iter()
    .enumerate()
    {
        let token = doors.another().await;
        let headers = headers.replace("TOKEN", &token);
        // Again is fine, and says the same as for one that nobody knows; there is one event.
        for _ in 0..2 {
            assert_eq!(doors.revoke(&headers, &format!("{token}{hint}")).await, unknown);
        }
        assert_eq!(service.introspect(&token).await, inactive);
        assert_eq!(service.events("token.revoked").await, events as i64 + 1);
    }
    // Somebody else's Bearer, and a client that is none.
    let (token, other) = (doors.another().await, doors.another().await);
    for headers in [format!("Authorization: Bearer {other}\r\n"), basic("a:b")] {
        let answer = doors.post("revoke", &format!("{FORM}{headers}"), format!("token={token}")).await;
        answer.assert_oauth(401, "invalid_client");
    }
    // An expired one.
    let soon = service.app().clock.now().plus_seconds(1);
    let expiring = service.issue(json!({ "expires_at": soon.to_string() })).await;
    let expiring = expiring["plaintext"].as_str().unwrap().to_string();
    while service.introspect(&expiring).await["active"] == true {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for headers in [good.clone(), FORM.into()] {
        assert_eq!(doors.revoke(&headers, &expiring).await, unknown);
    }
    assert_eq!(service.introspect(&token).await["active"], true);
    assert_eq!(service.events("token.revoked").await, 6);
    // A gateway token is ended by whoever holds it, and only so: then its gateway is a stranger.
    assert_eq!(doors.revoke(&good, &doors.secret).await, unknown);
    doors.assert_active(&doors.introspect(&good).await);
    assert_eq!(doors.revoke(FORM, &doors.secret).await, unknown);
    doors.introspect(&good).await.assert_oauth(401, "invalid_client");
    doors.service.stop().await;
}

/// Makes an organization beside the service's own, and moves a member with its tokens, and a gateway, into it: nobody but
/// who edits tables can make one yet.
async fn move_elsewhere(service: Service, person: &Person, gateway: &Value) -> Service {
    let (here, there) = (service.made.organization.id.0, Uuid::from_u128(7));
    let pool = service.database.pool.clone();
    let moved = async {
        let sql = "INSERT INTO organizations SELECT $2, number + 1, name_id, name_commitment, 0, seq
            FROM organizations WHERE id = $1";
        sqlx::query(sql).bind(here).bind(there).execute(&pool).await.unwrap();
        let sql = "UPDATE users SET memberships = replace(memberships, $1::text, $2::text) WHERE id = $3";
        sqlx::query(sql).bind(here).bind(there).bind(person.user.0).execute(&pool).await.unwrap();
        let sql = "UPDATE tokens SET home = $1 WHERE id = $2 OR gateway_id = $3::uuid";
        let gateway = gateway["id"].as_str().unwrap();
        sqlx::query(sql).bind(there).bind(person.token.0).bind(gateway).execute(&pool).await.unwrap();
        let sql = "UPDATE gateways SET organization_id = $1 WHERE id = $2::uuid";
        sqlx::query(sql).bind(there).bind(gateway).execute(&pool).await.unwrap();
    };
    service.restart_after(moved).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_ends_no_token_of_another_organization() {
    let service = Service::start().await;
    let theirs = person(&service, "theirs@example.com", Role::Member).await;
    let ours = service.issue(json!({})).await["plaintext"].as_str().unwrap().to_string();
    let (owner, body) = (service.made.owner.token.clone(), json!({ "name": "theirs" }));
    let (status, gateway) = service.call(Method::POST, "/v1/gateways", &owner, Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{gateway}");
    let pair = |id: &str, secret: &str| format!("{FORM}{}", basic(format!("{id}:{secret}")));
    let text = |field: &str| gateway[field].as_str().unwrap();
    let their_gateway = pair(text("client_id"), text("client_secret"));
    let our_gateway = pair(&service.made.gateway.client_id, &service.made.gateway.client_secret);
    let service = move_elsewhere(service, &theirs, &gateway).await;
    let asked = async |door: &str, headers: &str, token: &str| -> Answer {
        alike(&exchange(service.base(), post(door, headers, format!("token={token}"))).await)
    };

    // Each gateway sees the tokens of its own organization. To revoke another's is answered as if it were none (RFC 7009
    // section 2.2), and does nothing.
    let theirs = &theirs.plaintext;
    let (unseen, unknown) =
        (asked("introspect", &our_gateway, "x").await, asked("revoke", &our_gateway, "x").await);
    assert_eq!((unknown.status, unknown.body.as_str()), (200, "{}"));
    for (gateway, own, foreign) in [(&our_gateway, &ours, theirs), (&their_gateway, theirs, &ours)] {
        assert_eq!(asked("introspect", gateway, foreign).await, unseen);
        assert_eq!(asked("revoke", gateway, foreign).await, unknown);
        assert_eq!(asked("introspect", gateway, own).await.json()["active"], true);
    }
    for (gateway, token) in [(&our_gateway, &ours), (&their_gateway, theirs)] {
        assert_eq!(asked("introspect", gateway, token).await.json()["active"], true);
        assert_eq!(service.call(Method::GET, "/v1/token", token, None).await.0, StatusCode::OK);
    }
    assert_eq!(service.events("token.revoked").await, 0);
    // Its own each of them ends.
    for (gateway, token) in [(&our_gateway, &ours), (&their_gateway, theirs)] {
        assert_eq!(asked("revoke", gateway, token).await, unknown);
        assert_eq!(asked("introspect", gateway, token).await, unseen);
    }
    assert_eq!(service.events("token.revoked").await, 2);
    service.stop().await;
}
