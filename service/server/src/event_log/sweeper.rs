//! The sweeper: it has the expiry of tokens recorded, and deletes what is kept for a time only.
//!
//! Nothing depends on it: a token is inactive from its expiry on, by the clock, and the writer records the expiry of
//! whatever a command needs. The sweeper asks the database what is due, by an index, again and again. It never sleeps
//! until an instant, so that no expiry is too far away to be waited for.
//!
//! **Two clocks must agree.** What is asked for is due by the database's clock and by the node's, and the writer judges
//! both again. While it does not trust them it refuses the sweeper's command, and then nothing is deleted either. For the
//! first moments after a start ([`Watch`]) nothing ends that is older than it.
//!
//! **One token holds up no other.** A token whose rows contradict the log spoils the command that names it. It is found by
//! halving, told to the log, and left alone for an hour; the others expire meanwhile.
//!
//! **From where it was.** What is recorded or deleted stays in the way of whoever looks from the start, as long as any
//! transaction is open in the database. So each look goes on where the last one ended, and once a minute one begins anew.
//!
//! **Behind everything else.** A command names at most 200 tokens, and waits in the writer until nothing else does, or for 250
//! ms.

use super::clocks::Watch;
use super::writer::{WeakWriter, WriteError};
use crate::clock::Clock;
use crate::postgres::connect::in_time;
use crate::read_model::tables::operator_requests;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Command};
use counterfoil_domain::ids::{OrganizationId, TokenId};
use metrics::Gauge;
use sqlx::{AssertSqlSafe, PgPool};
use std::collections::HashMap;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

/// Tokens in one command.
const MOST: usize = 200;
/// How often it looks.
const EVERY: Duration = Duration::from_millis(500);
/// How long it leaves off after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How often what is kept for a time only is deleted, and how often a look begins at the start.
const TIDY: Duration = Duration::from_secs(60);
/// How long a token is left alone whose expiry could not be recorded, and how many such tokens are remembered.
const ASIDE: (Duration, usize) = (Duration::from_secs(3600), 1_000);
/// Rows that one statement deletes, so that none holds locks for long.
const ROWS: i64 = 500;

/// See the module. It does not keep the writer alive.
pub struct Sweeper {
    /// Where expiries are recorded.
    pub writer: WeakWriter,
    /// Reads of what is due.
    pub pool: PgPool,
    /// The node's clock.
    pub clock: Clock,
    /// Since when clocks are watched.
    pub watch: Watch,
    /// What is left alone, and until when.
    pub aside: Aside,
    /// How far the tokens' expiries are recorded.
    pub reached: Reached,
}

/// Before every instant, for PostgreSQL.
const START: &str = "-infinity";

/// How far tokens are looked through in the order of their expiry: the last one's, as PostgreSQL writes it, and its id.
pub struct Reached {
    expires_at: String,
    id: Uuid,
    begun: Instant,
}

impl Default for Reached {
    fn default() -> Self {
        Self { expires_at: START.into(), id: Uuid::nil(), begun: Instant::now() }
    }
}

/// Tokens whose expiry could not be recorded.
pub struct Aside {
    until: HashMap<TokenId, Instant>,
    shown: Gauge,
}

impl Aside {
    /// None yet. The gauge shows how many there are.
    pub fn new(shown: Gauge) -> Self {
        Self { until: HashMap::new(), shown }
    }

    /// Those that are left alone now.
    fn now(&mut self) -> Vec<Uuid> {
        let now = Instant::now();
        self.until.retain(|_, until| now < *until);
        self.shown.set(self.until.len() as f64);
        self.until.keys().map(|id| id.0).collect()
    }

    /// Leaves a token alone. False if there are too many: then more is wrong than some rows.
    fn put(&mut self, token: TokenId) -> bool {
        let has_room = self.until.len() < ASIDE.1;
        if has_room {
            self.until.insert(token, Instant::now() + ASIDE.0);
            self.shown.set(self.until.len() as f64);
            tracing::error!(
                %token,
                "the expiry of a token cannot be recorded, for its rows contradict the log: it is inactive by the clock, \
                 and left alone for an hour; `counterfoil verify` names the rows"
            );
        }
        has_room
    }
}

/// Why a sweep did not happen.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("the writer has ended")]
    NoWriter,
}

