//! Revocation (RFC 7009).

use super::{Doors, FORM, basic};
use serde_json::json;
use std::time::Duration;

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
