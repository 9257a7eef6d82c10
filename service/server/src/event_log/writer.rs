//! The writer: a queue, and the one task that empties it.

use super::batch::{self, BatchError, Committed, Input, Refused, Reply};
use super::session::{Session, SessionError};
use super::steps::Faults;
use crate::clock::Clock;
use crate::ops::metrics::WriterMetrics;
use crate::read_model::applier::Applier;
use crate::read_model::freshness::Freshness;
use counterfoil_domain::command::Command;
use counterfoil_domain::decide::Limits;
use sqlx::postgres::PgConnectOptions;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

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

struct Queued {
    command: Command,
    idempotency: Option<Idempotency>,
    reply: oneshot::Sender<Result<Reply, WriteError>>,
}

/// Hands commands to the writer's task. Clones share the queue.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Queued>,
}

/// Commands in one batch.
const BATCH: usize = 128;
/// Commands that may wait. What comes on top is answered "unavailable" at once.
const QUEUE: usize = 4096;
/// How often freshness is proved while nothing else does.
const PROOF: Duration = Duration::from_millis(250);
/// Sweeper's commands go when nothing else waits, or after so long.
const PATIENCE: Duration = Duration::from_millis(250);

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
            commands,
            waiting: VecDeque::new(),
            patient: VecDeque::new(),
            steady: super::session::SteadyClock::default(),
            proof: Instant::now(),
        };
        (Self { queue }, tokio::spawn(task.run()))
    }

    /// Has a command decided. The command is whole once this is called: dropping the future changes nothing.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn write(
        &self,
        command: Command,
        idempotency: Option<Idempotency>,
    ) -> Result<Reply, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Queued { command, idempotency, reply }).map_err(|_| WriteError::Unavailable)?;
        answer.await.unwrap_or(Err(WriteError::Unavailable))
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
    commands: mpsc::Receiver<Queued>,
    waiting: VecDeque<Queued>,
    patient: VecDeque<(Instant, Queued)>,
    steady: super::session::SteadyClock,
    /// When freshness was last proved, or tried to be.
    proof: Instant,
}

impl Task {
    async fn run(mut self) {
        loop {
            let open = self.collect().await;
            let batch = self.next_batch();
            if !batch.is_empty() {
                self.work(batch).await;
                self.prove_if_due().await;
            } else if open {
                self.prove().await;
            } else {
                break;
            }
        }
        self.parts.freshness.lost();
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }

    /// Waits for a command or for the next proof, then takes all that is there. False once no more can come.
    async fn collect(&mut self) -> bool {
        if self.waiting.is_empty() {
            match timeout_at(Instant::now() + PROOF, self.commands.recv()).await {
                Ok(Some(first)) => self.sort_in(first),
                Ok(None) => return !self.patient.is_empty(),
                Err(_) => return true,
            }
        }
        while let Ok(next) = self.commands.try_recv() {
            self.sort_in(next);
        }
        true
    }

    fn sort_in(&mut self, queued: Queued) {
        if queued.command.action.can_wait() {
            self.patient.push_back((Instant::now(), queued));
        } else {
            self.waiting.push_back(queued);
        }
    }

    /// The next batch: what narrows first, the sweeper's last. A quarter is kept for what waits behind it, or a flood of
    /// revocations would hold up everything else.
    fn next_batch(&mut self) -> Vec<Queued> {
        let (mut narrowing, others): (VecDeque<_>, VecDeque<_>) =
            self.waiting.drain(..).partition(|queued| queued.command.action.narrows());
        let first = narrowing.len().min(BATCH - others.len().min(BATCH / 4));
        let later = narrowing.split_off(first);
        let mut batch: Vec<Queued> = narrowing.into_iter().chain(others).collect();

        // What narrows stays ahead of the rest.
        self.waiting = later.into_iter().chain(batch.split_off(batch.len().min(BATCH))).collect();
        let overdue = self.patient.front().is_some_and(|(since, _)| since.elapsed() > PATIENCE);
        if batch.is_empty() || overdue {
            batch.extend(self.patient.pop_front().map(|(_, queued)| queued));
        }
        batch
    }

