//! `api.yaml` is what the program says of itself, and what it does: every operation of the file is walked as a stranger,
//! with a foreign credential, with too few scopes, and as it is meant. Whatever comes back is in the file.

mod file;
mod walk;

use crate::support::Service;
use crate::support::people::{Person, person};
use counterfoil::http::document::yaml;
use counterfoil_domain::role::Role;
use file::{File, METHODS, Operation};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use walk::{As, Things, Walk};

#[test]
fn api_yaml_is_what_the_program_prints() {
    let (kept, printed) = (file::text(), yaml().unwrap());
    let differs = kept.lines().zip(printed.lines()).position(|(kept, printed)| kept != printed);
    assert!(
        kept.trim_end() == printed.trim_end(),
        "api.yaml differs from the routes, first after line {differs:?}: cargo run --bin counterfoil -- openapi > api.yaml"
    );
}

#[test]
fn every_operation_says_what_it_is() {
    let file = File::read();
    let mut ids = BTreeSet::new();
    for operation in &file.operations {
        let said = &operation.said;
        assert!(ids.insert(said["operationId"].to_string()), "{operation}: its id is another's too");
        assert!(
            said["summary"].as_str().is_some_and(|summary| summary.ends_with('.')),
            "{operation}: summary"
        );
        assert_eq!(said["tags"].as_array().map(Vec::len), Some(1), "{operation}: tags");
        let tag = &said["tags"][0];
        let tags = file.document["tags"].as_array().unwrap();
        assert!(tags.iter().any(|known| known["name"] == *tag), "{operation}: {tag} is not described");
        assert!(said["security"].is_array(), "{operation} does not say who may ask");
    }
    assert!(file.operations.len() > 15, "{}", file.operations.len());
}

