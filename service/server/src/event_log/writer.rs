//! The writer: a queue, and the one task that empties it.

use super::batch::{self, Committed, Input, Refused, Reply};
use super::clocks::Watch;
use super::failure::{self, BatchError, NotNow, may_pass};
use super::node::{Node, PROOF};
use super::queue::{DEADLINE, Queue, Queued, fail};
use super::session::Session;
use super::steps::Faults;
use crate::clock::Clock;
use crate::ops::metrics::WriterMetrics;
use crate::ops::recurring::Recurring;
use crate::read_model::applier::Applier;
use crate::read_model::freshness::Freshness;
use counterfoil_domain::command::Command;
use counterfoil_domain::decide::Limits;
use sqlx::postgres::PgConnectOptions;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
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
    /// It was not done, or may not have been: try again.
    #[error("the event log cannot be written now")]
    NotNow(NotNow),
    /// This command cannot be written, through no fault of its caller.
    #[error("the command failed")]
    Internal,
}

/// Hands commands to the writer's task. Clones share the queue.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::UnboundedSender<Queued>,
    /// A command has one from when it is handed over until it is answered, wherever it waits meanwhile.
    places: Arc<Semaphore>,
}

/// Commands that may wait. What comes on top is answered "unavailable" at once.
pub const QUEUE: usize = 4096;
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
    /// Since when clocks are watched.
    pub watch: Watch,
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
    pub fn start(parts: Parts, session: Session) -> (Self, JoinHandle<()>) {
        let (queue, commands) = mpsc::unbounded_channel();
        let Parts { connect, applier, freshness, clock, watch, limits, metrics, faults } = parts;
        let node = Node::new(session, connect, applier, freshness, clock, watch);
        let queued = Queue::new(commands);
        let task = Task { node, queue: queued, limits, metrics, faults, failures: Recurring::new() };
        (Self { queue, places: Arc::new(Semaphore::new(QUEUE)) }, tokio::spawn(task.run()))
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
        let too_many = WriteError::NotNow(NotNow::TooMany);
        let place = self.places.clone().try_acquire_owned().map_err(|_| too_many.clone())?;
        let (reply, answer) = oneshot::channel();
        let queued = Queued { command, idempotency, reply, since: Instant::now(), _place: place };
        self.queue.send(queued).map_err(|_| too_many)?;
        match timeout(DEADLINE, answer).await {
            Ok(Ok(answer)) => answer,
            _ => Err(WriteError::NotNow(NotNow::Unknown)),
        }
    }

    /// A way to the queue that does not keep the writer's task alive.
    pub fn downgrade(&self) -> WeakWriter {
        WeakWriter(self.queue.downgrade(), self.places.clone())
    }

    /// How many commands are not answered yet.
    pub fn waiting(&self) -> usize {
        QUEUE - self.places.available_permits()
    }
}

/// See [`Writer::downgrade`].
#[derive(Clone)]
pub struct WeakWriter(mpsc::WeakUnboundedSender<Queued>, Arc<Semaphore>);

impl WeakWriter {
    /// The writer, unless its task is about to end.
    pub fn upgrade(&self) -> Option<Writer> {
        self.0.upgrade().map(|queue| Writer { queue, places: self.1.clone() })
    }
}

struct Task {
    node: Node,
    queue: Queue,
    limits: Limits,
    metrics: WriterMetrics,
    faults: Option<Faults>,
    /// What the log was told of batches that failed while the session went on.
    failures: Recurring<Failure>,
}

/// How a batch fails on a session that goes on.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
enum Failure {
    #[error("the database could not store a batch")]
    NotStored,
    #[error("a batch failed; its commands are decided one by one")]
    Together,
    #[error("a command failed")]
    Alone,
}

/// What became of the commands of a batch.
type Replies = Vec<Result<Reply, Refused>>;

impl Task {
    async fn run(mut self) {
        // A restart is over with the first proof, so it does not wait for a pause between commands.
        self.prove().await;
        while self.queue.collect(PROOF).await {
            let batch = self.queue.next_batch();
            if batch.is_empty() {
                self.prove().await;
            } else {
                self.work(batch).await;
                self.node.prove_if_due().await;
            }
        }
        self.node.leave().await;
    }

    async fn prove(&mut self) {
        if let Err(doubt) = self.node.prove().await {
            // Whoever came while a session was tried for is not kept waiting for the next try.
            self.queue.turn_away(NotNow::InDoubt(doubt));
        }
    }

