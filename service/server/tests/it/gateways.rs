//! Gateways over HTTP: a life, a rotation, and who may do what.

use crate::support::Service;
use crate::support::people::person;
use counterfoil_domain::role::Role;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}"))
}

/// Introspects the owner's token with a gateway's credentials.
async fn introspect(service: &Service, id: &str, secret: &str) -> (StatusCode, Value) {
    let request = Client::new().post(format!("{}/oauth2/introspect", service.base()));
    let form = format!("token={}", service.made.owner.token);
    let request = request.basic_auth(id, Some(secret)).body(form);
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_lives_and_is_removed() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let (status, made) =
        service.call(Method::POST, "/v1/gateways", &owner, Some(json!({ "name": "edge" }))).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let (id, client_id, secret) = (text(&made, "id"), text(&made, "client_id"), text(&made, "client_secret"));
    assert_eq!((&made["kinds"], &made["environment_id"]), (&json!(["personal", "caller"]), &Value::Null));
    assert!(text(&made["token"], "hint").starts_with("cf_gw_") && made["token"].get("plaintext").is_none());
    let (status, answer) = introspect(&service, client_id, secret).await;
    assert_eq!((status, &answer["active"]), (StatusCode::OK, &json!(true)));

    let path = format!("/v1/gateways/{id}");
    let (_, shown) = service.call(Method::GET, &path, &owner, None).await;
    assert!(shown.get("client_secret").is_none() && shown["name"] == "edge", "{shown}");
    // Change what it is named and what it sees, guarded by the tag.
    let patch = |tag: &'static str, body: Value| {
        let request = Client::new().patch(format!("{}{path}", service.base())).bearer_auth(&owner);
        let request = if tag.is_empty() { request } else { request.header("if-match", tag) };
        async move { request.json(&body).send().await.unwrap() }
    };
    assert_eq!(patch("\"1\"", json!({ "name": "x" })).await.status(), StatusCode::PRECONDITION_FAILED);
    let changed = patch("", json!({ "name": "front", "kinds": ["caller"] })).await;
    let tag = changed.headers()["etag"].to_str().unwrap().to_string();
    assert_eq!(changed.json::<Value>().await.unwrap()["name"], "front");
    assert_eq!(introspect(&service, client_id, secret).await.1, json!({ "active": false }));
    let again = patch("", json!({ "name": "front", "kinds": ["caller"] })).await;
    assert_eq!(again.headers()["etag"], tag.as_str());
    assert_eq!(service.events("gateway.changed").await, 1);
    patch("", json!({ "kinds": ["personal"] })).await;
    assert_eq!(introspect(&service, client_id, secret).await.1["active"], true);
    for (body, field) in [
        (json!({ "kinds": ["gateway"] }), "kinds"),
        (json!({ "kinds": [] }), "kinds"),
        (json!({ "name": " " }), "name"),
        (json!({ "name": "a\0" }), "name"),
        (json!({ "name": secret }), "name"),
    ] {
        let refused = patch("", body.clone()).await;
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(refused.json::<Value>().await.unwrap()["field"], field);
    }

    // Removed: refused at once, whoever asks, with every credential; and gone.
    let (_, second) = service.call(Method::POST, &format!("{path}/tokens"), &owner, None).await;
    let free_text = Some(json!({ "reason": "free text" }));
    let (status, problem) = service.call(Method::DELETE, &path, &owner, free_text).await;
    assert_eq!((status, text(&problem, "field")), (StatusCode::UNPROCESSABLE_ENTITY, "reason"));
    for (door, tag) in
        [(path.clone(), tag.as_str()), (format!("{path}/tokens/{}", text(&second, "id")), "\"1\"")]
    {
        let stale = Client::new().delete(format!("{}{door}", service.base())).bearer_auth(&owner);
        let stale = stale.header("if-match", tag).send().await.unwrap();
        assert_eq!(stale.status(), StatusCode::PRECONDITION_FAILED, "{door}");
    }
    let removed = service.call(Method::DELETE, &path, &owner, Some(json!({ "reason": "retired" }))).await;
    assert_eq!(
        (removed.0, reason(&service, "gateway.removed").await),
        (StatusCode::NO_CONTENT, json!("retired"))
    );
    for secret in [secret, text(&second, "plaintext")] {
        let (status, answer) = introspect(&service, client_id, secret).await;
        assert_eq!((status, &answer["error"]), (StatusCode::UNAUTHORIZED, &json!("invalid_client")));
    }
    assert_eq!(service.call(Method::DELETE, &path, &owner, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(service.events("gateway.removed").await, 1);
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::PATCH, path.clone()),
        (Method::GET, format!("{path}/tokens")),
        (Method::POST, format!("{path}/tokens")),
    ] {
        assert_eq!(service.call(method, &path, &owner, None).await.0, StatusCode::NOT_FOUND);
    }
    let (_, list) = service.call(Method::GET, "/v1/gateways", &owner, None).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    service.stop().await;
}

