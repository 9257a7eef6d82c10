//! Every operation as it is meant: by whom it is for, with a body that it takes.

use super::file::{File, Operation};
use super::start;
use super::walk::{As, Walk, things};
use reqwest::StatusCode;
use serde_json::{Value, json};

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
pub(super) async fn sign_in(walk: &Walk<'_>) -> String {
    let answer = walk.send(reqwest::Method::POST, "/v1/session", &As::Nobody, Some(&credentials(walk))).await;
    answer.header("set-cookie").split(';').next().unwrap().to_string()
}