    /// Has a batch decided; after a definite error its commands one by one, so that the culprit fails alone.
    async fn work(&mut self, mut batch: Vec<Queued>) {
        match self.attempt(&mut batch).await {
            Ok(replies) => answer(batch, replies),
            Err(BatchError::Definite(error)) if may_pass(&*error) => {
                self.tell(Failure::NotStored, &batch, &*error);
                fail(batch, &WriteError::NotNow(NotNow::NotStored));
            }
            Err(BatchError::Definite(error)) if batch.len() > 1 => {
                self.tell(Failure::Together, &batch, &*error);
                for queued in batch.into_iter().filter(Queued::is_awaited) {
                    Box::pin(self.work(vec![queued])).await;
                    self.node.prove_if_due().await;
                }
            }
            Err(BatchError::Definite(error)) => {
                self.tell(Failure::Alone, &batch, &*error);
                fail(batch, &WriteError::Internal);
            }
            Err(error) => {
                let why = error.not_now();
                // Before anybody is told: whoever asks next is told so, too.
                if let NotNow::InDoubt(doubt) = why {
                    self.node.in_doubt(doubt, &error);
                }
                fail(batch, &WriteError::NotNow(why));
                if let BatchError::NoSession(_) = error {
                    self.queue.turn_away(why);
                }
            }
        }
    }

    /// Tells the log of a batch that failed.
    fn tell(&mut self, failure: Failure, batch: &[Queued], error: &dyn Error) {
        if let Some(untold) = self.failures.failed(failure, Instant::now()) {
            let culprit = batch.first().filter(|_| failure == Failure::Alone);
            let request_id = culprit.map(|queued| queued.command.request_id.to_string());
            tracing::error!(%error, request_id, commands = batch.len(), untold, "{failure}");
        }
    }

    /// One attempt, and a second where the first certainly left nothing behind, for those who still wait.
    async fn attempt(&mut self, batch: &mut Vec<Queued>) -> Result<Replies, BatchError> {
        let first = self.once(batch).await;
        let nothing_happened = matches!(first, Err(BatchError::Lost(_) | BatchError::NotThere(_)));
        if nothing_happened {
            // Finding that out may have taken long. Whoever was answered meanwhile may have asked again.
            batch.retain(Queued::is_awaited);
        }
        if nothing_happened && !batch.is_empty() { self.once(batch).await } else { first }
    }

    /// One attempt, told to the metrics.
    async fn once(&mut self, batch: &[Queued]) -> Result<Replies, BatchError> {
        let begun = Instant::now();
        let done = self.decide(batch).await;
        match &done {
            Err(BatchError::Lost(error)) => self.node.lost(failure::doubt(error), error),
            Err(BatchError::Unfit(error)) => self.node.lost(error.doubt(), error),
            _ => {}
        }
        self.metrics.batch.record(batch.len() as f64);
        self.metrics.seconds.record(begun.elapsed());
        let counter = if done.is_ok() { &self.metrics.commits } else { &self.metrics.failures };
        counter.increment(1);
        done
    }

    async fn decide(&mut self, batch: &[Queued]) -> Result<Replies, BatchError> {
        let clock = self.node.clock.clone();
        let sent = clock.boottime();
        let commands: Vec<_> =
            batch.iter().map(|queued| (&queued.command, queued.idempotency.as_ref())).collect();
        let input =
            Input { commands: &commands, clock: &clock, limits: self.limits, faults: self.faults.as_ref() };
        let (session, serving) = self.node.ready().await.map_err(BatchError::NoSession)?;
        let committed = match batch::run(&mut session.connection, &input, Some(serving)).await {
            Err(BatchError::Unknown { source, committed }) => self.resolve(source, *committed).await?,
            other => other?,
        };
        // Nothing is answered before this is done.
        self.node.applier.batch(&committed)?;
        self.node.proved(sent, committed.clock_trusted);
        Ok(committed.replies)
    }

    /// Finds out what became of a commit: on a new session, under the append lock, with the old backend ended. If it
    /// happened, it is applied. If it did not, the new session goes on.
    async fn resolve(&mut self, source: sqlx::Error, committed: Committed) -> Result<Committed, BatchError> {
        self.node.lost(failure::doubt(&source), &format!("the outcome of a commit is unknown: {source}"));
        let deadline = Instant::now() + LOOKING;
        loop {
            match self.node.was_committed(&committed).await {
                Ok(true) => return Ok(committed),
                // A batch without events left no trace in the log, committed or not.
                Ok(false) if !committed.records.is_empty() => return Err(BatchError::NotThere(source)),
                Err(error) if Instant::now() < deadline => {
                    self.node.lost(error.doubt(), &error);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                _ => return Err(BatchError::Unknown { source, committed: Box::new(committed) }),
            }
        }
    }
}

fn answer(batch: Vec<Queued>, replies: Replies) {
    for (queued, reply) in batch.into_iter().zip(replies) {
        // A caller that went away is answered by the list.
        let _ = queued.reply.send(reply.map_err(WriteError::Refused));
    }
}