/// A service that does not tire of strangers.
async fn start() -> Service {
    let much = 100_000.try_into().unwrap();
    let configure = |config: &mut counterfoil::config::Config| {
        config.limits.failures_burst = much;
        config.limits.strangers_burst = much;
    };
    Service::start_with(configure, |edge| edge).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routes_are_those_of_the_file() {
    let service = start().await;
    let file = File::read();
    let router = format!("{:?}", counterfoil::http::api(service.app().clone()));
    // axum shows its fallback as two more; that `/` is none of ours is asked below.
    let fallback = ["/", "/{*__private__axum_fallback}"];
    let quoted = router.split('"').skip(1).step_by(2);
    let routes: BTreeSet<&str> =
        quoted.filter(|text| text.starts_with('/') && !fallback.contains(text)).collect();
    let paths: BTreeSet<&str> = file.operations.iter().map(|operation| operation.path.as_str()).collect();
    assert_eq!(routes, paths);
    let walk = Walk::new(&service, &file);
    for path in paths {
        let known = file.operations.iter().filter(|operation| operation.path == path);
        let mut allowed: BTreeSet<&str> = known.map(|operation| operation.method.as_str()).collect();
        let others: Vec<_> =
            METHODS.into_iter().filter(|method| !allowed.contains(method.as_str())).collect();
        if allowed.contains("GET") {
            allowed.insert("HEAD");
        }
        for method in others {
            let answer = walk.send(method.clone(), &walk.random(path), &As::Nobody, None).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}: {answer:?}");
            let said: BTreeSet<&str> = answer.header("allow").split(',').map(str::trim).collect();
            assert_eq!(said, allowed, "{method} {path}");
            walk.assert_refusal(path, &answer);
        }
    }
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v2/token",
        "/oauth2/nothing",
        "/docs/",
        "/docs/page.js/x",
        "/metrics",
    ] {
        let answer = walk.send(reqwest::Method::GET, path, &As::Nobody, None).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {answer:?}");
        walk.assert_refusal(path, &answer);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_asked_for_a_credential_at_every_door_but_the_open_ones() {
    let service = start().await;
    let file = File::read();
    let walk = Walk::new(&service, &file);
    let open =
        ["livez", "readyz", "oauth_metadata", "openid_metadata", "openapi", "docs", "docs_file", "revoke"];
    for operation in &file.operations {
        let answer = walk.call(operation, &walk.random(&operation.path), &As::Nobody).await;
        if operation.id() == "sign_in" {
            assert!(operation.is_open() && answer.problem() == "/problems/sign-in-failed", "{answer:?}");
        } else if open.contains(&operation.id()) {
            assert!(operation.is_open() && answer.status.is_success(), "{operation}: {answer:?}");
        } else {
            assert!(!operation.is_open(), "{operation} is open");
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{operation}: {answer:?}");
        }
        let nonsense =
            walk.call(operation, &walk.random(&operation.path), &As::Bearer("cf_pat_nonsense".into())).await;
        assert!(
            operation.is_open() || nonsense.status == StatusCode::UNAUTHORIZED,
            "{operation}: {nonsense:?}"
        );
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_credential_opens_nothing() {
    let service = start().await;
    let file = File::read();
    let member = person(&service, "member@example.com", Role::Member).await;
    let owned = service.issue(json!({ "note": "the owner's" })).await;
    let walk = Walk::new(&service, &file);
    let things = things(&service, &owned).await;
    for operation in file.operations.iter().filter(|operation| !operation.is_open()) {
        let path = walk.at(&operation.path, &things);
        let own = &service.made.owner.token;
        if operation.takes("bearer") {
            the_members(&walk, operation, &path, &member, &things).await;
            the_gateways(&walk, operation, &path).await;
        } else if operation.takes("gateway_basic") {
            let pair = As::Basic(service.made.gateway.client_id.clone(), own.clone());
            for foreign in [As::Bearer(own.clone()), pair, As::Key(own.clone())] {
                let answer = walk.call(operation, &path, &foreign).await;
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{operation}: {answer:?}");
            }
        } else {
            let answer = walk.call(operation, &path, &As::Bearer(own.clone())).await;
            assert_eq!(answer.problem(), "/problems/session-needed", "{operation}: {answer:?}");
        }
    }
    // Whoever holds one token cannot end another by it.
    let revoke = file.operation("revoke");
    let plaintext = owned["plaintext"].as_str().unwrap();
    let body = format!("token={plaintext}");
    let answer =
        walk.send(revoke.method.clone(), &revoke.path, &As::Bearer(member.plaintext), Some(&body)).await;
    walk.assert_documented(revoke, &answer);
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    assert_eq!(service.introspect(plaintext).await["active"], true);
    let (_, after) = service
        .call(
            reqwest::Method::GET,
            &format!("/v1/user/tokens/{}", things.token),
            &service.made.owner.token,
            None,
        )
        .await;
    assert_eq!(
        (&after["note"], &after["state"], &after["generation"]),
        (&json!("the owner's"), &json!("live"), &json!(1))
    );
    service.stop().await;
}

/// The owner's: a token, the gateway and its token.
async fn things(service: &Service, token: &Value) -> Things {
    let get = async |path: &str| {
        let (status, page) = service.call(reqwest::Method::GET, path, &service.made.owner.token, None).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page["items"][0]["id"].as_str().unwrap().to_string()
    };
    let gateway = get("/v1/gateways").await;
    let gateway_token = get(&format!("/v1/gateways/{gateway}/tokens")).await;
    Things { token: token["id"].as_str().unwrap().into(), gateway, gateway_token }
}

/// A member of the same organization gets nothing of the owner's.
async fn the_members(walk: &Walk<'_>, operation: &Operation, path: &str, member: &Person, owned: &Things) {
    // Without an object it is about the member itself: to read that is enough here.
    if *path != operation.path || operation.id() == "register_gateway" {
        let answer = walk.call(operation, path, &As::Bearer(member.plaintext.clone())).await;
        let refused = [StatusCode::NOT_FOUND, StatusCode::FORBIDDEN].contains(&answer.status);
        assert!(refused, "{operation}: {answer:?}");
    } else if operation.method == "GET" {
        let answer = walk.call(operation, path, &As::Bearer(member.plaintext.clone())).await;
        assert!(
            answer.status.is_success() || answer.status == StatusCode::FORBIDDEN,
            "{operation}: {answer:?}"
        );
        let shows = [&owned.token, &owned.gateway_token].into_iter().any(|id| answer.text().contains(id));
        assert!(!shows, "{operation} shows what is the owner's: {answer:?}");
    }
}

/// A gateway's credentials are none here.
async fn the_gateways(walk: &Walk<'_>, operation: &Operation, path: &str) {
    let gateway = &walk.service.made.gateway;
    let pair = As::Basic(gateway.client_id.clone(), gateway.client_secret.clone());
    for foreign in [As::Bearer(gateway.client_secret.clone()), As::Key(gateway.client_secret.clone()), pair] {
        let answer = walk.call(operation, path, &foreign).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{operation}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_is_missing_is_asked_for() {
    let service = start().await;
    let file = File::read();
    let walk = Walk::new(&service, &file);
    let of = async |scope: &str| {
        let token = service.issue(json!({ "scopes": [scope] })).await;
        token["plaintext"].as_str().unwrap().to_string()
    };
    let (read, write) = (of("read").await, of("write").await);
    let mut guarded = 0;
    for operation in file.operations.iter().filter(|operation| operation.takes("bearer")) {
        let (path, needed) = (walk.random(&operation.path), operation.scopes("bearer"));
        assert_eq!(needed, operation.scopes("api_key"), "{operation}");
        let others: &[(&str, &String)] = &[("read", &read), ("write", &write)];
        for (scope, token) in others.iter().filter(|(scope, _)| !needed.contains(scope)) {
            for credential in [As::Bearer((*token).clone()), As::Key((*token).clone())] {
                let answer = walk.call(operation, &path, &credential).await;
                let lacks = answer.problem() == "/problems/insufficient-scope";
                assert_eq!(lacks, !needed.is_empty(), "{operation} with {scope}: {answer:?}");
                if lacks {
                    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{operation}: {answer:?}");
                    assert!(answer.header("www-authenticate").contains("insufficient_scope"), "{answer:?}");
                }
            }
        }
        // What only reads needs no more than `read`, and whatever changes something no less than `write`.
        let expected: &[&str] = match (operation.id(), operation.method.as_str()) {
            ("get_this_token", _) => &[],
            (_, "GET") => &["read"],
            _ => &["write"],
        };
        assert_eq!(needed, expected, "{operation}");
        guarded += usize::from(!needed.is_empty());
    }
    assert!(guarded > 8, "{guarded}");
    // But a token may always look at itself, and end itself.
    for token in [read, write] {
        let (status, itself) = service.call(reqwest::Method::GET, "/v1/token", &token, None).await;
        assert_eq!(status, StatusCode::OK, "{itself}");
        let path = format!("/v1/user/tokens/{}", itself["id"].as_str().unwrap());
        let (status, answer) = service.call(reqwest::Method::DELETE, &path, &token, None).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_does_what_the_file_says() {
    let service = start().await;
    let file = File::read();
    let walk = Walk::new(&service, &file);
    // What ends the things that the others need comes last.
    let ends = ["revoke_gateway_token", "remove_gateway", "revoke_all_tokens"];
    let place =
        |operation: &&Operation| ends.iter().position(|id| *id == operation.id()).map_or(0, |at| at + 1);
    let mut operations: Vec<_> = file.operations.iter().collect();
    operations.sort_by_key(place);
    for operation in operations {
        let (issued, mine) = (service.issue(json!({})).await, service.issue(json!({})).await);
        let path = match operation.path.contains("gateways/{id}") {
            true => walk.at(&operation.path, &things(&service, &issued).await),
            false => {
                operation.path.replace("{id}", issued["id"].as_str().unwrap()).replace("{file}", "page.js")
            }
        };
        let (who, body) = as_it_is_meant(&walk, operation, &issued, &mine).await;
        let body = body.or_else(|| operation.body(&file));
        let answer = walk.send(operation.method.clone(), &path, &who, body.as_deref()).await;
        walk.assert_documented(operation, &answer);
        assert!(answer.status.is_success(), "{operation}: {answer:?}");
        if operation.takes("bearer") && operation.method == "GET" {
            // What a token may read, a session may too, where the file says so.
            let session = As::Session(sign_in(&walk).await);
            let answer = walk.call(operation, &path, &session).await;
            let expected = if operation.takes("session") { StatusCode::OK } else { StatusCode::FORBIDDEN };
            assert_eq!(answer.status, expected, "{operation}: {answer:?}");
        }
        // The limit of a user's tokens is none of this test's.
        for token in [issued, mine] {
            let path = format!("/v1/user/tokens/{}", token["id"].as_str().unwrap());
            service.call(reqwest::Method::DELETE, &path, &service.made.owner.token, None).await;
        }
    }
    service.stop().await;
}

/// Whom an operation is meant for, and a body where the file's own example would not do.
async fn as_it_is_meant(
    walk: &Walk<'_>,
    operation: &Operation,
    issued: &Value,
    mine: &Value,
) -> (As, Option<String>) {
    let made = &walk.service.made;
    let form = operation.takes_a_form().then(|| format!("token={}", issued["plaintext"].as_str().unwrap()));
    let who = match () {
        () if operation.is_open() => As::Nobody,
        () if operation.takes("gateway_basic") => {
            As::Basic(made.gateway.client_id.clone(), made.gateway.client_secret.clone())
        }
        () if operation.takes("bearer") => As::Bearer(mine["plaintext"].as_str().unwrap().into()),
        () => As::Session(sign_in(walk).await),
    };
    let password = &made.owner.password;
    let body = match operation.id() {
        "sign_in" => Some(credentials(walk)),
        // The same again, so that the others can sign in.
        "change_password" => {
            Some(json!({ "current_password": password, "new_password": password }).to_string())
        }
        _ => form,
    };
    (who, body)
}

fn credentials(walk: &Walk<'_>) -> String {
    let owner = &walk.service.made.owner;
    json!({ "email": owner.email, "password": owner.password }).to_string()
}

/// The cookie of a new session of the owner's.
async fn sign_in(walk: &Walk<'_>) -> String {
    let answer = walk.send(reqwest::Method::POST, "/v1/session", &As::Nobody, Some(&credentials(walk))).await;
    answer.header("set-cookie").split(';').next().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_needs_nobody_but_this_host() {
    let service = start().await;
    let file = File::read();
    let walk = Walk::new(&service, &file);
    let get = async |path: &str| walk.send(reqwest::Method::GET, path, &As::Nobody, None).await;
    let served: Value = serde_json::from_str(&get("/openapi.json").await.text()).unwrap();
    assert_eq!(served, file.document, "what is served is what the file says");
    let page = get("/docs").await;
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self';"), "{policy}");
    assert!(policy.contains("connect-src 'self';") && !policy.contains("http"), "{policy}");
    let text = page.text();
    assert!(!text.contains("://") && !text.contains("<script>") && !text.contains("<style"), "{text}");
    let links = text.split(['"']).filter(|text| text.starts_with("docs/"));
    let links: Vec<&str> = links.collect();
    assert_eq!(links.len(), 3, "{links:?}");
    for link in links {
        let answer = get(&format!("/{link}")).await;
        assert!(answer.status.is_success() && !answer.bytes.is_empty(), "{link}: {answer:?}");
        let kind = if link.ends_with(".css") { "text/css" } else { "text/javascript" };
        assert!(answer.header("content-type").starts_with(kind), "{link}: {answer:?}");
        assert!(answer.header("cache-control").contains("max-age"), "{link}: {answer:?}");
        let compressed = answer.bytes.starts_with(&[0x1f, 0x8b]);
        assert_eq!(compressed, answer.header("content-encoding") == "gzip", "{link}");
    }
    service.stop().await;
}
