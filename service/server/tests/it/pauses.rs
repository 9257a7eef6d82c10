//! The whole process is paused, as a debugger, a hypervisor or a laptop's lid does it, and goes on as if no time had passed.

use crate::support::load::People;
use crate::support::program::Program;
use crate::support::rounds;
use counterfoil::clock::Clock;
use futures_util::future::join_all;
use nix::sys::signal::Signal;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

/// Long enough for a request to be made and answered before, on a machine that is busy with other tests.
const LIVES: i64 = 5;

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
        program.signal(Signal::SIGSTOP);
        while Clock::system().now() < expires_at {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let asked = (0..10).map(|_| people.introspect(program.base(), &token));
        let (told, of_lasting, ()) = tokio::join!(
            join_all(asked),
            // Nobody knows, or, once there is a proof again, it is active.
            people.introspect(program.base(), &lasting),
            async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                program.signal(Signal::SIGCONT);
            }
        );
        assert!(told.iter().all(|told| *told != Some(true)), "{told:?}");
        assert_ne!(of_lasting, Some(false));
        people.until_active(program.base(), &lasting).await;
        assert_eq!(people.introspect(program.base(), &token).await, Some(false));
    }
    program.stop().await;
}
