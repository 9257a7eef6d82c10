//! The writer: a queue, and the one task that empties it.

use super::append::Head;
use super::batch::{self, Committed, Input, Refused, Reply};
use super::failure::{BatchError, may_pass};
use super::queue::{DEADLINE, Queue, Queued, fail};
use super::session::{Session, SessionError, SteadyClock};
use super::steps::Faults;
use crate::clock::Clock;
use crate::ops::metrics::WriterMetrics;
use crate::read_model::applier::Applier;
use crate::read_model::freshness::Freshness;
use counterfoil_domain::command::Command;
use counterfoil_domain::decide::Limits;
use sqlx::postgres::PgConnectOptions;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// The key of a request that is done once, and what it was done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// SHA-256 over actor, method, path and key.
    pub key: [u8; 32],
    /// SHA-256 of the body.
    pub body: [u8; 32],
}

/// Why a command got no reply from a committed batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// It was refused.
    #[error("refused")]
    Refused(Refused),
    /// The database cannot be reached, or the outcome could not be found out in time: try again.
    #[error("the event log cannot be written now")]
    Unavailable,
    /// This command cannot be written, through no fault of its caller.
    #[error("the command failed")]
    Internal,
}

/// Hands commands to the writer's task. Clones share the queue.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Queued>,
}

/// Commands that may wait. What comes on top is answered "unavailable" at once.
const QUEUE: usize = 4096;
/// How often freshness is proved while nothing else does.
const PROOF: Duration = Duration::from_millis(250);
/// How long the outcome of a commit is looked for. Its callers are answered earlier.
const LOOKING: Duration = Duration::from_secs(30);

/// What the writer's task works with.
pub struct Parts {
    /// Where the writer's own session connects.
    pub connect: PgConnectOptions,
    /// The index's only writer.
    pub applier: Applier,
    /// Whether this node may answer "active".
    pub freshness: Arc<Freshness>,
    /// The node's clock.
    pub clock: Clock,
    /// Configured limits.
    pub limits: Limits,
    /// What is told of each batch.
    pub metrics: WriterMetrics,
    /// Tests' way to break a step.
    pub faults: Option<Faults>,
}

impl Writer {
    /// Starts the writer's task on a session that holds the serving lock. The task ends when every clone of the
    /// writer is gone and the queue is empty.
    pub fn start(parts: Parts, session: Session) -> (Self, tokio::task::JoinHandle<()>) {
        let (queue, commands) = mpsc::channel(QUEUE);
        let task = Task {
            parts,
            session: Some(session),
            queue: Queue::new(commands),
            steady: SteadyClock::default(),
            proof: Instant::now(),
        };
        (Self { queue }, tokio::spawn(task.run()))
    }

    /// Has a command decided. The command is whole once this is called: dropping the future changes nothing. It is
    /// answered within ten seconds; what was not decided by then may still be, or may have been.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn write(
        &self,
        command: Command,
        idempotency: Option<Idempotency>,
    ) -> Result<Reply, WriteError> {
        let (reply, answer) = oneshot::channel();
        let queued = Queued { command, idempotency, reply, since: Instant::now() };
        self.queue.try_send(queued).map_err(|_| WriteError::Unavailable)?;
        match timeout(DEADLINE, answer).await {
            Ok(Ok(answer)) => answer,
            _ => Err(WriteError::Unavailable),
        }
    }

    /// A way to the queue that does not keep the writer's task alive.
    pub fn downgrade(&self) -> WeakWriter {
        WeakWriter(self.queue.downgrade())
    }

    /// How many commands are in the queue.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

/// See [`Writer::downgrade`].
#[derive(Clone)]
pub struct WeakWriter(mpsc::WeakSender<Queued>);

impl WeakWriter {
    /// The writer, unless its task is about to end.
    pub fn upgrade(&self) -> Option<Writer> {
        self.0.upgrade().map(|queue| Writer { queue })
    }
}

