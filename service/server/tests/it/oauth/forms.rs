//! Bodies and framing in every shape that clients use.

use super::{Doors, FORM, basic, percent};
use crate::support::raw::{Raw, exchange};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn forms_in_every_shape() {
    let doors = Doors::open(|_| {}).await;
    let (id, secret, token) = (&doors.id, &doors.secret, &doors.token);
    let good = doors.good();
    for kind in [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-URLEncoded",
        "application/x-www-form-urlencoded ; charset=\"utf-8\"",
        "application/x-www-form-urlencoded;",
    ] {
        doors.assert_active(&doors.introspect(&format!("Content-Type: {kind}\r\n{good}")).await);
    }
    for kinds in [
        String::new(),
        "Content-Type: \r\n".into(),
        "Content-Type: application/json\r\n".into(),
        "Content-Type: text/plain\r\n".into(),
        format!("{FORM}{FORM}"),
        format!("{FORM}Content-Type: text/plain\r\n"),
    ] {
        for door in ["introspect", "revoke"] {
            let answer = doors.post(door, &format!("{kinds}{good}"), format!("token={token}")).await;
            answer.assert_oauth(415, "invalid_request");
        }
    }
    for door in ["introspect", "revoke"] {
        doors.post(door, &good, "").await.assert_oauth(400, "invalid_request");
    }
    let active = |body: String| (body, true);
    let inactive = |body: &str| (body.to_string(), false);
    for (body, is_active) in [
        active(format!("token={token}")),
        active(format!("&&token={token}&")),
        active(format!("token={token}&token_type_hint")),
        active(format!("token={token}&token_type_hint=refresh_token")),
        active(format!("token={token}&token_type_hint=%ff%00")),
        active(format!("token={}", percent(token, false))),
        active(format!("%74oken={token}&unknown=1&=x&=y")),
        active(format!("token={token}&client_id={id}&client_secret={secret}")),
        active(format!("token={token}&client_id={id}")),
        active(format!("token={token}&client_id=&client_secret=")),
        inactive("token=unknown"),
        inactive("token=%00"),
        inactive("token=a%00b"),
        inactive("token=%ff%fe"),
        inactive("token=%"),
        inactive("token=a+b"),
        inactive(&format!("token={token}%20")),
        inactive(&format!("token={}", "x".repeat(8000))),
        inactive(&format!("token={secret}")),
    ] {
        let answer = doors.post("introspect", &format!("{FORM}{good}"), &body).await;
        match is_active {
            true => doors.assert_active(&answer),
            false => assert_eq!((answer.status, answer.body.as_str()), (200, "{\"active\":false}"), "{body}"),
        }
    }
    for (body, status, error) in [
        (String::new(), 400, "invalid_request"),
        ("token=".into(), 400, "invalid_request"),
        ("&&&".into(), 400, "invalid_request"),
        (format!("token={token}&token={token}"), 400, "invalid_request"),
        (format!("token={token}&%74oken=x"), 400, "invalid_request"),
        (format!("token={token}&token_type_hint=a&token_type_hint=b"), 400, "invalid_request"),
        (format!("{{\"token\":\"{token}\"}}"), 400, "invalid_request"),
        (format!("token={token}&x={}", "x".repeat(8192)), 413, "invalid_request"),
        (format!("token={token}&client_id={id}&client_secret=wrong"), 401, "invalid_client"),
        (format!("token={token}&client_id=gw_x&client_secret={secret}"), 401, "invalid_client"),
        (format!("token={token}&client_id=other"), 401, "invalid_client"),
        (format!("token={token}&client_secret={secret}"), 401, "invalid_client"),
    ] {
        for door in ["introspect", "revoke"] {
            doors.post(door, &format!("{FORM}{good}"), &body).await.assert_oauth(status, error);
        }
    }
    // The API's document shows these answers as they are.
    let file = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../api.yaml")).unwrap();
    let file: serde_json::Value = serde_saphyr::from_str(&file).unwrap();
    let long = "x".repeat(8193);
    let json = "Content-Type: application/json\r\n";
    for (name, headers, body) in [
        ("Malformed", FORM, "nothing=1"),
        ("Unauthenticated", FORM, "client_id=x&client_secret=x&token=x"),
        ("TooLarge", FORM, long.as_str()),
        ("MediaType", json, "{}"),
    ] {
        let headers = if name == "Unauthenticated" { headers.into() } else { format!("{headers}{good}") };
        let answer = doors.post("introspect", &headers, body).await.json();
        let place = format!("/components/responses/Oauth{name}/content/application~1json/examples");
        let examples = file.pointer(&place).unwrap();
        assert_eq!(examples[answer["error"].as_str().unwrap()]["value"], answer, "{name}");
    }
    // The form alone will do.
    let body = format!("client_secret={secret}&token={token}&client_id={id}");
    doors.assert_active(&doors.post("introspect", FORM, body).await);
    // Bytes that are no text are the token's own business.
    let answer = doors.post("introspect", &format!("{FORM}{good}"), b"token=\xff\x00\xfe").await;
    assert_eq!(answer.body, "{\"active\":false}");
    doors.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn framing_that_only_some_clients_use() {
    let doors = Doors::open(|_| {}).await;
    let (base, good) = (doors.service.base(), doors.good());
    let body = format!("token={}", doors.token);
    let head = |version: &str, headers: &str| {
        format!("POST /oauth2/introspect HTTP/{version}\r\n{FORM}{good}{headers}\r\n")
    };
    let length = format!("Content-Length: {}\r\n", body.len());

    let chunks: String = body.chars().map(|c| format!("1\r\n{c}\r\n")).collect();
    let chunked = format!(
        "{}{chunks}0\r\nX-Trailer: y\r\n\r\n",
        head("1.1", "Host: x\r\nTransfer-Encoding: chunked\r\n")
    );
    doors.assert_active(&exchange(base, chunked).await);
    let absolute = format!(
        "{}{body}",
        head("1.1", &format!("Host: x\r\n{length}")).replace("/oauth2", "http://any/oauth2")
    );
    doors.assert_active(&exchange(base, absolute).await);
    let old = exchange(base, format!("{}{body}", head("1.0", &length))).await;
    doors.assert_active(&old);
    assert_eq!(old.header("transfer-encoding"), None);
    let mut kept = Raw::to(base).await;
    for _ in 0..2 {
        kept.send(format!("{}{body}", head("1.0", &format!("Connection: keep-alive\r\n{length}")))).await;
        doors.assert_active(&kept.answer().await);
    }

    // Asked before it sends, a client is told to go on, or that there is no use.
    let expects = format!("Host: x\r\nExpect: 100-continue\r\n{length}");
    let mut asks = Raw::to(base).await;
    asks.send(head("1.1", &expects)).await;
    assert_eq!(asks.answer().await.status, 100);
    asks.send(&body).await;
    doors.assert_active(&asks.answer().await);
    let mut asks = Raw::to(base).await;
    asks.send(head("1.1", &expects).replace(&good, &basic("a:b"))).await;
    asks.answer().await.assert_oauth(401, "invalid_client");
    assert!(asks.ends_within(Duration::from_secs(10)).await);

    // Two lengths that contradict each other are not believed, and the connection ends.
    let mut smuggles = Raw::to(base).await;
    let both = head("1.1", "Host: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n");
    smuggles.send(format!("{both}0\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    let answer = smuggles.answer().await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(smuggles.try_answer(false).await.is_none());
    doors.service.stop().await;
}
