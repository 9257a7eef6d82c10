//! Clocks that jump while the writer waits for its turn.

use super::{READY, is_active, move_the_databases_clock, until_ready_says, with_movable_clocks};
use crate::queue::{hold_the_order, issue, owner, until_somebody_waits, write};
use crate::whole::whole;
use counterfoil::clock::Clock;
use counterfoil::event_log::batch::Refused;
use counterfoil::event_log::writer::WriteError;
use counterfoil_domain::command::Action;
use counterfoil_domain::refusal::Refusal;
use serde_json::json;

/// Longer than a token of this test lives, and shorter than its session.
const FIVE_MINUTES: i64 = 300_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_while_the_order_is_waited_for_is_seen_before_anything_is_decided() {
    let clock = Clock::system();
    let service = with_movable_clocks(&clock).await;
    let owner = owner(&service).await;
    let brief = service.issue(json!({ "expires_at": clock.now().plus_seconds(120).to_string() })).await;
    until_ready_says(&service, READY).await;

    let mut held = hold_the_order(&service).await;
    let issue = write(&service, &owner, Action::IssuePersonal(issue()));
    let meanwhile = async {
        until_somebody_waits(&mut held).await;
        // Together, so that they agree: only the jump tells that they are wrong.
        clock.set_offset(FIVE_MINUTES);
        move_the_databases_clock(&service, FIVE_MINUTES).await;
        sqlx::query("COMMIT").execute(&mut held).await.unwrap();
    };
    let (issued, ()) = tokio::join!(issue, meanwhile);
    assert_eq!(issued.err(), Some(WriteError::Refused(Refused::Refusal(Refusal::ClockUntrusted))));

    clock.set_offset(0);
    move_the_databases_clock(&service, 0).await;
    // What has two minutes left did not end by five that never were.
    assert_eq!(service.events("token.expired").await, 0);
    assert!(is_active(&service, brief["plaintext"].as_str().unwrap()).await);
    whole(&service).await;
    service.stop().await;
}
