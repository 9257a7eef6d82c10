//! How long what may take.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a connection may take over what.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// From one request to the next: longer than the gateways in front keep theirs.
    pub idle: Duration,
    /// From one request to the next, before a connection gives back the buffers in which it would be read. The other two
    /// begin anew then.
    pub rest: Duration,
    /// For a client to take some bytes of an answer.
    pub write: Duration,
    /// For what a client still sends after the last answer.
    pub linger: Duration,
    /// For a client that made way for others to close its connection: whoever is sent away at once comes back at once.
    pub hold: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            head: seconds(5),
            idle: seconds(75),
            rest: seconds(1),
            write: seconds(30),
            linger: seconds(2),
            hold: seconds(10),
        }
    }
}

/// A deadline that costs a timer only once it is waited for, and keeps that timer over many requests.
#[derive(Default)]
pub(super) struct Deadline {
    /// When it passes. None until it is waited for.
    pub(super) at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Whether it has passed; if not, the task is woken when it has.
    pub(super) fn passed(&mut self, after: Duration, cx: &mut Context<'_>) -> bool {
        let at = *self.at.get_or_insert_with(|| Instant::now() + after);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= at {
                return true;
            }
            timer.as_mut().reset(at);
        }
        false
    }

    /// Whether it was waited for, and has passed meanwhile.
    pub(super) fn is_over(&self) -> bool {
        self.at.is_some_and(|at| Instant::now() >= at)
    }
}
