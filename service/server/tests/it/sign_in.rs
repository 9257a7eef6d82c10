//! Failures to sign in: alike, limited, and nobody else's trouble.

use crate::support::Service;
use crate::support::browser::{OWNER, browse, owners_password, request, sign_in};
use crate::support::people::person;
use counterfoil_domain::role::Role;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_alike_and_limited() {
    let service = Service::start().await;
    person(&service, "member@example.com", Role::Member).await;
    let failure = async |email: &str| {
        let response = sign_in(&service, email, "not the password").await;
        let mut headers = response.headers().clone();
        headers.remove("x-request-id");
        headers.remove("date");
        (response.status(), format!("{headers:?}"), response.bytes().await.unwrap())
    };
    let known = failure(OWNER).await;
    assert_eq!(known.0, StatusCode::UNAUTHORIZED);
    assert_eq!(known, failure("nobody@example.com").await);
    assert_eq!(known, failure("not an address").await);
    // Successes are free, failures are not: seven more from here, for whomever.
    for _ in 0..3 {
        assert_eq!(
            sign_in(&service, "MEMBER@example.com", "correct horse battery").await.status(),
            StatusCode::CREATED
        );
    }
    for n in 0..7 {
        assert_eq!(failure(&format!("{n}@example.com")).await.0, StatusCode::UNAUTHORIZED, "{n}");
    }
    let response = sign_in(&service, OWNER, &owners_password(&service)).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=6).contains(&wait), "{wait}");
    // Whoever has signed in from here is not held up by the neighbours.
    let members = sign_in(&service, "member@example.com", "correct horse battery").await;
    assert_eq!(members.status(), StatusCode::CREATED);
    // Whoever has a token is not held up.
    assert_eq!(
        service.call(Method::GET, "/v1/user", &service.made.owner.token, None).await.0,
        StatusCode::OK
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_input_is_refused_and_holds_nobody_up() {
    let service = Service::start().await;
    let bodies = [
        (json!({ "email": "a\0@example.com", "password": "p" }).to_string(), 422, "email"),
        (json!({ "email": OWNER, "password": "p\0" }).to_string(), 422, "password"),
        (json!({ "email": OWNER, "password": "" }).to_string(), 422, "password"),
        (json!({ "email": OWNER, "password": "p".repeat(1025) }).to_string(), 422, "password"),
        (json!({ "email": "e".repeat(255), "password": "p" }).to_string(), 422, "email"),
        (format!(r#"{{"email":"{OWNER}","password":"\ud800"}}"#), 400, "body"),
        (r#"{"email":"\ud800","password":"p"}"#.into(), 400, "body"),
        (json!({ "email": OWNER }).to_string(), 400, "password"),
        (format!(r#"{{"email":"{OWNER}","email":"{OWNER}","password":"p"}}"#), 400, "email"),
        (json!({ "email": OWNER, "password": 7 }).to_string(), 400, "password"),
        (json!({ "email": OWNER, "password": "p", "admin": true }).to_string(), 400, "body"),
        (json!({ "email": OWNER, "password": "p", "organization": "acme" }).to_string(), 400, "organization"),
    ];
    let password = owners_password(&service);
    for (body, status, field) in bodies {
        let request =
            request(&service, Method::POST, "/v1/session").header("content-type", "application/json");
        let (response, issued) = tokio::join!(request.body(body.clone()).send(), service.issue(json!({})));
        let response = response.unwrap();
        let shown = &body[..body.len().min(80)];
        assert_eq!(response.status().as_u16(), status, "{shown}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.json::<Value>().await.unwrap()["field"], field, "{shown}");
        assert!(issued["plaintext"].is_string());
    }
    let large = json!({ "email": OWNER, "password": "p".repeat(1024 * 1024) });
    let response = request(&service, Method::POST, "/v1/session").json(&large).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let elsewhere = json!({ "email": OWNER, "password": password, "organization": uuid::Uuid::nil() });
    let response = request(&service, Method::POST, "/v1/session").json(&elsewhere).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    // None of it was counted as a failure, and nothing is broken.
    assert_eq!(sign_in(&service, OWNER, &password).await.status(), StatusCode::CREATED);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_sign_ins_is_shed_and_introspection_goes_on() {
    let service = std::sync::Arc::new(Service::start().await);
    let mut storm = tokio::task::JoinSet::new();
    for n in 0..100 {
        let service = service.clone();
        storm.spawn(async move {
            let email = format!("{n}@example.com");
            let attempt = sign_in(&service, &email, "not the password");
            // Half of them go away before they are answered; their hashes are computed all the same.
            let patience = std::time::Duration::from_millis(if n % 2 == 0 { 10 } else { 60_000 });
            tokio::time::timeout(patience, attempt).await.ok().map(|response| response.status().as_u16())
        });
    }
    let (began, mut looked_at) = (std::time::Instant::now(), 0);
    while !storm.is_empty() {
        assert_eq!(service.introspect(&service.made.owner.token).await["active"], true);
        while let Some(Ok(status)) = storm.try_join_next() {
            assert!(status.is_none_or(|status| matches!(status, 401 | 429 | 503)), "{status:?}");
            looked_at += u64::from(status == Some(401));
        }
    }
    // No more than the limit of one address, what it gains meanwhile, and what was being computed at that moment.
    let cores = std::thread::available_parallelism().unwrap().get() as u64;
    assert!(looked_at <= 10 + began.elapsed().as_secs() / 6 + cores, "{looked_at}");
    std::sync::Arc::into_inner(service).unwrap().stop().await;
}

/// Signs in from an address, through a trusted proxy.
async fn from(service: &Service, address: &str, password: &str) -> Response {
    let body = json!({ "email": OWNER, "password": password });
    let request = request(service, Method::POST, "/v1/session").header("x-forwarded-for", address);
    request.json(&body).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_keeps_an_owner_out() {
    let few = |config: &mut counterfoil::config::Config| {
        config.limits.sign_in_failures = 1.try_into().unwrap();
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    };
    let service = Service::start_with(few, |edge| edge).await;
    let password = owners_password(&service);
    let wrong = async |address: &str| from(&service, address, "not the password").await.status();
    let right = async |address: &str| from(&service, address, &password).await.status();
    // One address has its say, and keeps out itself.
    assert_eq!(wrong("192.0.2.1").await, StatusCode::UNAUTHORIZED);
    assert_eq!(wrong("192.0.2.1").await, StatusCode::TOO_MANY_REQUESTS);
    let home = from(&service, "198.51.100.1", &password).await;
    assert_eq!(home.status(), StatusCode::CREATED);
    let session = home.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_string();
    // Ten have used up what all strangers have, whether or not they know the password.
    for n in 2..=10 {
        assert_eq!(wrong(&format!("192.0.2.{n}")).await, StatusCode::UNAUTHORIZED, "{n}");
    }
    assert_eq!(wrong("192.0.2.11").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(right("192.0.2.11").await, StatusCode::TOO_MANY_REQUESTS);
    // Not so the owner at home, nor in a session, wherever that is.
    assert_eq!(right("198.51.100.1").await, StatusCode::CREATED);
    let change = async |current: &str| {
        let body = json!({ "current_password": current, "new_password": "correct horse" });
        browse(&service, &session, Method::PUT, "/v1/user/password", Some(body)).await.0
    };
    let by_token = async || {
        let body = json!({ "current_password": "not the password", "new_password": "correct horse" });
        let token = &service.made.owner.token;
        service.call(Method::PUT, "/v1/user/password", token, Some(body)).await.0
    };
    // A token's holder has guesses of its own, as few.
    assert_eq!(by_token().await, StatusCode::FORBIDDEN);
    assert_eq!(by_token().await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(change(&password).await, StatusCode::NO_CONTENT);
    assert_eq!(change("not the password").await, StatusCode::FORBIDDEN);
    assert_eq!(change("correct horse").await, StatusCode::TOO_MANY_REQUESTS);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_does_not_hold_up_the_others() {
    let service = std::sync::Arc::new(Service::start().await);
    person(&service, "member@example.com", Role::Member).await;
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut eager = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (service, over) = (service.clone(), over.clone());
        eager.spawn(async move {
            let (password, mut statuses) = (owners_password(&service), Vec::new());
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                statuses.push(sign_in(&service, OWNER, &password).await.status().as_u16());
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            statuses
        });
    }
    for round in 0..20 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let members = sign_in(&service, "member@example.com", "correct horse battery").await;
        assert_eq!(members.status(), StatusCode::CREATED, "{round}");
    }
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    let statuses = eager.join_all().await.concat();
    assert!(
        statuses.contains(&201) && statuses.iter().all(|status| matches!(status, 201 | 503)),
        "{statuses:?}"
    );
    let sessions: i64 = sqlx::query_scalar("SELECT count(*) FROM sessions WHERE user_id = $1")
        .bind(service.made.owner.id.0)
        .fetch_one(&service.database.pool)
        .await
        .unwrap();
    assert!(sessions <= 100, "{sessions}");
    std::sync::Arc::into_inner(service).unwrap().stop().await;
}