impl Sweeper {
    /// Sweeps until `stop` is gone.
    pub async fn run(mut self, mut stop: watch::Receiver<()>) {
        let (mut tidied, mut failing) = (None::<Instant>, false);
        loop {
            let mut done = self.sweep().await;
            let watched = self.watch.ends_after(&self.clock) == 0;
            if watched && tidied.is_none_or(|at| at.elapsed() >= TIDY) {
                let tidy = self.tidy().await;
                done = done.and_then(|swept| tidy.map(|()| swept));
                tidied = Some(Instant::now());
            }
            let pause = match &done {
                Ok(MOST) => Duration::ZERO,
                Ok(_) => EVERY,
                Err(_) => AFTER_FAILURE,
            };
            if let Err(error) = done.inspect(|_| failing = false)
                && !std::mem::replace(&mut failing, true)
            {
                tracing::warn!(%error, "what is over could not be recorded or deleted; it is tried again");
            }
            tokio::select! {
                biased;
                _ = stop.changed() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Has the expiry of what is due recorded, and says of how many.
    async fn sweep(&mut self) -> Result<usize, SweepError> {
        let sql = "SELECT id, expires_at::text FROM tokens
            WHERE ended_seq IS NULL AND expires_at IS NOT NULL AND expires_at <= LEAST(statement_timestamp(), $1)
                AND issued_seq > $3 AND id <> ALL($4)
                AND (expires_at, id) > (GREATEST($5, $6::text::timestamptz), $7)
            ORDER BY expires_at, id LIMIT $2";
        let anew = self.reached.begun.elapsed() >= TIDY;
        if anew {
            self.reached.begun = Instant::now();
        }
        let start = Reached::default();
        let from = if anew { &start } else { &self.reached };
        let ends_after = self.watch.ends_after(&self.clock);
        // What was issued since the start ends after that: what has been over for long is not looked through until it counts.
        // One bound with the other, for an index is entered by one.
        let since = if ends_after == 0 { OffsetDateTime::UNIX_EPOCH } else { self.started() };
        let query = sqlx::query_as(sql).bind(self.now()).bind(MOST as i64).bind(ends_after as i64);
        let query = query.bind(self.aside.now()).bind(since).bind(&from.expires_at).bind(from.id);
        // If a look from the start takes too long, the next ones go on from where they were.
        let due: Vec<(Uuid, String)> = in_time(query.fetch_all(&self.pool)).await?;
        if anew {
            self.reached = start;
        }
        let (count, last) = (due.len(), due.last().cloned());
        let Some((id, expires_at)) = last else { return Ok(0) };
        let swept = self.record(due.into_iter().map(|(id, _)| TokenId(id)).collect()).await?;
        // In a start's first moments what is older than it is passed over.
        if swept && ends_after == 0 {
            self.reached = Reached { expires_at, id, ..self.reached };
        }
        Ok(if swept { count } else { 0 })
    }

    /// Has the expiry of these recorded, but for those that cannot be. False if the clocks are not trusted.
    async fn record(&mut self, due: Vec<TokenId>) -> Result<bool, SweepError> {
        let mut left = vec![due];
        while let Some(mut tokens) = left.pop() {
            match self.write(tokens.clone()).await {
                Ok(true) => {}
                Err(SweepError::Write(WriteError::Internal)) if tokens.len() > 1 => {
                    left.push(tokens.split_off(tokens.len() / 2));
                    left.push(tokens);
                }
                Err(SweepError::Write(WriteError::Internal)) if self.aside.put(tokens[0]) => {}
                other => return other,
            }
        }
        Ok(true)
    }

    /// Whether the writer took the command. It refuses it while it does not trust the clocks.
    async fn write(&self, tokens: Vec<TokenId>) -> Result<bool, SweepError> {
        let writer = self.writer.upgrade().ok_or(SweepError::NoWriter)?;
        let command = Command {
            actor: Actor::System,
            request_id: self.clock.uuid(),
            // Tokens of any organization: each event says which.
            organization: OrganizationId(Uuid::nil()),
            action: Action::Sweep { tokens },
        };
        match writer.write(command, None).await {
            Ok(_) => Ok(true),
            Err(WriteError::Refused(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes idempotency keys and what the command line asked after their day, and sessions that are over.
    async fn tidy(&self) -> Result<(), SweepError> {
        let now = self.now();
        // An empty sweep asks whether the clocks are trusted: nothing ends by a clock that is wrong.
        if !self.write(Vec::new()).await? {
            return Ok(());
        }
        self.delete(
            "DELETE FROM idempotency_keys WHERE key IN (SELECT key FROM idempotency_keys
                WHERE created_at <= LEAST(statement_timestamp(), $1) - interval '24 hours'
                    AND created_at >= $3::text::timestamptz
                ORDER BY created_at LIMIT $2) RETURNING created_at AS at",
            now,
        )
        .await?;
        in_time(operator_requests::forget(&self.pool, self.clock.now().plus_seconds(-24 * 3600))).await?;
        self.delete(
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions
                WHERE expires_at <= LEAST(statement_timestamp(), $1) AND expires_at >= $3::text::timestamptz
                ORDER BY expires_at LIMIT $2) RETURNING expires_at AS at",
            now,
        )
        .await
    }

    /// Deletes rows, some at a time, each time from where it was.
    async fn delete(&self, some: &'static str, now: OffsetDateTime) -> Result<(), SweepError> {
        let sql = format!("WITH gone AS ({some}) SELECT count(*), max(at)::text FROM gone");
        let mut from = START.to_owned();
        loop {
            let delete = sqlx::query_as(AssertSqlSafe(sql.clone())).bind(now).bind(ROWS).bind(&from);
            let (deleted, last): (i64, Option<String>) = in_time(delete.fetch_one(&self.pool)).await?;
            if deleted < ROWS {
                return Ok(());
            }
            from = last.unwrap_or(from);
        }
    }

    /// When the clocks began to be watched, by what they say now.
    fn started(&self) -> OffsetDateTime {
        self.now() - self.clock.boottime().saturating_sub(self.watch.since)
    }

    fn now(&self) -> OffsetDateTime {
        self.clock.now().to_offset_date_time()
    }
}
