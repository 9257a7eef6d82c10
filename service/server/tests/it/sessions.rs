//! Signing in, what a session may, and how it ends.

use crate::queue::owner;
use crate::support::Service;
use crate::support::browser::{HERE, OWNER, browse, owners_password, request, sign_in, signed_in};
use crate::support::people::{command, commit};
use counterfoil::clock::random;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::Action;
use counterfoil_domain::plaintext::Plaintext;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_and_ends() {
    let service = Service::start().await;
    let response = sign_in(&service, " Owner@Example.com ", &owners_password(&service)).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let set = response.headers()["set-cookie"].to_str().unwrap().to_string();
    assert!(set.starts_with("counterfoil_session=cf_ses_"), "{set}");
    assert!(set.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax"), "{set}");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let answer: Value = response.json().await.unwrap();
    let organization = service.made.organization.id.to_string();
    let membership = json!([{ "id": organization, "name": "acme", "role": "owner" }]);
    assert_eq!(answer["organizations"], membership);
    assert_eq!(answer["user"], json!({ "id": service.made.owner.id, "email": OWNER }));
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

    // What is not understood ends nothing.
    for path in ["/v1/session", "/v1/user/sessions"] {
        let (status, problem) =
            browse(&service, cookie, Method::DELETE, path, Some(json!({ "except": "this" }))).await;
        assert_eq!((status, &problem["field"]), (StatusCode::BAD_REQUEST, &json!("body")), "{path}");
    }

    // Signing out ends it at once, and only it.
    let other = signed_in(&service, OWNER, &owners_password(&service)).await;
    assert_eq!(browse(&service, cookie, Method::DELETE, "/v1/session", None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(browse(&service, cookie, Method::GET, "/v1/user", None).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(issue(json!({})).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(browse(&service, &other, Method::GET, "/v1/user", None).await.0, StatusCode::OK);
    assert_eq!(service.introspect(rotated["plaintext"].as_str().unwrap()).await["active"], true);

    // All at once, by a token too.
    let third = signed_in(&service, OWNER, &owners_password(&service)).await;
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
    let cookie = signed_in(&service, OWNER, &password).await;
    // Its expiry comes.
    let expire = "UPDATE sessions SET expires_at = now()";
    sqlx::query(expire).execute(&service.database.pool).await.unwrap();
    assert_eq!(browse(&service, &cookie, Method::GET, "/v1/user", None).await.0, StatusCode::UNAUTHORIZED);
    // The next sign-in takes it away.
    let cookie = signed_in(&service, OWNER, &password).await;
    let count = "SELECT count(*) FROM sessions";
    let sessions: i64 = sqlx::query_scalar(count).fetch_one(&service.database.pool).await.unwrap();
    assert_eq!(sessions, 1);
    let all = Some(json!({ "sessions": true }));
    assert_eq!(browse(&service, &cookie, Method::DELETE, "/v1/user/tokens", all).await.0, StatusCode::OK);
    assert_eq!(browse(&service, &cookie, Method::GET, "/v1/user", None).await.0, StatusCode::UNAUTHORIZED);
    // A command of a session that ended after the door had let it in is not done.
    let again = signed_in(&service, OWNER, &password).await;
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
async fn a_user_has_a_hundred_sessions_at_most_and_the_oldest_end() {
    let service = Service::start().await;
    let mut opened = Vec::new();
    for _ in 0..=100 {
        let Actor::Session { session_id, .. } = owner(&service).await else { unreachable!() };
        opened.push(session_id.0);
    }
    let sql =
        "SELECT count(*), count(*) FILTER (WHERE id = $1), count(*) FILTER (WHERE id = $2) FROM sessions";
    let query = sqlx::query_as::<_, (i64, i64, i64)>(sql).bind(opened[0]).bind(opened[1]);
    assert_eq!(query.fetch_one(&service.database.pool).await.unwrap(), (100, 0, 1));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_the_other_sessions() {
    let service = Service::start().await;
    let old = owners_password(&service);
    let (mine, other) = (signed_in(&service, OWNER, &old).await, signed_in(&service, OWNER, &old).await);
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
    let cookie = signed_in(&service, OWNER, &owners_password(&service)).await;
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
    // Beside a session's it is one credential too many, in whichever order: a host nearby could have set it.
    for two in [format!("{key}; {cookie}"), format!("{cookie}; {key}"), format!("{cookie}; X-API-KEY=x")] {
        let (status, problem) = browse(&service, &two, Method::GET, "/v1/user", None).await;
        assert_eq!((status, &problem["field"]), (StatusCode::BAD_REQUEST, &json!("Cookie")), "{problem}");
    }
    // A session's secret is no token.
    let secret = cookie.split('=').nth(1).unwrap();
    assert_eq!(service.call(Method::GET, "/v1/user", secret, None).await.0, StatusCode::UNAUTHORIZED);
    let twice = format!("{cookie}; {cookie}");
    assert_eq!(browse(&service, &twice, Method::GET, "/v1/user", None).await.0, StatusCode::BAD_REQUEST);
    service.stop().await;
}

/// Who a cookie says that it is, as its status.
async fn who_am_i(service: &Service, cookie: &str) -> StatusCode {
    browse(service, cookie, Method::GET, "/v1/user", None).await.0
}

fn made_up() -> String {
    format!("counterfoil_session={}", Plaintext::mint("cf_ses_", &random()).into_shown())
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_cookies_count_before_the_database_is_asked() {
    let few = |config: &mut counterfoil::config::Config| {
        let number = |number: u32| number.try_into().unwrap();
        (config.limits.failures_per_second, config.limits.failures_burst) = (number(1), number(3));
    };
    // At a first start, whoever waits for the first token fails for a while.
    let service = Service::start_with(few, |edge| edge).await.restart().await;
    let owners = signed_in(&service, OWNER, &owners_password(&service)).await;
    // Each counts once.
    let (began, mut looked_at) = (std::time::Instant::now(), 0);
    while who_am_i(&service, &made_up()).await == StatusCode::UNAUTHORIZED && looked_at < 100 {
        looked_at += 1;
    }
    assert!((3..=4 + began.elapsed().as_secs()).contains(&looked_at), "{looked_at}");
    // Whoever has signed in here is not held up by that.
    assert_eq!(who_am_i(&service, &owners).await, StatusCode::OK);

    // The database answers nobody. What cannot be a secret is refused all the same, and then whatever is made up.
    let service = service.restart().await;
    assert_eq!(who_am_i(&service, &owners).await, StatusCode::OK);
    let pool = service.database.pool.clone();
    let held =
        futures_util::future::join_all((0..pool.options().get_max_connections()).map(|_| pool.acquire()));
    let held: Vec<_> = held.await.into_iter().map(Result::unwrap).collect();
    let secret = made_up();
    let held_up = StatusCode::TOO_MANY_REQUESTS;
    for unlike in
        [&secret[..secret.len() - 1], &secret.replacen("cf_ses_", "cf_pat_", 1), "counterfoil_session=x"]
    {
        let status = who_am_i(&service, unlike).await;
        assert!([StatusCode::UNAUTHORIZED, held_up].contains(&status), "{unlike}: {status}");
    }
    // The allowance comes back meanwhile, slowly; so it is used up right before.
    let mut status = StatusCode::OK;
    for _ in 0..3 {
        while who_am_i(&service, "counterfoil_session=x").await != held_up {}
        status = who_am_i(&service, &secret).await;
        if status == held_up {
            break;
        }
    }
    assert_eq!(status, held_up);
    let (known, ()) = tokio::join!(who_am_i(&service, &owners), async { drop(held) });
    assert_eq!(known, StatusCode::OK);

    // What has worked does not work for ever.
    browse(&service, &owners, Method::DELETE, "/v1/session", None).await;
    assert_ne!(who_am_i(&service, &owners).await, StatusCode::OK);
    service.stop().await;
}
