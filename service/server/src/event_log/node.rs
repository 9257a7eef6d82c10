//! What this node stands on: the session that holds the serving lock, and an index that has everything. Both are proved
//! again and again; while they cannot be, nothing is called active and nothing is written.

use super::append::Head;
use super::batch::{Committed, Serving};
use super::clocks::{SteadyClock, Watch, clocks};
use super::session::{Session, SessionError};
use crate::clock::Clock;
use crate::ops::recurring::Recurring;
use crate::read_model::applier::Applier;
use crate::read_model::freshness::{Doubt, Freshness};
use counterfoil_domain::timestamp::Timestamp;
use sqlx::postgres::PgConnectOptions;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often freshness is proved while nothing else does.
pub(super) const PROOF: Duration = Duration::from_millis(250);

/// See the module. The writer's task owns it.
pub(super) struct Node {
    /// Where the session connects.
    connect: PgConnectOptions,
    /// The index's only writer.
    pub(super) applier: Applier,
    /// What everybody else reads.
    freshness: Arc<Freshness>,
    /// The node's clock.
    pub(super) clock: Clock,
    session: Option<Session>,
    steady: SteadyClock,
    /// When freshness was last proved, or tried to be.
    proof: Instant,
    /// What the log was told of doubts.
    outage: Recurring<Doubt>,
}

impl Node {
    /// A node whose session holds the serving lock.
    pub(super) fn new(
        session: Session,
        connect: PgConnectOptions,
        applier: Applier,
        freshness: Arc<Freshness>,
        clock: Clock,
        watch: Watch,
    ) -> Self {
        Self {
            connect,
            applier,
            freshness,
            clock,
            session: Some(session),
            steady: SteadyClock::new(watch),
            proof: Instant::now(),
            outage: Recurring::new(),
        }
    }

    /// The session, and what goes with each batch. A session that was lost is made anew: the old backend is ended first,
    /// so that it keeps no lock and commits nothing late.
    pub(super) async fn ready(&mut self) -> Result<(&mut Session, Serving<'_>), SessionError> {
        let usable = match self.session.take() {
            Some(present) if !present.broken => present,
            lost => match Session::reconnect(&self.connect, lost.as_ref(), &self.clock).await {
                Ok(new) => new,
                Err(error) => {
                    // It is kept, so that its backend is ended before the next one is made.
                    self.session = lost;
                    return Err(error);
                }
            },
        };
        let serving = Serving { applier: &mut self.applier, steady: &mut self.steady };
        Ok((self.session.insert(usable), serving))
    }

    /// Whether there is a session that was not lost yet.
    fn has_session(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.broken)
    }

    /// Whether a batch is in the log. If it is, it is applied then.
    pub(super) async fn was_committed(&mut self, batch: &Committed) -> Result<bool, SessionError> {
        let clock = self.clock.clone();
        let (session, serving) = self.ready().await?;
        let found = session.was_committed(batch.before, &batch.records).await?;
        session.follow(serving.applier, &clock).await?;
        Ok(found)
    }

    /// Proves freshness where batches that fail have not: what cannot be written can be answered all the same.
    pub(super) async fn prove_if_due(&mut self) {
        if self.proof.elapsed() > PROOF {
            // Its error was told.
            let _ = self.prove().await;
        }
    }

    /// Proves that this node holds the serving lock and has applied everything.
    ///
    /// # Errors
    /// Why there was no session and none could be made.
    pub(super) async fn prove(&mut self) -> Result<(), Doubt> {
        let sent = self.clock.boottime();
        let had_session = self.has_session();
        self.proof = Instant::now();
        let looked = self.look().await;
        // Looked at often, while nothing is written or nobody answers too: a jump shows only between two looks. And after
        // the clocks were read, which may have taken long.
        let steady = self.steady.check(&self.clock);
        let error = match looked {
            Ok((head, now)) => {
                let clocks = clocks(now, steady, &head);
                self.proved(sent, clocks.trusted);
                return Ok(());
            }
            Err(error) => error,
        };
        let doubt = error.doubt();
        match error {
            SessionError::Behind(error) => self.in_doubt(doubt, &error),
            error => self.lost(doubt, &error),
        }
        if had_session { Ok(()) } else { Err(doubt) }
    }

    /// The log's end, once everything up to it is applied, and the node's clock as of then.
    async fn look(&mut self) -> Result<(Head, (Timestamp, Timestamp)), SessionError> {
        let clock = self.clock.clone();
        let (session, serving) = self.ready().await?;
        session.follow(serving.applier, &clock).await
    }

    /// A proof that was asked for at `sent` has succeeded: everything up to the log's end is applied.
    pub(super) fn proved(&mut self, sent: Duration, clocks_agree: bool) {
        self.proof = Instant::now();
        self.freshness.proved(sent);
        if let Some(untold) = self.outage.over() {
            tracing::info!(untold, "tokens can be called active again, and events written");
        }
        match self.freshness.note_clocks(clocks_agree) {
            true if clocks_agree => tracing::info!("the clocks agree again"),
            true => {
                tracing::warn!("the clocks disagree: only what narrows is written until they agree again")
            }
            false => {}
        }
    }

    /// Nothing can be called active, nor written, until there is another proof.
    pub(super) fn in_doubt(&mut self, doubt: Doubt, error: &dyn Display) {
        self.freshness.lost(doubt);
        if let Some(untold) = self.outage.failed(doubt, Instant::now()) {
            tracing::error!(reason = ?doubt, %error, untold, "no token can be called active, and no event written");
        }
    }

    /// The same, since the session is of no use any more.
    pub(super) fn lost(&mut self, doubt: Doubt, error: &dyn Display) {
        if let Some(session) = self.session.as_mut() {
            session.broken = true;
        }
        self.in_doubt(doubt, error);
    }

    /// Gives the serving lock back.
    pub(super) async fn leave(mut self) {
        self.freshness.lost(Doubt::Unreachable);
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }
}
