//! What stands in an address and not in a form says nothing, and an address that resembles a door's is none.

use super::{Doors, FORM, basic};
use crate::support::raw::exchange;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_query_holds_neither_a_token_nor_a_credential() {
    let doors = Doors::open(|config| config.limits.failures_burst = 1000.try_into().unwrap()).await;
    let (id, secret, token) = (&doors.id, &doors.secret, &doors.token);
    let good = doors.good();
    let pair = format!("client_id={id}&client_secret={secret}");
    // Without a form there is no token, whoever asks. Proxies and logs keep addresses, so none may stand in one.
    for query in [format!("token={token}"), format!("{pair}&token={token}"), format!("access_token={secret}")]
    {
        for headers in [format!("{FORM}{good}"), good.clone()] {
            for door in ["introspect", "revoke"] {
                let answer = doors.post(&format!("{door}?{query}"), &headers, "").await;
                answer.assert_oauth(400, "invalid_request");
            }
        }
        let door = |door: &str| format!("{door}?{query}");
        doors.post(&door("introspect"), FORM, "").await.assert_oauth(401, "invalid_client");
        doors.post(&door("revoke"), FORM, "").await.assert_oauth(400, "invalid_request");
        // Nor is a gateway known by it.
        let form = format!("token={token}");
        doors.post(&door("introspect"), FORM, &form).await.assert_oauth(401, "invalid_client");
    }
    // The form counts, whatever else the address says: right credentials do not mend wrong ones, nor the other way round.
    let answer =
        doors.post(&format!("introspect?{pair}"), &format!("{FORM}{}", basic("a:b")), "token=x").await;
    answer.assert_oauth(401, "invalid_client");
    let query = "introspect?token=x&client_id=x&client_secret=x";
    doors.assert_active(&doors.post(query, &format!("{FORM}{good}"), format!("token={token}")).await);
    assert_eq!(doors.service.events("token.revoked").await, 0);
    let ends = doors.another().await;
    let query = format!("revoke?token={token}&client_id=x&client_secret=x");
    let answer = doors.post(&query, FORM, format!("token={ends}")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"), "{answer:?}");
    assert_eq!(doors.service.introspect(&ends).await, json!({ "active": false }));
    doors.assert_active(&doors.introspect(&format!("{FORM}{good}")).await);
    assert_eq!(doors.service.events("token.revoked").await, 1);
    doors.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_resembles_a_door_is_none() {
    let doors = Doors::open(|_| {}).await;
    let (headers, form) = (format!("{FORM}{}", doors.good()), format!("token={}", doors.token));
    for door in ["introspect", "revoke"] {
        for path in [
            format!("//oauth2/{door}"),
            format!("///oauth2/{door}"),
            format!("/oauth2//{door}"),
            format!("/oauth2/{door}/"),
            format!("/oauth2/{door}//"),
            format!("/oauth2/./{door}"),
            format!("/oauth2/x/../{door}"),
            format!("/oauth2%2F{door}"),
            format!("/OAuth2/{door}"),
            format!("/{door}"),
        ] {
            let length = form.len();
            let request =
                format!("POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{form}");
            let plain = exchange(doors.service.base(), request).await;
            for answer in [plain, doors.http2.ask("POST", &path, &headers, &form).await] {
                // An error has the form of the doors beside it, or is a problem document.
                if path.starts_with("/oauth2/") {
                    answer.assert_oauth(404, "invalid_request");
                } else {
                    answer.assert_problem(404, "not-found");
                }
                assert!(!answer.body.contains("active"), "{path}: {answer:?}");
            }
        }
    }
    assert_eq!(doors.service.events("token.revoked").await, 0);
    doors.assert_active(&doors.introspect(&headers).await);
    doors.service.stop().await;
}
