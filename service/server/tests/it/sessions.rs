//! Signing in, what a session may, and how it ends.

use crate::support::Service;
use crate::support::people::{command, commit, person};
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::Action;
use counterfoil_domain::role::Role;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

/// The configured public URL of the services here.
const HERE: &str = "http://127.0.0.1:8080";
const OWNER: &str = "owner@example.com";

fn request(service: &Service, method: Method, path: &str) -> RequestBuilder {
    Client::new().request(method, format!("{}{path}", service.base()))
}

async fn sign_in(service: &Service, email: &str, password: &str) -> Response {
    let body = json!({ "email": email, "password": password });
    request(service, Method::POST, "/v1/session").json(&body).send().await.unwrap()
}

/// Signs in and returns the cookie as a browser sends it.
async fn cookie(service: &Service, email: &str, password: &str) -> String {
    let response = sign_in(service, email, password).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_string()
}

fn owners_password(service: &Service) -> String {
    service.made.owner.password.clone().unwrap()
}

/// A request from a page of the service itself.
async fn browse(
    service: &Service,
    cookie: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let request = request(service, method, path).header("cookie", cookie).header("origin", HERE);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let response = request.send().await.unwrap();
    (response.status(), serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_and_ends() {
    let service = Service::start().await;
    let response = sign_in(&service, " Owner@Example.com ", &owners_password(&service)).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let set = response.headers()["set-cookie"].to_str().unwrap().to_string();
    assert!(set.starts_with("counterfoil_session=cf_ses_"), "{set}");
    assert!(set.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax"), "{set}");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let signed_in: Value = response.json().await.unwrap();
    let organization = service.made.organization.id.to_string();
    let membership = json!([{ "id": organization, "name": "acme", "role": "owner" }]);
    assert_eq!(signed_in["organizations"], membership);
    assert_eq!(signed_in["user"], json!({ "id": service.made.owner.id, "email": OWNER }));
    let cookie = set.split(';').next().unwrap();
    // The store has the digest alone.
    let secret = cookie.split('=').nth(1).unwrap();
    let sql = "SELECT count(*) FROM sessions WHERE digest = sha256($1::text::bytea) AND position($1::bytea IN digest) = 0";
    let stored: i64 = sqlx::query_scalar(sql).bind(secret).fetch_one(&service.database.pool).await.unwrap();
    assert_eq!(stored, 1);

    let (status, me) = browse(&service, cookie, Method::GET, "/v1/user", None).await;
    assert_eq!((status, &me["organizations"]), (StatusCode::OK, &membership));
    assert_eq!(me["tokens"], json!({ "standing": 1, "limit": 50 }));
    assert_eq!(
        (&me["credential"]["kind"], &me["credential"]["scopes"]),
        (&json!("session"), &json!(["read", "write"]))
    );

    // A session issues tokens that stem from their own position, and outlive it.
    let issue = |body| browse(&service, cookie, Method::POST, "/v1/user/tokens", Some(body));
    let (status, token) = issue(json!({ "note": "by session" })).await;
    assert_eq!(status, StatusCode::CREATED);
    let sql = "SELECT since = issued_seq AND issued_by IS NULL FROM tokens WHERE id = $1::text::uuid";
    let own: bool = sqlx::query_scalar(sql)
        .bind(token["id"].as_str().unwrap())
        .fetch_one(&service.database.pool)
        .await
        .unwrap();
    assert!(own);
    let path = format!("/v1/user/tokens/{}", token["id"].as_str().unwrap());
    assert_eq!(
        browse(&service, cookie, Method::PATCH, &path, Some(json!({ "note": "x" }))).await.0,
        StatusCode::OK
    );
    let (status, rotated) = browse(&service, cookie, Method::POST, &format!("{path}/rotate"), None).await;
    assert_eq!(status, StatusCode::OK);
    // What is about a presented token is not for sessions.
    for (method, path) in [(Method::GET, "/v1/token"), (Method::POST, "/v1/token/rotate")] {
        let (status, problem) = browse(&service, cookie, method, path, None).await;
        assert_eq!((status, &problem["type"]), (StatusCode::FORBIDDEN, &json!("/problems/token-needed")));
    }

    // Signing out ends it at once, and only it.
    let other = self::cookie(&service, OWNER, &owners_password(&service)).await;
    assert_eq!(browse(&service, cookie, Method::DELETE, "/v1/session", None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(browse(&service, cookie, Method::GET, "/v1/user", None).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(issue(json!({})).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(browse(&service, &other, Method::GET, "/v1/user", None).await.0, StatusCode::OK);
    assert_eq!(service.introspect(rotated["plaintext"].as_str().unwrap()).await["active"], true);

    // All at once, by a token too.
    let third = self::cookie(&service, OWNER, &owners_password(&service)).await;
    let (status, _) =
        service.call(Method::DELETE, "/v1/user/sessions", &service.made.owner.token, None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    for cookie in [other, third] {
        assert_eq!(
            browse(&service, &cookie, Method::GET, "/v1/user", None).await.0,
            StatusCode::UNAUTHORIZED
        );
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_narrows_ends_a_session_too() {
    let service = Service::start().await;
    let password = owners_password(&service);
    let cookie = cookie(&service, OWNER, &password).await;
    // Its expiry comes.
    let expire = "UPDATE sessions SET expires_at = now()";
    sqlx::query(expire).execute(&service.database.pool).await.unwrap();
    assert_eq!(browse(&service, &cookie, Method::GET, "/v1/user", None).await.0, StatusCode::UNAUTHORIZED);
    // The next sign-in takes it away.
    let cookie = self::cookie(&service, OWNER, &password).await;
    let count = "SELECT count(*) FROM sessions";
    let sessions: i64 = sqlx::query_scalar(count).fetch_one(&service.database.pool).await.unwrap();
    assert_eq!(sessions, 1);
    let all = Some(json!({ "sessions": true }));
    assert_eq!(browse(&service, &cookie, Method::DELETE, "/v1/user/tokens", all).await.0, StatusCode::OK);
    assert_eq!(browse(&service, &cookie, Method::GET, "/v1/user", None).await.0, StatusCode::UNAUTHORIZED);
    // A command of a session that ended after the door had let it in is not done.
    let again = self::cookie(&service, OWNER, &password).await;
    let id: uuid::Uuid =
        sqlx::query_scalar("SELECT id FROM sessions").fetch_one(&service.database.pool).await.unwrap();
    let id = counterfoil_domain::ids::SessionId(id);
    let actor = Actor::Session { session_id: id, user_id: service.made.owner.id };
    let batch =
        [Action::EndSession { id }, Action::EndAllSessions].map(|action| command(&service, &actor, action));
    let replies = commit(&service, &batch).await;
    assert!(replies[0].is_ok() && replies[1].is_err());
    assert_eq!(browse(&service, &again, Method::GET, "/v1/user", None).await.0, StatusCode::UNAUTHORIZED);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_the_other_sessions() {
    let service = Service::start().await;
    let old = owners_password(&service);
    let (mine, other) = (cookie(&service, OWNER, &old).await, cookie(&service, OWNER, &old).await);
    let change = |current: &str, new: &str| {
        let body = json!({ "current_password": current, "new_password": new });
        let service = &service;
        let mine = mine.clone();
        async move { browse(service, &mine, Method::PUT, "/v1/user/password", Some(body)).await }
    };
    let (status, problem) = change("not the password", "a new password").await;
    assert_eq!((status, &problem["type"]), (StatusCode::FORBIDDEN, &json!("/problems/wrong-password")));
    let (status, problem) = change(&old, "short").await;
    assert_eq!((status, &problem["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("new_password")));
    assert_eq!(service.events("user.password_set").await, 1);
    assert_eq!(change(&old, "a new password").await.0, StatusCode::NO_CONTENT);
    assert_eq!(service.events("user.password_set").await, 2);
    assert_eq!(browse(&service, &mine, Method::GET, "/v1/user", None).await.0, StatusCode::OK);
    assert_eq!(browse(&service, &other, Method::GET, "/v1/user", None).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(sign_in(&service, OWNER, &old).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(sign_in(&service, OWNER, "a new password").await.status(), StatusCode::CREATED);
    // Tokens stay.
    assert_eq!(service.introspect(&service.made.owner.token).await["active"], true);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_counts_only_from_a_page_of_ours() {
    let service = Service::start().await;
    let cookie = cookie(&service, OWNER, &owners_password(&service)).await;
    let token = &service.made.owner.token;
    let issue = |headers: &[(&str, &str)]| {
        let mut request = request(&service, Method::POST, "/v1/user/tokens").json(&json!({}));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        async move { request.send().await.unwrap().status() }
    };
    let before = service.events("token.issued").await;
    for elsewhere in [
        &[][..],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("origin", HERE), ("sec-fetch-site", "cross-site")],
        // The client's word of where it is counts for nothing.
        &[("origin", "http://evil.example"), ("host", "evil.example")],
    ] {
        let headers = [&[("cookie", cookie.as_str())], elsewhere].concat();
        assert_eq!(issue(&headers).await, StatusCode::FORBIDDEN, "{elsewhere:?}");
    }
    assert_eq!(service.events("token.issued").await, before);
    assert_eq!(issue(&[("cookie", &cookie), ("sec-fetch-site", "same-origin")]).await, StatusCode::CREATED);
    // A foreign page may not sign its visitor in either.
    let body = json!({ "email": OWNER, "password": owners_password(&service) });
    let foreign = request(&service, Method::POST, "/v1/session").header("origin", "https://evil.example");
    assert_eq!(foreign.json(&body).send().await.unwrap().status(), StatusCode::FORBIDDEN);

    // A header's credential comes first, and brings no rules about pages.
    let bearer = format!("Bearer {token}");
    let with_header = |token: &str| {
        let headers =
            [("cookie", cookie.as_str()), ("authorization", token), ("origin", "https://evil.example")];
        issue(&headers)
    };
    assert_eq!(with_header(&bearer).await, StatusCode::CREATED);
    assert_eq!(with_header("Bearer x").await, StatusCode::UNAUTHORIZED);

    // A token in a cookie is a program's, unless a browser says something.
    let key = format!("X-API-KEY={token}");
    assert_eq!(issue(&[("cookie", &key)]).await, StatusCode::CREATED);
    assert_eq!(issue(&[("cookie", &key), ("origin", HERE)]).await, StatusCode::CREATED);
    assert_eq!(issue(&[("cookie", &key), ("origin", "https://evil.example")]).await, StatusCode::FORBIDDEN);
    assert_eq!(issue(&[("cookie", &key), ("sec-fetch-mode", "cors")]).await, StatusCode::FORBIDDEN);
    let get = request(&service, Method::GET, "/v1/user").header("cookie", &key);
    let get = get.header("sec-fetch-site", "cross-site").send().await.unwrap();
    assert_eq!(get.status(), StatusCode::FORBIDDEN);
    // A session's secret is no token.
    let secret = cookie.split('=').nth(1).unwrap();
    assert_eq!(service.call(Method::GET, "/v1/user", secret, None).await.0, StatusCode::UNAUTHORIZED);
    let twice = format!("{cookie}; {cookie}");
    assert_eq!(browse(&service, &twice, Method::GET, "/v1/user", None).await.0, StatusCode::BAD_REQUEST);
    service.stop().await;
}

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
        (json!({ "email": OWNER }).to_string(), 400, "body"),
        (json!({ "email": OWNER, "password": "p", "admin": true }).to_string(), 400, "body"),
        (json!({ "email": OWNER, "password": "p", "organization": "acme" }).to_string(), 400, "body"),
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