struct Task {
    parts: Parts,
    session: Option<Session>,
    queue: Queue,
    steady: SteadyClock,
    /// When freshness was last proved, or tried to be.
    proof: Instant,
}

impl Task {
    async fn run(mut self) {
        while self.queue.collect(PROOF).await {
            let batch = self.queue.next_batch();
            if batch.is_empty() {
                self.prove().await;
            } else {
                self.work(batch).await;
                self.prove_if_due().await;
            }
        }
        self.parts.freshness.lost();
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }

    /// Has a batch decided; after a definite error its commands one by one, so that the culprit fails alone.
    async fn work(&mut self, batch: Vec<Queued>) {
        match self.attempt(&batch).await {
            Ok(replies) => answer(batch, replies),
            Err(BatchError::Definite(error)) if may_pass(&*error) => {
                tracing::error!(%error, commands = batch.len(), "the database could not take a batch");
                fail(batch, &WriteError::Unavailable);
            }
            Err(BatchError::Definite(error)) if batch.len() > 1 => {
                tracing::error!(%error, commands = batch.len(), "a batch failed; its commands are decided one by one");
                for queued in batch.into_iter().filter(Queued::is_awaited) {
                    Box::pin(self.work(vec![queued])).await;
                    self.prove_if_due().await;
                }
            }
            Err(BatchError::Definite(error)) => {
                tracing::error!(%error, "a command failed");
                fail(batch, &WriteError::Internal);
            }
            Err(error) => {
                tracing::warn!(%error, "a batch was not written");
                fail(batch, &WriteError::Unavailable);
                if let BatchError::NoSession(_) = error {
                    self.queue.turn_away(&WriteError::Unavailable);
                }
            }
        }
    }

    /// One attempt, and a second where the first certainly left nothing behind.
    async fn attempt(&mut self, batch: &[Queued]) -> Result<Vec<Result<Reply, Refused>>, BatchError> {
        match self.once(batch).await {
            Err(BatchError::Lost(error)) => {
                tracing::warn!(%error, "the writer lost its session; trying once more");
                self.lost();
                self.once(batch).await.inspect_err(|error| {
                    if matches!(error, BatchError::Lost(_)) {
                        self.lost();
                    }
                })
            }
            other => other,
        }
    }

    /// One attempt, told to the metrics.
    async fn once(&mut self, batch: &[Queued]) -> Result<Vec<Result<Reply, Refused>>, BatchError> {
        let begun = Instant::now();
        let done = self.decide(batch).await;
        let metrics = &self.parts.metrics;
        metrics.batch.record(batch.len() as f64);
        metrics.seconds.record(begun.elapsed());
        if done.is_ok() {
            metrics.commits.increment(1)
        } else {
            metrics.failures.increment(1)
        }
        done
    }

    async fn decide(&mut self, batch: &[Queued]) -> Result<Vec<Result<Reply, Refused>>, BatchError> {
        let sent = self.parts.clock.boottime();
        let commands: Vec<_> =
            batch.iter().map(|queued| (&queued.command, queued.idempotency.as_ref())).collect();
        let steady = self.steady.check(&self.parts.clock);
        let session = ready(&mut self.session, &self.parts).await.map_err(BatchError::NoSession)?;
        let input = Input {
            commands: &commands,
            clock: &self.parts.clock,
            steady,
            limits: self.parts.limits,
            faults: self.parts.faults.as_ref(),
        };
        let ran = batch::run(&mut session.connection, &input, Some(&mut self.parts.applier)).await;
        let committed = match ran {
            Err(BatchError::Unknown { source, committed }) => self.resolve(source, *committed).await?,
            other => other?,
        };
        self.parts.metrics.head.fetch_max(committed.last, Ordering::Relaxed);
        // Nothing is answered before this is done.
        self.parts.applier.batch(&committed)?;
        self.note_clocks(committed.clock_trusted);
        self.parts.freshness.proved(sent);
        self.proof = Instant::now();
        Ok(committed.replies)
    }

