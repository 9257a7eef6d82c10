//! Edits of a token: what they change, what they leave alone, and what they refuse.

use crate::support::Service;
use crate::support::people::person;
use crate::support::raw::Raw;
use counterfoil::clock::Clock;
use counterfoil_domain::role::Role;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

const TOKENS: &str = "/v1/user/tokens";

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

/// The path of a token.
fn path(token: &Value) -> String {
    format!("{TOKENS}/{}", text(token, "id"))
}

/// How many events requests have led to. The first use of a new plaintext leads to one a moment later.
async fn events(service: &Service) -> i64 {
    let sql = "SELECT count(*) FROM events WHERE type <> 'token.previous_ended'";
    sqlx::query_scalar(sql).fetch_one(&service.database.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_has_one_verdict_at_every_door() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let (narrowed, rotated) = (service.issue(json!({})).await, service.issue(json!({})).await);
    let doors = [
        (Method::POST, TOKENS.to_string()),
        (Method::PATCH, path(&narrowed)),
        (Method::POST, format!("{}/rotate", path(&rotated))),
    ];
    let send = async |door: &(Method, String), expires_at: &Value| {
        let body = Some(json!({ "expires_at": expires_at }));
        service.call(door.0.clone(), &door.1, &owner, body).await
    };
    // The latest first, so that each narrows what the one before left.
    for (instant, written, seconds) in [
        ("2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z", 1_835_395_200),
        ("2027-12-31T23:30:00-01:00", "2028-01-01T00:30:00Z", 1_830_299_400),
        ("2027-06-01T00:00:00.123456789Z", "2027-06-01T00:00:00.123456Z", 1_811_808_000),
        ("2027-06-01t00:00:00.1z", "2027-06-01T00:00:00.1Z", 1_811_808_000),
        ("2027-06-01T00:30:00+14:00", "2027-05-31T10:30:00Z", 1_811_759_400),
    ] {
        for door in &doors {
            let (status, token) = send(door, &json!(instant)).await;
            assert!(status.is_success(), "{door:?} {instant}: {token}");
            assert_eq!(token["expires_at"], written, "{door:?}");
            if let Some(plaintext) = token["plaintext"].as_str() {
                assert_eq!(service.introspect(plaintext).await["exp"], seconds);
            }
        }
        assert_eq!(service.introspect(text(&narrowed, "plaintext")).await["exp"], seconds);
    }
    let before = events(&service).await;
    for wrong in [
        json!("2027-02-29T00:00:00Z"),
        json!("2100-02-29T00:00:00Z"),
        json!("2027-06-31T00:00:00Z"),
        json!("2027-06-01"),
        json!("2027-06-01T00:00:00"),
        json!("2027-06-01T00:00:00+0100"),
        json!("2027-06-01T00:00:00+25:00"),
        json!("2027-06-01T00:00:00+01:60"),
        json!("2027-06-01T24:00:00Z"),
        json!("2027-06-01T00:00:00,5Z"),
        json!("2027-06-01T12:34:60Z"),
        json!(" 2027-06-01T00:00:00Z"),
        json!("2027-06-01 00:00:00Z"),
        json!(""),
        json!("1811808000"),
        json!(1_811_808_000),
        json!(true),
        json!({}),
        json!(["2027-06-01T00:00:00Z"]),
    ] {
        for door in &doors {
            let (status, problem) = send(door, &wrong).await;
            let verdict = (status, &problem["type"], &problem["field"]);
            let right = (StatusCode::BAD_REQUEST, &json!("/problems/malformed"), &json!("expires_at"));
            assert_eq!(verdict, right, "{door:?} {wrong}: {problem}");
        }
    }
    // Well-formed, and not allowed.
    for door in &doors {
        let (status, problem) = send(door, &json!("1970-01-31T00:00:00Z")).await;
        assert_eq!(
            (status, text(&problem, "field")),
            (StatusCode::UNPROCESSABLE_ENTITY, "expires_at"),
            "{door:?}"
        );
    }
    assert_eq!(events(&service).await, before);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_changes_what_it_names_and_nothing_else() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let at = |seconds| Clock::system().now().plus_seconds(seconds).to_string();
    let (expiry, later) = (at(3600), at(90_000));
    let token = service.issue(json!({ "note": "first", "scopes": ["read"], "expires_at": expiry })).await;
    let path = path(&token);
    let mut before = service.call(Method::GET, &path, &owner, None).await.1;
    // What changes, the status, and how many events it takes.
    for (body, status, changes, happened) in [
        (json!({ "note": "renamed" }), 200, json!({ "note": "renamed" }), 1),
        (json!({ "note": "renamed" }), 200, json!({}), 0),
        (json!({}), 200, json!({}), 0),
        (json!({ "note": null }), 200, json!({ "note": null }), 1),
        (json!({ "note": null }), 200, json!({}), 0),
        (json!({ "note": "" }), 200, json!({ "note": "" }), 1),
        (json!({ "expires_at": null }), 422, json!({}), 0),
        (json!({ "expires_at": later }), 422, json!({}), 0),
        (json!({ "expires_at": "1970-01-31T00:00:00Z" }), 422, json!({}), 0),
        (json!({ "expires_at": expiry }), 200, json!({}), 0),
        (json!({ "scopes": ["read"] }), 200, json!({}), 0),
        (json!({ "scopes": ["read", "read"] }), 200, json!({}), 0),
        (json!({ "scopes": ["read", "write"] }), 422, json!({}), 0),
        (json!({ "scopes": ["write"] }), 422, json!({}), 0),
        (json!({ "scopes": ["other"] }), 422, json!({}), 0),
        (json!({ "scopes": [] }), 422, json!({}), 0),
        (json!({ "scopes": null }), 400, json!({}), 0),
        (json!({ "note": 1 }), 400, json!({}), 0),
        (json!({ "note": "x".repeat(201) }), 422, json!({}), 0),
        (json!({ "note": "a\u{0}b" }), 422, json!({}), 0),
        (json!({ "note": "half", "expires_at": later }), 422, json!({}), 0),
        (json!({ "note": "half", "state": "live" }), 400, json!({}), 0),
        (json!({ "expires_in": 3600 }), 400, json!({}), 0),
        (json!({ "expiresAt": expiry }), 400, json!({}), 0),
        (json!({ "ttl": "1h" }), 400, json!({}), 0),
        (json!([]), 400, json!({}), 0),
        (json!(["by place"]), 400, json!({}), 0),
        (json!({ "note": "ü".repeat(200), "scopes": ["read"] }), 200, json!({ "note": "ü".repeat(200) }), 1),
    ] {
        let count = events(&service).await;
        let (answered, answer) = service.call(Method::PATCH, &path, &owner, Some(body.clone())).await;
        assert_eq!(answered.as_u16(), status, "{body}: {answer}");
        assert_eq!(events(&service).await, count + happened, "{body}");
        for (field, value) in changes.as_object().unwrap() {
            before[field] = value.clone();
        }
        let mut after = service.call(Method::GET, &path, &owner, None).await.1;
        // Introspection below is a use.
        for field in ["last_used_at", "last_used_by", "uses"] {
            after[field] = before[field].clone();
        }
        assert_eq!(after, before, "{body}");
        let answer = service.introspect(text(&token, "plaintext")).await;
        assert_eq!((&answer["active"], &answer["scope"]), (&json!(true), &json!("read")), "{body}");
    }
    for body in [json!({ "expires_in": 3600 }), json!({ "expiresAt": expiry }), json!({ "ttl": "1h" })] {
        let (status, _) = service.call(Method::POST, TOKENS, &owner, Some(body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
    service.stop().await;
}

async fn send(service: &Service, method: Method, path: &str, if_match: &[&str], body: Value) -> Response {
    let request = Client::new().request(method, format!("{}{path}", service.base()));
    let request = if_match.iter().fold(request, |request, tag| request.header("if-match", *tag));
    request.bearer_auth(&service.made.owner.token).json(&body).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_another_version_is_refused() {
    let service = Service::start().await;
    let token = service.issue(json!({})).await;
    let path = path(&token);
    let tag = |response: &Response| response.headers()["etag"].to_str().unwrap().to_string();
    let first = tag(&send(&service, Method::GET, &path, &[], json!({})).await);
    let patched = send(&service, Method::PATCH, &path, &[&first], json!({ "note": "a" })).await;
    let second = tag(&patched);
    assert_eq!(patched.status(), StatusCode::OK);
    assert_ne!(first, second);
    assert_eq!(tag(&send(&service, Method::GET, &path, &[], json!({})).await), second);
    let rotate = format!("{path}/rotate");
    let unquoted = second.trim_matches('"').to_string();
    let weak = format!("W/{second}");
    for stale in
        [vec![first.as_str()], vec![&unquoted], vec![&weak], vec![""], vec!["\"x\""], vec![&second, &first]]
    {
        for (method, path, body) in
            [(Method::PATCH, &path, json!({ "note": "b" })), (Method::POST, &rotate, json!({}))]
        {
            let refused = send(&service, method, path, &stale, body).await;
            assert_eq!(refused.status(), StatusCode::PRECONDITION_FAILED, "{stale:?}");
            assert_eq!(refused.json::<Value>().await.unwrap()["type"], "/problems/changed-meanwhile");
        }
    }
    let rotated = send(&service, Method::POST, &rotate, &[&second], json!({})).await;
    assert_eq!(rotated.status(), StatusCode::OK);
    let third = tag(&rotated);
    assert_ne!(third, second);
    let patched = send(&service, Method::PATCH, &path, &["*"], json!({ "note": "c" })).await;
    assert_eq!(patched.status(), StatusCode::OK);
    // Two at once with one tag: one of them happens.
    let tag = tag(&patched);
    let tags = [tag.as_str()];
    let (a, b) = tokio::join!(
        send(&service, Method::PATCH, &path, &tags, json!({ "note": "d" })),
        send(&service, Method::PATCH, &path, &tags, json!({ "note": "e" })),
    );
    let mut statuses = [a.status().as_u16(), b.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_switched_off_and_on_and_ends_for_good() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let token = service.issue(json!({})).await;
    let (plaintext, path) = (text(&token, "plaintext"), path(&token));
    let post = async |what: &str| service.call(Method::POST, &format!("{path}/{what}"), &owner, None).await;
    let is_active = async |plaintext: &str| service.introspect(plaintext).await["active"] == true;
    for (what, state) in
        [("disable", "disabled"), ("disable", "disabled"), ("enable", "live"), ("enable", "live")]
    {
        let (status, record) = post(what).await;
        assert_eq!((status, text(&record, "state")), (StatusCode::OK, state));
        assert_eq!(is_active(plaintext).await, state == "live", "{what}");
    }
    assert_eq!((service.events("token.disabled").await, service.events("token.enabled").await), (1, 1));
    // A disabled token stays so through a rotation, and neither of its plaintexts comes back by it.
    let (_, rotated) = post("rotate").await;
    post("disable").await;
    let (_, again) = post("rotate").await;
    assert_eq!((text(&again, "state"), again.get("previous_ends_at")), ("disabled", None));
    for plaintext in [plaintext, text(&rotated, "plaintext"), text(&again, "plaintext")] {
        assert!(!is_active(plaintext).await);
    }
    post("enable").await;
    assert!(!is_active(plaintext).await && !is_active(text(&rotated, "plaintext")).await);
    assert!(is_active(text(&again, "plaintext")).await);
    assert_eq!(service.call(Method::DELETE, &path, &owner, None).await.0, StatusCode::NO_CONTENT);
    for what in ["disable", "enable", "rotate"] {
        assert_eq!(post(what).await.0, StatusCode::CONFLICT, "{what}");
    }
    let (status, _) = service.call(Method::PATCH, &path, &owner, Some(json!({ "note": "x" }))).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(service.call(Method::GET, &path, &owner, None).await.1["state"], "revoked");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overlap_is_a_time_or_until_used() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let token = service.issue(json!({})).await;
    let path = format!("{}/rotate", path(&token));
    for (overlap, status) in [
        (json!(-1), 422),
        (json!(2_592_001), 422),
        (json!(i64::MAX), 422),
        (json!(u64::MAX), 400),
        (json!(1.5), 400),
        (json!("0"), 422),
        (json!("forever"), 422),
        (json!([0]), 400),
        (json!(2_592_000), 200),
        (json!("until_used"), 200),
        (json!(0), 200),
        (Value::Null, 200),
    ] {
        let body = Some(json!({ "overlap": overlap }));
        let (answered, answer) = service.call(Method::POST, &path, &owner, body).await;
        assert_eq!(answered.as_u16(), status, "{overlap}: {answer}");
        if status == 200 {
            assert_eq!(answer.get("previous_ends_at").is_some(), overlap != json!(0), "{overlap}");
        } else {
            assert!(matches!(text(&answer, "field"), "overlap" | "body"), "{answer}");
        }
    }
    // A later expiry is not stronger, so a rotation may set one.
    let (_, sooner) = service
        .call(Method::POST, &path, &owner, Some(json!({ "expires_at": "2031-01-01T00:00:00Z" })))
        .await;
    let (_, later) = service
        .call(Method::POST, &path, &owner, Some(json!({ "expires_at": "2032-01-01T00:00:00Z" })))
        .await;
    let (_, kept) = service.call(Method::POST, &path, &owner, Some(json!({}))).await;
    let (_, never) = service.call(Method::POST, &path, &owner, Some(json!({ "expires_at": null }))).await;
    let expiries = [&sooner, &later, &kept, &never].map(|token| token["expires_at"].clone());
    let expected = [
        json!("2031-01-01T00:00:00Z"),
        json!("2032-01-01T00:00:00Z"),
        json!("2032-01-01T00:00:00Z"),
        Value::Null,
    ];
    assert_eq!(expiries, expected);
    service.stop().await;
}

/// A request as bytes.
fn request(token: &str, method: &str, path: &str, body: &str, kind: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_acts_on_itself_gets_its_whole_answer() {
    let service = Service::start().await;
    let form = "application/x-www-form-urlencoded";
    let json = "application/json";
    for (method, at, body, kind, first, second) in [
        ("DELETE", "id", "", json, 204, 401),
        ("POST", "/v1/token/rotate", r#"{"overlap":0}"#, json, 200, 401),
        ("POST", "/v1/token/rotate", r#"{"overlap":60}"#, json, 200, 200),
        ("POST", "/v1/token/rotate", "", json, 200, 200),
        ("PATCH", "id", r#"{"scopes":["read"]}"#, json, 200, 403),
        ("POST", "id/disable", "", json, 200, 401),
        ("POST", "/oauth2/revoke", "token", form, 200, 401),
        ("DELETE", TOKENS, "", json, 200, 401),
    ] {
        let bob = person(&service, &format!("{}@example.com", Clock::system().uuid()), Role::Member).await;
        let own = format!("{TOKENS}/{}", bob.token);
        let at = if let Some(rest) = at.strip_prefix("id") { format!("{own}{rest}") } else { at.to_string() };
        let body = if body == "token" { format!("token={}", bob.plaintext) } else { body.to_string() };
        // The next request is sent before the first is answered, on the same connection.
        let acts = request(&bob.plaintext, method, &at, &body, kind);
        let next = request(&bob.plaintext, "PATCH", &own, r#"{"note":"next"}"#, json);
        let mut raw = Raw::to(service.base()).await;
        raw.send(acts + &next).await;
        let (acted, after) = (raw.answer().await, raw.answer().await);
        assert_eq!((acted.status, after.status), (first, second), "{method} {at}: {acted:?} {after:?}");
        if at.ends_with("rotate") {
            let plaintext = acted.json()["plaintext"].as_str().unwrap().to_string();
            assert_eq!(service.introspect(&plaintext).await["active"], true);
        }
        if at == TOKENS {
            assert_eq!(acted.json(), json!({ "revoked": 1 }));
        }
    }
    // Prolonging itself needs more than to read.
    let narrow = service.issue(json!({ "scopes": ["read"] })).await;
    let (status, _) = service.call(Method::POST, "/v1/token/rotate", text(&narrow, "plaintext"), None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(
        service.call(Method::GET, "/v1/token", text(&narrow, "plaintext"), None).await.0,
        StatusCode::OK
    );
    // Rotating another token of its user's is no way to more scopes.
    let writer = service.issue(json!({ "scopes": ["write"] })).await;
    let other = format!("{}/rotate", path(&service.issue(json!({})).await));
    let (status, problem) = service.call(Method::POST, &other, text(&writer, "plaintext"), None).await;
    assert_eq!((status, text(&problem, "type")), (StatusCode::FORBIDDEN, "/problems/stronger-than-caller"));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plaintext_in_the_wrong_place_is_not_repeated() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let token = service.issue(json!({})).await;
    let (secret, path) = (text(&token, "plaintext"), path(&token));
    let mut said = String::new();
    let ask = async |method: Method, path: &str, header: &str, body: Value| {
        let request = Client::new().request(method, format!("{}{path}", service.base())).bearer_auth(&owner);
        let request = if header.is_empty() { request } else { request.header(header, secret) };
        let response = request.json(&body).send().await.unwrap();
        let status = response.status().as_u16();
        (status, format!("{:?} {}", response.headers().clone(), response.text().await.unwrap()))
    };
    let mut unknown = serde_json::Map::new();
    unknown.insert(secret.into(), json!(1));
    let unknown = Value::Object(unknown);
    for (method, at, header, body, status) in [
        (Method::POST, TOKENS.to_string(), "", json!({ "note": secret }), 422),
        (Method::POST, TOKENS.to_string(), "", json!({ "note": format!("the key is {secret}!") }), 422),
        (Method::PATCH, path.clone(), "", json!({ "note": secret }), 422),
        (Method::POST, TOKENS.to_string(), "", json!({ "scopes": [secret] }), 422),
        (Method::POST, TOKENS.to_string(), "", json!({ "expires_at": secret }), 400),
        (Method::POST, TOKENS.to_string(), "", json!(secret), 400),
        (Method::POST, TOKENS.to_string(), "", unknown.clone(), 400),
        (Method::PATCH, path.clone(), "", unknown, 400),
        (Method::POST, format!("{path}/rotate"), "", json!({ "overlap": secret }), 422),
        (Method::POST, format!("{path}/disable"), "", json!({ "reason": secret }), 422),
        (Method::DELETE, path.clone(), "", json!({ "reason": secret }), 422),
        (Method::GET, format!("{TOKENS}/{secret}"), "", json!({}), 404),
        (Method::DELETE, format!("{TOKENS}/{secret}"), "", json!({}), 404),
        (Method::POST, format!("{TOKENS}/{secret}/rotate"), "", json!({}), 404),
        (Method::GET, format!("/{secret}"), "", json!({}), 404),
        (Method::GET, format!("{TOKENS}?search={secret}"), "", json!({}), 200),
        (Method::GET, format!("{TOKENS}?cursor={secret}"), "", json!({}), 400),
        (Method::GET, format!("{TOKENS}?state={secret}"), "", json!({}), 400),
        (Method::GET, format!("{TOKENS}?{secret}=1"), "", json!({}), 400),
        (Method::POST, TOKENS.to_string(), "idempotency-key", json!({}), 201),
        (Method::POST, TOKENS.to_string(), "idempotency-key", json!({}), 200),
        (Method::GET, TOKENS.to_string(), "x-organization", json!({}), 400),
        (Method::GET, TOKENS.to_string(), "x-request-id", json!({}), 200),
        (Method::PATCH, path.clone(), "if-match", json!({ "note": "x" }), 412),
    ] {
        let (answered, answer) = ask(method.clone(), &at, header, body).await;
        assert_eq!(answered, status, "{method} {at} {header}: {answer}");
        said += &answer;
    }
    said += &service.metrics();
    assert!(!said.contains(secret));
    // The secret proper, without its prefix, is nowhere either.
    let core = &secret["cf_pat_".len() + 4..];
    assert!(!said.contains(core));
    for sql in [
        "SELECT count(*) FROM events e WHERE strpos(e::text, $1) > 0",
        "SELECT count(*) FROM tokens t WHERE strpos(t::text, $1) > 0",
        "SELECT count(*) FROM personal_values v WHERE strpos(v::text, $1) > 0",
        "SELECT count(*) FROM idempotency_keys k WHERE strpos(k::text, $1) > 0",
    ] {
        let found: i64 = sqlx::query_scalar(sql).bind(core).fetch_one(&service.database.pool).await.unwrap();
        assert_eq!(found, 0, "{sql}");
    }
    assert_eq!(service.introspect(secret).await["active"], true);
    service.stop().await;
}
