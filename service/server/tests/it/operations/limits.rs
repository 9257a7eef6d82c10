//! What counts against an address and a credential, and whom that does not hold up.

use super::{FORM, series};
use crate::support::Service;
use crate::support::browser::{OWNER, owners_password, request, signed_in};
use crate::support::raw::Raw;
use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::time::Duration;

const FORM_TYPE: &str = "application/x-www-form-urlencoded";

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_count_against_an_address_and_good_credentials_do_not_suffer() {
    let limited = |config: &mut counterfoil::config::Config| {
        (config.limits.failures_per_second, config.limits.failures_burst) = (number(1), number(3));
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    };
    let service = Service::start_with(limited, |edge| edge).await;
    let mut raw = Raw::to(service.base()).await;
    let mut other = Raw::to(service.base()).await;
    let mut ask = async |token: &str, client: &str| {
        let head = "GET /v1/token HTTP/1.1\r\nHost: x\r\n";
        other
            .send(format!(
                "{head}Authorization: Bearer {token}\r\nX-Forwarded-For: 6.6.6.6, {client}\r\n\r\n"
            ))
            .await;
        other.answer().await
    };
    // The allowance comes back meanwhile, slowly; so it is used up by many quick failures.
    for _ in 0..3 {
        ask("wrong", "192.0.2.1").await.assert_problem(401, "unauthenticated");
    }
    let mut refused = ask("wrong", "192.0.2.1").await;
    for _ in 0..50 {
        if refused.status == 429 {
            break;
        }
        refused = ask("wrong", "192.0.2.1").await;
    }
    refused.assert_problem(429, "too-many-requests");
    let wait = refused.header("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
    assert!(wait.is_some_and(|seconds| (1..=2).contains(&seconds)), "{refused:?}");
    // A good token from there, and a bad one from elsewhere.
    assert_eq!(ask(&service.made.owner.token, "192.0.2.1").await.status, 200);
    ask("wrong", "192.0.2.2").await.assert_problem(401, "unauthenticated");
    // A /64 is one client.
    let mut statuses = Vec::new();
    for host in 1..=50 {
        statuses.push(ask("wrong", &format!("2001:db8::{host}")).await.status);
    }
    assert!(statuses[..3] == [401; 3] && statuses.contains(&429), "{statuses:?}");
    ask("wrong", "2001:db8:0:1::4").await.assert_problem(401, "unauthenticated");
    let form = format!("{FORM}X-Forwarded-For: 192.0.2.3\r\nContent-Length: 7\r\n\r\ntoken=x");
    let mut wrong = Vec::new();
    for _ in 0..50 {
        raw.send(format!("POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\n{form}")).await;
        wrong.push(raw.answer().await);
    }
    wrong[0].assert_oauth(401, "invalid_client");
    let limited = wrong.iter().find(|answer| answer.status == 429).unwrap();
    limited.assert_oauth(429, "temporarily_unavailable");
    assert!(limited.header("retry-after").is_some());
    assert!(series(&service.metrics(), "counterfoil_rate_limited_total{limit=\"address\"}") >= 3.0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_has_a_rate_and_introspection_has_none() {
    let limited = |config: &mut counterfoil::config::Config| {
        (config.limits.credential_per_second, config.limits.credential_burst) = (number(1), number(5));
        (config.limits.strangers_per_second, config.limits.strangers_burst) = (number(1), number(4));
    };
    let service = Service::start_with(limited, |edge| edge).await;
    let (owner, token) = (service.made.owner.token.clone(), service.issue(json!({})).await);
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(service.call(Method::GET, "/v1/token", &owner, None).await);
    }
    let limited: Vec<_> =
        answers.iter().filter(|(status, _)| *status == StatusCode::TOO_MANY_REQUESTS).collect();
    assert!(
        limited.len() >= 2 && limited.iter().all(|(_, body)| body["type"] == "/problems/too-many-requests")
    );
    let plaintext = token["plaintext"].as_str().unwrap();
    assert_eq!(service.call(Method::GET, "/v1/token", plaintext, None).await.0, StatusCode::OK);
    for _ in 0..50 {
        assert_eq!(service.introspect(plaintext).await["active"], true);
    }
    // The doors without a credential, by a layer.
    let metadata = "GET /.well-known/oauth-authorization-server HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut raw = Raw::to(service.base()).await;
    let mut answers = Vec::new();
    for _ in 0..30 {
        raw.send(metadata).await;
        answers.push(raw.answer().await);
    }
    assert!(answers[..4].iter().all(|answer| answer.status == 200));
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    refused.assert_problem(429, "too-many-requests");
    assert!(refused.header("retry-after").is_some());
    service.stop().await;
}

/// A service whose credentials may ask five times at once, and then once a second.
async fn few_for_a_credential() -> Service {
    let few = |config: &mut counterfoil::config::Config| {
        (config.limits.credential_per_second, config.limits.credential_burst) = (number(1), number(5));
    };
    Service::start_with(few, |edge| edge).await
}

/// How often a request is refused as one too many, of so many at once.
async fn too_many(requests: impl Iterator<Item = RequestBuilder>) -> usize {
    let answers = join_all(requests.map(RequestBuilder::send)).await;
    let statuses = answers.into_iter().map(|answer| answer.unwrap().status());
    statuses.filter(|status| *status == StatusCode::TOO_MANY_REQUESTS).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_credential_asks_in_vain_counts_too() {
    let service = few_for_a_credential().await;
    for (organization, status) in [("x", 400), (&*uuid::Uuid::nil().to_string(), 404)] {
        let token = service.issue_patiently(json!({})).await;
        let ask = || {
            let request = request(&service, Method::GET, "/v1/user");
            request.bearer_auth(token["plaintext"].as_str().unwrap()).header("x-organization", organization)
        };
        assert_eq!(ask().send().await.unwrap().status().as_u16(), status);
        let refused = too_many((0..30).map(|_| ask())).await;
        assert!(refused >= 15, "{organization}: {refused}");
    }
    service.stop().await;
}

/// A token of the owner's, who may not ask as often as this test does.
async fn issued(service: &Service) -> Value {
    let owner = &service.made.owner.token;
    loop {
        let (status, token) = service.call(Method::POST, "/v1/user/tokens", owner, None).await;
        if status == StatusCode::CREATED {
            return token;
        }
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{token}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thief_who_asks_too_often_does_not_keep_a_token_from_its_end() {
    let service = few_for_a_credential().await;
    for by_oauth in [false, true] {
        let token = issued(&service).await;
        let text = |field: &str| token[field].as_str().unwrap();
        let (plaintext, path) = (text("plaintext"), format!("/v1/user/tokens/{}", text("id")));
        let end = |body: &str| {
            let end = request(&service, Method::DELETE, &path).bearer_auth(plaintext);
            end.header("content-type", "application/json").body(body.to_string())
        };
        // The thief asks for this and that, and for an end that none comes of.
        let floods = (0..30).map(|_| request(&service, Method::GET, "/v1/token").bearer_auth(plaintext));
        assert!(too_many(floods).await >= 15);
        for wrong in ["{", "{\"reason\":\"free text\"}"] {
            assert_eq!(too_many((0..30).map(|_| end(wrong))).await, 0);
        }
        let stale = || end("{}").header("if-match", "\"0\"");
        assert!(too_many((0..30).map(|_| stale())).await >= 15);
        let ended = if by_oauth {
            let form = request(&service, Method::POST, "/oauth2/revoke");
            form.header("content-type", FORM_TYPE).body(format!("token={plaintext}"))
        } else {
            end("{}")
        };
        assert!(ended.send().await.unwrap().status().is_success(), "{by_oauth}");
        assert_eq!(service.introspect(plaintext).await["active"], false);
    }
    // Another token is ended as anything else is done.
    let token = issued(&service).await;
    let path = format!("/v1/user/tokens/{}", uuid::Uuid::nil());
    let end = || request(&service, Method::DELETE, &path).bearer_auth(token["plaintext"].as_str().unwrap());
    assert!(too_many((0..30).map(|_| end())).await >= 15);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_asks_too_often_is_told_so_without_the_database() {
    let service = few_for_a_credential().await;
    let session = signed_in(&service, OWNER, &owners_password(&service)).await;
    let pool = service.database.pool.clone();
    let held = join_all((0..pool.options().get_max_connections()).map(|_| pool.acquire())).await;
    let ask = || request(&service, Method::GET, "/v1/user").header("cookie", &session);
    let refused = too_many((0..30).map(|_| ask())).await;
    assert!(refused >= 15, "{refused}");
    drop(held);
    service.stop().await;
}
