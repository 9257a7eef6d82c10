//! What a client without a credential that works is told of how to authenticate (RFC 6750 section 3).

use crate::support::Service;
use crate::support::raw::exchange;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_says_what_is_wrong_with_a_credential_and_nothing_of_one_that_is_not_there() {
    let patient = |config: &mut counterfoil::config::Config| {
        config.limits.failures_burst = 1000.try_into().unwrap();
    };
    let service = Service::start_with(patient, |edge| edge).await;
    let owner = &service.made.owner.token;
    let key = format!("X-API-KEY: {owner}");
    let bearer = format!("Authorization: Bearer {owner}");
    let (nothing, none, two) = ("", ", error=\"invalid_token\"", ", error=\"invalid_request\"");
    for (headers, status, error) in [
        (String::new(), 401, nothing),
        ("Cookie: a=b".into(), 401, nothing),
        ("Authorization: ".into(), 401, nothing),
        ("Authorization: Bearer".into(), 401, nothing),
        (format!("Authorization: Bearer{owner}"), 401, nothing),
        (format!("Authorization: Token {owner}"), 401, nothing),
        ("Authorization: Digest username=\"a\", nonce=\"b\"".into(), 401, nothing),
        ("Authorization: Basic Z3c6c2VjcmV0".into(), 401, nothing),
        ("Authorization: Bearer cf_pat_x".into(), 401, none),
        (format!("Authorization: Bearer {}", "x".repeat(20_000)), 401, none),
        ("X-API-KEY: cf_pat_x".into(), 401, none),
        ("Cookie: X-API-KEY=cf_pat_x".into(), 401, none),
        ("Cookie: counterfoil_session=cf_ses_x".into(), 401, none),
        (format!("{bearer}\r\n{bearer}"), 400, two),
        (format!("{bearer}\r\n{key}"), 400, two),
        (format!("{bearer}, Bearer {owner}"), 400, two),
        (format!("Authorization: Token x\r\n{key}"), 400, two),
        (format!("{key}\r\n{key}"), 400, two),
        (format!("Cookie: X-API-KEY={owner}; counterfoil_session=x"), 400, two),
    ] {
        let headers = if headers.is_empty() { headers } else { format!("{headers}\r\n") };
        let head = format!("GET /v1/token HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        let answer = exchange(service.base(), head).await;
        answer.assert_problem(status, if status == 401 { "unauthenticated" } else { "malformed" });
        let expected = format!("Bearer realm=\"counterfoil\"{error}");
        assert_eq!(answer.header("www-authenticate"), Some(&*expected), "{headers:?}");
    }
    // What is wrong elsewhere in a request is none of the credential's.
    let wrong = format!("GET /v1/token?x HTTP/1.1\r\nHost: x\r\n{bearer}\r\n\r\n");
    let answer = exchange(service.base(), wrong).await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (400, None));
    assert_eq!(service.issue(json!({})).await["generation"], 1);
    service.stop().await;
}
