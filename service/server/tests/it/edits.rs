//! Edits of a token: what they change, what they leave alone, and what they refuse.

mod itself;
mod misplaced;
mod times;

use crate::support::Service;
use counterfoil::clock::Clock;
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
    let no_fields = [json!({ "expires_in": 3600 }), json!({ "expiresAt": expiry }), json!({ "ttl": "1h" })];
    for body in no_fields.into_iter().chain([json!({ "scopes": null })]) {
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

fn tag_of(response: &Response) -> String {
    response.headers()["etag"].to_str().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_another_version_is_refused() {
    let service = Service::start().await;
    let token = service.issue(json!({})).await;
    let path = path(&token);
    let tag = tag_of;
    let first = tag(&send(&service, Method::GET, &path, &[], json!({})).await);
    let patched = send(&service, Method::PATCH, &path, &[&first], json!({ "note": "a" })).await;
    let second = tag(&patched);
    assert_eq!(patched.status(), StatusCode::OK);
    assert_ne!(first, second);
    assert_eq!(tag(&send(&service, Method::GET, &path, &[], json!({})).await), second);
    let rotate = format!("{path}/rotate");
    let unquoted = second.trim_matches('"').to_string();
    let weak = format!("W/{second}");
    let list = format!("\"x\", {first}");
    let (disable, enable) = (format!("{path}/disable"), format!("{path}/enable"));
    for stale in [
        vec![first.as_str()],
        vec![&unquoted],
        vec![&weak],
        vec![""],
        vec!["\"x\""],
        vec![&list],
        vec![&second, "*"],
    ] {
        for (method, path, body) in [
            (Method::PATCH, &path, json!({ "note": "b" })),
            (Method::POST, &rotate, json!({})),
            (Method::POST, &disable, json!({})),
            (Method::DELETE, &path, json!({})),
        ] {
            let refused = send(&service, method, path, &stale, body).await;
            assert_eq!(refused.status(), StatusCode::PRECONDITION_FAILED, "{stale:?}");
            assert_eq!(refused.json::<Value>().await.unwrap()["type"], "/problems/changed-meanwhile");
        }
    }
    let rotated =
        send(&service, Method::POST, &rotate, &[&first, &format!("{weak}, {second}")], json!({})).await;
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

    // Switched and ended as it was seen; to what is so already it does not matter what was.
    let seen = tag_of(&send(&service, Method::GET, &path, &[], json!({})).await);
    for (what, before) in [(&disable, &seen), (&disable, &first)] {
        assert_eq!(send(&service, Method::POST, what, &[before], json!({})).await.status(), StatusCode::OK);
    }
    let stale = send(&service, Method::POST, &enable, &[&seen], json!({})).await;
    assert_eq!(stale.status(), StatusCode::PRECONDITION_FAILED);
    let off = tag_of(&send(&service, Method::GET, &path, &[], json!({})).await);
    let on = tag_of(&send(&service, Method::POST, &enable, &[&off], json!({})).await);
    for tag in [&on, &on, &first] {
        let ended = send(&service, Method::DELETE, &path, &[tag], json!({})).await;
        assert_eq!(ended.status(), StatusCode::NO_CONTENT);
    }
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