    /// Finds out what became of a commit: on a new session, under the append lock, with the old backend ended. If it
    /// happened, it is applied.
    async fn resolve(&mut self, source: sqlx::Error, committed: Committed) -> Result<Committed, BatchError> {
        tracing::warn!(error = %source, "the outcome of a commit is unknown; looking it up");
        self.lost();
        let deadline = Instant::now() + LOOKING;
        loop {
            match self.look_up(&committed).await {
                Ok(true) => return Ok(committed),
                Ok(false) => return Err(BatchError::Unknown { source, committed: Box::new(committed) }),
                Err(error) if Instant::now() < deadline => {
                    tracing::warn!(%error, "looking it up failed; trying again");
                    self.lost();
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(_) => return Err(BatchError::Unknown { source, committed: Box::new(committed) }),
            }
        }
    }

    async fn look_up(&mut self, committed: &Committed) -> Result<bool, SessionError> {
        let session = ready(&mut self.session, &self.parts).await?;
        let found = session.was_committed(committed.before, &committed.records).await?;
        session.follow(&mut self.parts.applier).await?;
        Ok(found)
    }

    /// Proves freshness where batches that fail have not: what cannot be written can be answered all the same.
    async fn prove_if_due(&mut self) {
        if self.proof.elapsed() > PROOF {
            self.prove().await;
        }
    }

    /// Proves that this node holds the serving lock and has applied everything.
    async fn prove(&mut self) {
        self.proof = Instant::now();
        let sent = self.parts.clock.boottime();
        let steady = self.steady.check(&self.parts.clock);
        let had_session = self.session.as_ref().is_some_and(|session| !session.broken);
        match self.look().await {
            Ok(head) => {
                self.parts.metrics.head.fetch_max(head.seq, Ordering::Relaxed);
                self.note_clocks(batch::clocks(self.parts.clock.now(), steady, &head).trusted);
                self.parts.freshness.proved(sent);
            }
            Err(error @ SessionError::Behind(_)) => {
                tracing::error!(%error, "the index could not follow the log");
                self.parts.freshness.lost();
            }
            Err(error) => {
                tracing::warn!(%error, "the writer has no session");
                self.lost();
                // Whoever waited while a new one was tried is not kept waiting for the next try.
                if !had_session {
                    self.queue.turn_away(&WriteError::Unavailable);
                }
            }
        }
    }

    /// The log's end, once everything up to it is applied.
    async fn look(&mut self) -> Result<Head, SessionError> {
        ready(&mut self.session, &self.parts).await?.follow(&mut self.parts.applier).await
    }

    fn note_clocks(&self, agree: bool) {
        match self.parts.freshness.note_clocks(agree) {
            true if agree => tracing::info!("the clocks agree again"),
            true => {
                tracing::warn!("the clocks disagree: only what narrows is written until they agree again")
            }
            false => {}
        }
    }

    fn lost(&mut self) {
        self.parts.freshness.lost();
        if let Some(session) = self.session.as_mut() {
            session.broken = true;
        }
    }
}

/// The session, made anew if it was lost: the old backend is ended first, so that it keeps no lock and commits
/// nothing late.
async fn ready<'a>(session: &'a mut Option<Session>, parts: &Parts) -> Result<&'a mut Session, SessionError> {
    let present = session.take();
    let usable = match present {
        Some(present) if !present.broken => present,
        lost => match Session::reconnect(&parts.connect, lost.as_ref(), &parts.clock).await {
            Ok(new) => new,
            Err(error) => {
                // It is kept, so that its backend is ended before the next one is made.
                *session = lost;
                return Err(error);
            }
        },
    };
    Ok(session.insert(usable))
}

fn answer(batch: Vec<Queued>, replies: Vec<Result<Reply, Refused>>) {
    for (queued, reply) in batch.into_iter().zip(replies) {
        // A caller that went away is answered by the list.
        let _ = queued.reply.send(reply.map_err(WriteError::Refused));
    }
}
