//! Failures to sign in: alike, limited, and nobody else's trouble.

use crate::support::browser::{OWNER, browse, owners_password, request, sign_in};
use crate::support::load::People;
use crate::support::people::person;
use crate::support::program::Program;
use crate::support::{Service, elsewhere, is_soak, rounds};
use counterfoil_domain::role::Role;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

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

/// What an attempt of the storm sends: half of them an owner's own address, one in ten a password of a megabyte.
fn attempt(n: usize) -> (String, String) {
    let email = if n % 4 < 2 { OWNER.to_string() } else { format!("{n}@example.com") };
    let password = if n % 10 == 3 { "p".repeat(1024 * 1024) } else { "not the password".into() };
    (email, password)
}

/// How long an introspection took, which says that the token is active. On a machine that is busy with other tests, the
/// proof of freshness may be late.
async fn introspected(people: &People, base: &str) -> Duration {
    let began = Instant::now();
    let active = people.introspect(base, people.own()).await;
    assert!(active == Some(true) || active.is_none() && !is_soak(), "{active:?}");
    began.elapsed()
}

fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_sign_ins_is_shed_and_introspection_goes_on() {
    let mut process = Program::made().await;
    process.until_ready().await;
    let base = process.base().to_string();
    let [token, id, secret] = [("owner", "token"), ("gateway", "client_id"), ("gateway", "client_secret")]
        .map(|(of, field)| process.printed(of, field));
    let people = People::with(&token, &id, &secret);
    people.until_active(&base, people.own()).await;
    let mut quiet = Vec::new();
    for _ in 0..rounds(20, 500) {
        quiet.push(introspected(&people, &base).await);
    }
    let (began, memory, elsewhere) = (Instant::now(), process.memory(), elsewhere());
    let (mut storm, client) = (JoinSet::new(), Client::new());
    for n in 0..rounds(100, 500) {
        let (email, password) = attempt(n);
        let is_large = password.len() > 1024;
        let body = json!({ "email": email, "password": password });
        let request = client.post(format!("{base}/v1/session")).json(&body);
        // Half of them go away before they are answered; their hashes are computed all the same.
        let patience = Duration::from_millis(if n % 2 == 0 { 10 } else { 60_000 });
        let answer = async move {
            let answer = tokio::time::timeout(patience, request.send()).await.ok()?;
            Some((is_large, answer.unwrap().status().as_u16()))
        };
        storm.spawn_on(answer, elsewhere.handle());
    }
    let (mut busy, mut looked_at, mut too_large) = (Vec::new(), 0, 0);
    while !storm.is_empty() {
        busy.push(introspected(&people, &base).await);
        while let Some(answer) = storm.try_join_next() {
            match answer.unwrap() {
                None | Some((false, 429 | 503)) => {}
                Some((false, 401)) => looked_at += 1,
                Some((true, 413 | 503)) => too_large += 1,
                Some((_, status)) => panic!("{status}"),
            }
        }
    }
    let grown = process.memory().saturating_sub(memory) / 1024;
    let (quiet, busy) = (p99(quiet), p99(busy));
    eprintln!("p99 of introspection {busy:?}, quiet {quiet:?}; {grown} MiB more; {too_large} too large");
    // No more than the limit of one address, and what it gains meanwhile.
    assert!(looked_at <= 11 + began.elapsed().as_secs() / 6, "{looked_at}");
    assert_eq!(too_large, rounds(100, 500) / 10, "each is told");
    assert!(grown <= 100, "{grown} MiB more");
    if is_soak() {
        // Where quiet ones are quicker than a turn at the processor, busy ones wait for two.
        let turn = Duration::from_millis(3);
        assert!(busy <= 2 * quiet.max(turn), "{busy:?} and {quiet:?}");
    }
    elsewhere.shutdown_background();
    process.stop().await;
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
