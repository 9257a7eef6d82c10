//! Who must not come in: nobody, the holder of a foreign credential, and who lacks a scope.

use super::file::{File, Operation};
use super::meant::sign_in;
use super::start;
use super::walk::{As, Things, Walk, things};
use crate::support::people::{Person, person};
use counterfoil_domain::role::Role;
use reqwest::StatusCode;
use serde_json::json;

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
async fn who_may_not_ask_is_told_so_whatever_is_asked() {
    let service = start().await;
    let file = File::read();
    let walk = Walk::new(&service, &file);
    let member = person(&service, "member@example.com", Role::Member).await;
    let read_only = service.issue(json!({ "scopes": ["read"] })).await;
    let read_only = read_only["plaintext"].as_str().unwrap();
    let (session, mut of_one_kind) = (sign_in(&walk).await, 0);
    let guarded = |operation: &&Operation| operation.path.starts_with("/v1/") && !operation.is_open();
    for operation in file.operations.iter().filter(guarded) {
        // Every part of it is wrong.
        let path = operation.path.replace("{id}", "x").replace("{token}", "y");
        let path = format!("{path}?no_such_parameter=1");
        let ask = async |who: As| {
            let answer = walk.send(operation.method.clone(), &path, &who, Some("{\"no_such_field\":")).await;
            walk.assert_documented(operation, &answer);
            answer.problem()
        };
        for stranger in [As::Nobody, As::Bearer("cf_pat_nonsense".into())] {
            assert_eq!(ask(stranger).await, "/problems/unauthenticated", "{operation}");
        }
        if operation.takes("bearer") && operation.method != "GET" {
            let narrow = As::Bearer(read_only.into());
            assert_eq!(ask(narrow).await, "/problems/insufficient-scope", "{operation}");
        }
        if operation.path.starts_with("/v1/gateways") {
            let member = As::Bearer(member.plaintext.clone());
            assert_eq!(ask(member).await, "/problems/forbidden", "{operation}");
        }
        // What only a session can do, and what only a token.
        if !operation.takes("bearer") {
            let token = As::Bearer(member.plaintext.clone());
            assert_eq!(ask(token).await, "/problems/session-needed", "{operation}");
            of_one_kind += 1;
        }
        if !operation.takes("session") {
            let session = As::Session(session.clone());
            assert_eq!(ask(session).await, "/problems/token-needed", "{operation}");
            of_one_kind += 1;
        }
    }
    assert!(of_one_kind >= 3, "{of_one_kind}");
    service.stop().await;
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
        for other in ["api_key", "api_key_cookie"] {
            assert_eq!(needed, operation.scopes(other), "{operation}");
        }
        let others: &[(&str, &String)] = &[("read", &read), ("write", &write)];
        for (scope, token) in others.iter().filter(|(scope, _)| !needed.contains(scope)) {
            let token = || (*token).clone();
            for credential in [As::Bearer(token()), As::Key(token()), As::KeyCookie(token())] {
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