    /// Has a batch decided; after a definite error its commands one by one, so that the culprit fails alone.
    async fn work(&mut self, batch: Vec<Queued>) {
        match self.attempt(&batch).await {
            Ok(replies) => answer(batch, replies),
            Err(BatchError::Definite(error)) if batch::may_pass(&*error) => {
                tracing::error!(%error, commands = batch.len(), "the database could not take a batch");
                fail(batch, &WriteError::Unavailable);
            }
            Err(BatchError::Definite(error)) if batch.len() > 1 => {
                tracing::error!(%error, commands = batch.len(), "a batch failed; its commands are decided one by one");
                for queued in batch {
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
                    if !matches!(error, BatchError::Definite(_)) {
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
        let (clock, faults) = (self.parts.clock.clone(), self.parts.faults.clone());
        let input = Input {
            commands: &commands,
            clock: &clock,
            steady,
            limits: self.parts.limits,
            faults: faults.as_ref(),
        };
        let session = ready(&mut self.session, &mut self.parts)
            .await
            .map_err(|error| BatchError::Lost(sqlx::Error::Io(std::io::Error::other(error))))?;
        let committed = match batch::run(&mut session.connection, &input).await {
            Err(BatchError::Unknown { source, committed }) => self.resolve(source, *committed).await?,
            other => other?,
        };
        self.parts.metrics.head.fetch_max(committed.last, Ordering::Relaxed);
        self.apply(&committed).await?;
        self.note_clocks(committed.clock_trusted);
        self.parts.freshness.proved(sent);
        self.proof = Instant::now();
        Ok(committed.replies)
    }

    /// Finds out what became of a commit: on a new session, under the append lock, with the old backend ended.
    async fn resolve(&mut self, source: sqlx::Error, committed: Committed) -> Result<Committed, BatchError> {
        tracing::warn!(error = %source, "the outcome of a commit is unknown; looking it up");
        self.lost();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let looked_up = async {
                let session = ready(&mut self.session, &mut self.parts).await?;
                session.was_committed(committed.before, &committed.records).await
            };
            match looked_up.await {
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

    /// Applies what was committed. Nothing is answered before this is done.
    async fn apply(&mut self, committed: &Committed) -> Result<(), BatchError> {
        loop {
            match self.parts.applier.batch(committed.before, committed.last, &committed.changed).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::error!(%error, "the index could not be brought up to the log; trying again");
                    self.parts.freshness.lost();
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
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
        let proof = async {
            let session = ready(&mut self.session, &mut self.parts).await?;
            session.head().await
        };
        let head = proof.await;
        if let Ok(head) = &head {
            self.parts.metrics.head.fetch_max(head.seq, Ordering::Relaxed);
            self.note_clocks(batch::clocks(self.parts.clock.now(), steady, head).trusted);
        }
        match head.map(|head| head.seq) {
            Ok(head) if head == self.parts.applier.applied() => self.parts.freshness.proved(sent),
            Ok(head) => match self.parts.applier.catch_up(head).await {
                Ok(()) => self.parts.freshness.proved(sent),
                Err(error) => tracing::error!(%error, "the index could not follow the log"),
            },
            Err(error) => {
                tracing::warn!(%error, "the writer has no session");
                self.lost();
            }
        }
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
async fn ready<'a>(
    session: &'a mut Option<Session>,
    parts: &mut Parts,
) -> Result<&'a mut Session, SessionError> {
    let present = session.take();
    let usable = match present {
        Some(present) if !present.broken => present,
        other => match Session::reconnect(&parts.connect, other.as_ref(), &parts.clock).await {
            Ok(mut new) => {
                if let Err(error) = parts.applier.catch_up(0).await {
                    // It is kept, so that its backend is ended before the next one is made.
                    new.broken = true;
                    *session = Some(new);
                    return Err(SessionError::Behind(error.to_string()));
                }
                new
            }
            Err(error) => {
                *session = other;
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

fn fail(batch: Vec<Queued>, error: &WriteError) {
    for queued in batch {
        let _ = queued.reply.send(Err(error.clone()));
    }
}
