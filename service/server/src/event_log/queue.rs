//! What waits for the writer: what goes first, and what has waited for too long.

use super::batch::Reply;
use super::failure::NotNow;
use super::writer::{Idempotency, WriteError};
use counterfoil_domain::command::Command;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// Commands in one batch.
const BATCH: usize = 128;
/// How long a caller waits. What waits for longer is not decided any more: its caller has given up.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// The sweeper's commands go when nothing else waits, or after so long.
const PATIENCE: Duration = Duration::from_millis(250);

/// A command that waits.
pub(super) struct Queued {
    pub(super) command: Command,
    pub(super) idempotency: Option<Idempotency>,
    pub(super) reply: oneshot::Sender<Result<Reply, WriteError>>,
    pub(super) since: Instant,
    /// Given back with it: that is what bounds the queue.
    pub(super) _place: OwnedSemaphorePermit,
}

impl Queued {
    /// Whether its caller still waits, as far as time goes: one that went away changes nothing.
    pub(super) fn is_awaited(&self) -> bool {
        self.since.elapsed() < DEADLINE
    }
}

/// See the module. The writer's task owns it.
pub(super) struct Queue {
    commands: mpsc::UnboundedReceiver<Queued>,
    waiting: VecDeque<Queued>,
    patient: VecDeque<Queued>,
}

impl Queue {
    /// A queue of what comes by a channel.
    pub(super) fn new(commands: mpsc::UnboundedReceiver<Queued>) -> Self {
        Self { commands, waiting: VecDeque::new(), patient: VecDeque::new() }
    }

    /// Waits for a command, for so long, then takes all that is there. False once nothing is left and no more can come.
    pub(super) async fn collect(&mut self, at_most: Duration) -> bool {
        if self.waiting.is_empty() {
            match timeout(at_most, self.commands.recv()).await {
                Ok(Some(first)) => self.sort_in(first),
                Ok(None) => return !self.patient.is_empty(),
                Err(_) => return true,
            }
        }
        self.take_all();
        true
    }

    fn take_all(&mut self) {
        while let Ok(next) = self.commands.try_recv() {
            self.sort_in(next);
        }
    }

    fn sort_in(&mut self, queued: Queued) {
        let can_wait = queued.command.action.can_wait();
        if can_wait { &mut self.patient } else { &mut self.waiting }.push_back(queued);
    }

    /// The next batch: what narrows first, the sweeper's last. A quarter is kept for what waits behind it, or a flood of
    /// revocations would hold up everything else.
    pub(super) fn next_batch(&mut self) -> Vec<Queued> {
        for waiting in [&mut self.waiting, &mut self.patient] {
            waiting.retain(Queued::is_awaited);
        }
        let (mut narrowing, others): (VecDeque<_>, VecDeque<_>) =
            self.waiting.drain(..).partition(|queued| queued.command.action.narrows());
        let first = narrowing.len().min(BATCH - others.len().min(BATCH / 4));
        let later = narrowing.split_off(first);
        let mut batch: Vec<Queued> = narrowing.into_iter().chain(others).collect();

        // What narrows stays ahead of the rest.
        self.waiting = later.into_iter().chain(batch.split_off(batch.len().min(BATCH))).collect();
        let overdue = self.patient.front().is_some_and(|queued| queued.since.elapsed() > PATIENCE);
        if batch.is_empty() || overdue {
            batch.extend(self.patient.pop_front());
        }
        batch
    }

    /// Answers everybody who waits: nothing of it will be done.
    pub(super) fn turn_away(&mut self, why: NotNow) {
        self.take_all();
        fail(self.waiting.drain(..), &WriteError::NotNow(why));
    }
}

/// Answers callers alike.
pub(super) fn fail(commands: impl IntoIterator<Item = Queued>, error: &WriteError) {
    for queued in commands {
        let _ = queued.reply.send(Err(error.clone()));
    }
}
