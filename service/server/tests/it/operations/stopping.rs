//! How the program stops, whatever hangs on it.

mod amid;
mod clients;

use super::FORM;
use crate::support::program::Program;
use crate::support::raw::Raw;
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn the_program_stops_in_time_whatever_hangs_on_it() {
    let mut program = Program::made().await;
    let mut idle = Vec::new();
    for _ in 0..50 {
        let mut raw = Raw::to(program.base()).await;
        raw.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(raw.answer().await.status, 200);
        idle.push(raw);
    }
    let head = format!("POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: 7\r\n\r\ntok",);
    let (mut half, mut never) = (Raw::to(program.base()).await, Raw::to(program.base()).await);
    half.send(&head).await;
    never.send(&head).await;
    let began = Instant::now();
    program.signal(Signal::SIGTERM);
    for raw in &mut idle {
        assert!(raw.ends_within(Duration::from_secs(9)).await);
    }
    half.send("en=x").await;
    assert_eq!(half.answer().await.status, 401);
    // The other never sends the rest: the body's time is over first.
    let status = program.ended_within(Duration::from_secs(25)).await;
    assert!(status.is_some_and(|status| status.success()), "{}", program.said());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once() {
    let mut program = Program::made().await;
    let mut never = Raw::to(program.base()).await;
    never
        .send(format!("POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: 7\r\n\r\ntok"))
        .await;
    program.signal(Signal::SIGTERM);
    assert!(program.ended_within(Duration::from_millis(1500)).await.is_none());
    program.signal(Signal::SIGINT);
    let status = program.ended_within(Duration::from_secs(8)).await;
    assert!(status.is_some_and(|status| status.success()), "{}", program.said());
}