/// The reason in the only event of a type.
async fn reason(service: &Service, name: &str) -> Value {
    let sql = "SELECT record FROM events WHERE type = $1";
    let record: String = sqlx::query_scalar(sql).bind(name).fetch_one(&service.database.pool).await.unwrap();
    serde_json::from_str::<Value>(&record).unwrap()["body"]["reason"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_rotated_between_two_tokens() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let id = &service.made.gateway.client_id;
    let first = service.made.gateway.client_secret.clone();
    let (_, list) = service.call(Method::GET, "/v1/gateways", &owner, None).await;
    let path = format!("/v1/gateways/{}/tokens", text(&list["items"][0], "id"));
    let (status, second) = service.call(Method::POST, &path, &owner, None).await;
    assert_eq!(status, StatusCode::CREATED);
    let plaintext = text(&second, "plaintext");
    for secret in [&first, plaintext] {
        assert_eq!(introspect(&service, id, secret).await.1["active"], true);
    }
    let (_, tokens) = service.call(Method::GET, &path, &owner, None).await;
    assert_eq!(tokens["items"][0]["id"], second["id"]);
    let old = format!("{path}/{}", text(&tokens["items"][1], "id"));
    let leaked = Some(json!({ "reason": "key_leaked" }));
    assert_eq!(service.call(Method::DELETE, &old, &owner, leaked).await.0, StatusCode::NO_CONTENT);
    assert_eq!(reason(&service, "token.revoked").await, json!("key_leaked"));
    assert_eq!(introspect(&service, id, &first).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(introspect(&service, id, plaintext).await.1["active"], true);
    assert_eq!(service.call(Method::DELETE, &old, &owner, None).await.0, StatusCode::NO_CONTENT);
    let (_, tokens) = service.call(Method::GET, &format!("{path}?limit=1"), &owner, None).await;
    let next = format!("{path}?limit=1&cursor={}", text(&tokens, "next_cursor"));
    let (_, tokens) = service.call(Method::GET, &next, &owner, None).await;
    assert_eq!((&tokens["items"][0]["state"], &tokens["next_cursor"]), (&json!("revoked"), &Value::Null));
    // Ten stand at most.
    for _ in 0..9 {
        assert_eq!(service.call(Method::POST, &path, &owner, None).await.0, StatusCode::CREATED);
    }
    let (status, problem) = service.call(Method::POST, &path, &owner, None).await;
    assert_eq!((status, &problem["type"]), (StatusCode::CONFLICT, &json!("/problems/token-limit")));
    // A token of a user is not ended through this door.
    let (_, own) = service.call(Method::GET, "/v1/token", &owner, None).await;
    let wrong = format!("{path}/{}", text(&own, "id"));
    assert_eq!(service.call(Method::DELETE, &wrong, &owner, None).await.0, StatusCode::NOT_FOUND);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_registration_happens_once_and_shows_nothing_twice() {
    let service = Service::start().await;
    let register = || service.post_once("/v1/gateways", "k", json!({ "name": "edge" }));
    let (registered, repeated) = (register().await, register().await);
    assert_eq!((registered.0, repeated.0), (StatusCode::CREATED, StatusCode::OK));
    assert_eq!(text(&repeated.1, "client_secret"), "not_repeated");
    assert_eq!((&registered.1["id"], &registered.1["token"]), (&repeated.1["id"], &repeated.1["token"]));
    assert_eq!(service.events("gateway.registered").await, 2);
    let other = service.post_once("/v1/gateways", "k", json!({ "name": "other" })).await;
    assert_eq!(other.0, StatusCode::UNPROCESSABLE_ENTITY);
    let path = format!("/v1/gateways/{}/tokens", text(&registered.1, "id"));
    let issue = || service.post_once(&path, "t", json!({}));
    let (issued, repeated) = (issue().await, issue().await);
    assert_eq!((issued.0, repeated.0), (StatusCode::CREATED, StatusCode::OK));
    assert_eq!((&issued.1["id"], text(&repeated.1, "plaintext")), (&repeated.1["id"], "not_repeated"));

    // They happened, whatever became of the gateway since.
    let (owner, gateway) = (&service.made.owner.token, path.strip_suffix("/tokens").unwrap());
    assert_eq!(service.call(Method::DELETE, gateway, owner, None).await.0, StatusCode::NO_CONTENT);
    let repeated = register().await;
    assert_eq!((repeated.0, &repeated.1["id"]), (StatusCode::OK, &registered.1["id"]), "{}", repeated.1);
    assert_eq!(text(&repeated.1, "client_secret"), "not_repeated");
    assert_eq!(text(&repeated.1["token"], "state"), "revoked");
    let repeated = issue().await;
    assert_eq!((repeated.0, &repeated.1["id"]), (StatusCode::OK, &issued.1["id"]), "{}", repeated.1);
    assert_eq!((text(&repeated.1, "plaintext"), text(&repeated.1, "state")), ("not_repeated", "revoked"));
    assert_eq!(service.events("gateway.registered").await, 2);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environments_gateway_sees_no_personal_tokens() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let environment: uuid::Uuid =
        sqlx::query_scalar("SELECT id FROM environments").fetch_one(&service.database.pool).await.unwrap();
    let register = |environment| {
        let body = json!({ "name": "edge", "environment_id": environment });
        service.call(Method::POST, "/v1/gateways", &owner, Some(body))
    };
    let (_, made) = register(environment).await;
    assert_eq!(made["environment_id"], environment.to_string());
    let (status, answer) = introspect(&service, text(&made, "client_id"), text(&made, "client_secret")).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({ "active": false })));
    let (status, problem) = register(uuid::Uuid::nil()).await;
    assert_eq!((status, &problem["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("environment_id")));

    // An id has one spelling, as in a path.
    for spelling in
        [environment.simple().to_string(), environment.braced().to_string(), environment.urn().to_string()]
    {
        let body = json!({ "name": "edge", "environment_id": spelling });
        let (status, problem) = service.call(Method::POST, "/v1/gateways", &owner, Some(body)).await;
        assert_eq!(
            (status, &problem["field"]),
            (StatusCode::BAD_REQUEST, &json!("environment_id")),
            "{spelling}"
        );
    }

    // It is moved: to no environment, back, and nowhere else.
    let path = format!("/v1/gateways/{}", text(&made, "id"));
    let patch = |environment| {
        let body = json!({ "environment_id": environment });
        service.call(Method::PATCH, &path, &owner, Some(body))
    };
    let sees = async || introspect(&service, text(&made, "client_id"), text(&made, "client_secret")).await.1;
    for environment in [None, None, Some(environment)] {
        let (status, changed) = patch(environment).await;
        assert_eq!((status, &changed["environment_id"]), (StatusCode::OK, &json!(environment)));
        assert_eq!(sees().await["active"], environment.is_none());
        assert_eq!(service.call(Method::GET, &path, &owner, None).await.1, changed);
    }
    assert_eq!(service.events("gateway.changed").await, 2);
    let (status, problem) = patch(Some(uuid::Uuid::nil())).await;
    assert_eq!((status, &problem["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("environment_id")));
    // What is not said stays, over a restart too.
    let renamed = service.call(Method::PATCH, &path, &owner, Some(json!({ "name": "inner" }))).await.1;
    assert_eq!(renamed["environment_id"], json!(environment));
    let service = service.restart().await;
    assert_eq!(service.call(Method::GET, &path, &owner, None).await.1, renamed);
    let secret = text(&made, "client_secret");
    assert_eq!(introspect(&service, text(&made, "client_id"), secret).await.1, json!({ "active": false }));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_are_for_those_who_may() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let (_, list) = service.call(Method::GET, "/v1/gateways", &owner, None).await;
    let id = text(&list["items"][0], "id").to_string();
    let path = format!("/v1/gateways/{id}");
    let tokens = format!("{path}/tokens");
    let (_, issued) = service.call(Method::GET, &tokens, &owner, None).await;
    let token = format!("{tokens}/{}", text(&issued["items"][0], "id"));
    let name = || Some(json!({ "name": "x" }));
    let reads =
        [(Method::GET, "/v1/gateways", None), (Method::GET, &path, None), (Method::GET, &tokens, None)];
    let writes = [
        (Method::POST, "/v1/gateways", name()),
        (Method::PATCH, &path, name()),
        (Method::POST, &tokens, None),
        (Method::DELETE, &token, None),
        (Method::DELETE, &path, None),
    ];
    let all = || reads.clone().into_iter().chain(writes.clone());
    let member = person(&service, "member@example.com", Role::Member).await;
    let auditor = person(&service, "auditor@example.com", Role::Auditor).await;
    let read_only = text(&service.issue(json!({ "scopes": ["read"] })).await, "plaintext").to_string();
    for (method, path, body) in all() {
        let as_who = async |token: &str| service.call(method.clone(), path, token, body.clone()).await;
        assert_eq!(as_who("").await.0, StatusCode::UNAUTHORIZED, "{method} {path}");
        assert_eq!(as_who(&service.made.gateway.client_secret).await.0, StatusCode::UNAUTHORIZED);
        assert_eq!(as_who(&member.plaintext).await.1["type"], "/problems/forbidden", "{method} {path}");
        let (auditors, narrow) = (as_who(&auditor.plaintext).await, as_who(&read_only).await);
        if method == Method::GET {
            assert_eq!((auditors.0, narrow.0), (StatusCode::OK, StatusCode::OK), "{path}");
        } else {
            assert_eq!(auditors.1["type"], "/problems/forbidden", "{method} {path}");
            assert_eq!(narrow.1["type"], "/problems/insufficient-scope", "{method} {path}");
        }
    }
    // Another organization's is what is missing: to the byte, and nothing happens to it.
    let sql = "UPDATE gateways SET organization_id = gen_random_uuid()";
    sqlx::query(sql).execute(&service.database.pool).await.unwrap();
    let missing = |path: &str| path.replace(&id, "00000000-0000-0000-0000-000000000000");
    for (method, path, body) in all().filter(|(_, path, _)| *path != "/v1/gateways") {
        let foreign = service.call(method.clone(), path, &owner, body.clone()).await;
        assert_eq!(foreign.0, StatusCode::NOT_FOUND, "{method} {path}");
        assert_eq!(foreign, service.call(method.clone(), &missing(path), &owner, body).await);
    }
    let (_, list) = service.call(Method::GET, "/v1/gateways", &owner, None).await;
    assert_eq!(list["items"], json!([]));
    assert_eq!((service.events("gateway.removed").await, service.events("token.revoked").await), (0, 0));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn null_is_no_way_to_say_as_it_was() {
    let service = Service::start().await;
    let owner = &service.made.owner.token;
    let path = format!("/v1/gateways/{}", service.made.gateway.client_id);
    for (method, path, body) in [
        (Method::PATCH, path.as_str(), json!({ "name": null })),
        (Method::PATCH, path.as_str(), json!({ "kinds": null })),
        (Method::POST, "/v1/gateways", json!({ "name": "edge", "kinds": null })),
    ] {
        let (status, problem) = service.call(method, path, owner, Some(body.clone())).await;
        assert_eq!(
            (status, &problem["type"]),
            (StatusCode::BAD_REQUEST, &json!("/problems/malformed")),
            "{body}"
        );
    }
    service.stop().await;
}
