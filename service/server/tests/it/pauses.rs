//! The whole process is paused, as a debugger, a hypervisor or a laptop's lid does it, and goes on as if no time had passed.

use crate::support::load::People;
use crate::support::program::Program;
use crate::support::raw::Raw;
use crate::support::{rounds, until};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use counterfoil::clock::Clock;
use counterfoil_domain::introspection::INACTIVE;
use nix::sys::signal::Signal;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

/// Long enough for a request to be made and answered before, on a machine that is busy with other tests.
const LIVES: i64 = 8;

/// Issues a token that expires soon.
async fn short_lived(program: &Program) -> String {
    let issue = reqwest::Client::new()
        .post(format!("{}/v1/user/tokens", program.base()))
        .bearer_auth(program.printed("owner", "token"))
        .json(&json!({ "expires_at": Clock::system().now().plus_seconds(LIVES) }));
    let response = issue.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    response.json::<Value>().await.unwrap()["plaintext"].as_str().unwrap().into()
}

/// The gateway's question, as it goes over the wire.
fn question(program: &Program, plaintext: &str) -> String {
    let pair = format!(
        "{}:{}",
        program.printed("gateway", "client_id"),
        program.printed("gateway", "client_secret")
    );
    let (basic, form) = (STANDARD.encode(pair), format!("token={plaintext}"));
    format!(
        "POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {basic}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expires_during_a_pause_is_not_active_to_those_who_asked_meanwhile() {
    let mut program = Program::made().await;
    let printed = |of, field| program.printed(of, field);
    let lasting = printed("owner", "token");
    let people =
        People::with(&lasting, &printed("gateway", "client_id"), &printed("gateway", "client_secret"));
    people.until_active(program.base(), &lasting).await;
    for _ in 0..rounds(1, 10) {
        let token = short_lived(&program).await;
        let expires_at = Clock::system().now().plus_seconds(LIVES);
        people.until_active(program.base(), &token).await;
        // Some connections are there before, and have carried a request.
        let mut asking = Vec::new();
        for _ in 0..5 {
            let mut raw = Raw::to(program.base()).await;
            raw.send(question(&program, &token)).await;
            assert_eq!(raw.answer().await.status, 200);
            asking.push(raw);
        }
        program.signal(Signal::SIGSTOP);
        while Clock::system().now() < expires_at {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for _ in 0..5 {
            asking.push(Raw::to(program.base()).await);
        }
        // The kernel takes them; the service has them in front of it when it goes on.
        for raw in &mut asking {
            raw.send(question(&program, &token)).await;
        }
        program.signal(Signal::SIGCONT);
        for raw in &mut asking {
            let answer = raw.answer().await;
            assert!(answer.status == 503 || answer.body == INACTIVE, "{answer:?}");
        }
        people.until_active(program.base(), &lasting).await;
        let is_inactive = async || people.introspect(program.base(), &token).await == Some(false);
        until("the token is known to be inactive", is_inactive).await;
    }
    program.stop().await;
}
