//! The writer's own session: it holds the serving lock, so that who lost the lock cannot append.

use super::append::{self, Head};
use super::read::records;
use super::{APPEND_LOCK, SERVING_LOCK, failure};
use crate::clock::Clock;
use crate::postgres::migrate::{self, MigrateError};
use crate::postgres::settings::{Wrong, for_writer, keep, wrong};
use crate::read_model::applier::{Applier, ApplyError};
use crate::read_model::freshness::{Doubt, FENCE};
use crate::read_model::tables::LoadError;
use counterfoil_domain::ids::Seq;
use counterfoil_domain::timestamp::Timestamp;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, Row};
use std::time::Duration;
use time::OffsetDateTime;

/// A session that holds the serving lock.
pub struct Session {
    /// The connection.
    pub connection: PgConnection,
    /// Set once the connection failed.
    pub broken: bool,
    backend: (i32, OffsetDateTime),
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The database did not answer.
    #[error("the database cannot be reached: {0}")]
    Database(#[from] sqlx::Error),
    /// Another node serves.
    #[error("another `counterfoil serve` works on this database; stop it first")]
    AnotherServes,
    /// A newer program has migrated the database meanwhile, and takes over.
    #[error(transparent)]
    Schema(MigrateError),
    /// What was reached is a standby.
    #[error(
        "the server that was reached is a standby: nothing can be written to it, and what it shows may be old"
    )]
    Standby,
    /// What was reached has settings under which no promise could be kept.
    #[error("the database's setting {} is {:?}; it must be {}: {}", .0.name, .0.found, .0.wanted, .0.why)]
    Setting(Wrong),
    /// The session lives, but the index could not be brought up to the log.
    #[error("the index could not be brought up to the log: {0}")]
    Behind(#[source] ApplyError),
}

impl SessionError {
    /// What it says of this node.
    pub fn doubt(&self) -> Doubt {
        match self {
            Self::Database(error) => failure::doubt(error),
            Self::AnotherServes | Self::Schema(_) => Doubt::AnotherServes,
            Self::Standby | Self::Setting(_) => Doubt::Unfit,
            Self::Behind(error) => error.doubt(),
        }
    }
}

impl From<LoadError> for SessionError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Database(error) => Self::Database(error),
            unreadable => Self::Behind(unreadable.into()),
        }
    }
}

impl From<ApplyError> for SessionError {
    fn from(error: ApplyError) -> Self {
        match error.into_lost() {
            Ok(error) => Self::Database(error),
            Err(error) => Self::Behind(error),
        }
    }
}

impl From<MigrateError> for SessionError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Database(error) => Self::Database(error),
            error => Self::Schema(error),
        }
    }
}

/// Connects, within bounds: a server that hangs must not keep the writer from trying again.
async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let answer = tokio::time::timeout(Duration::from_secs(3), for_writer(options).connect()).await;
    answer.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

/// Refuses a session under whose settings no promise could be kept.
pub(super) async fn refuse_unfit(connection: &mut PgConnection) -> Result<(), SessionError> {
    let first = wrong(connection).await?.into_iter().next();
    first.map_or(Ok(()), |first| Err(SessionError::Setting(first)))
}

impl Session {
    /// Connects and takes the serving lock if it is free, and the tables are still those of this version. What is reached
    /// may be another server than before: a standby gives locks away, and shows what was true a while ago.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn try_take(options: &PgConnectOptions) -> Result<Self, SessionError> {
        let mut connection = connect(options).await?;
        // Of a session, its user sees more than the role that it works as does.
        sqlx::query("SET ROLE NONE").execute(&mut connection).await?;
        let row = sqlx::query("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")
            .fetch_one(&mut connection)
            .await?;
        let backend = (row.try_get(0)?, row.try_get(1)?);
        sqlx::query("RESET ROLE").execute(&mut connection).await?;
        if sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&mut connection).await? {
            return Err(SessionError::Standby);
        }
        refuse_unfit(&mut connection).await?;
        keep(&mut connection).await?;
        let got: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(SERVING_LOCK)
            .fetch_one(&mut connection)
            .await?;
        if !got {
            return Err(SessionError::AnotherServes);
        }
        migrate::refuse_newer(&mut connection).await?;
        Ok(Self { connection, broken: false, backend })
    }

    /// Connects, waiting for the serving lock.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn take(
        options: &PgConnectOptions,
        patience: Duration,
        say: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Self, SessionError> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut said = false;
        loop {
            match Self::try_take(options).await {
                Err(SessionError::AnotherServes) if tokio::time::Instant::now() < deadline => {
                    if !said {
                        say(
                            "another `counterfoil serve` works on this database; waiting up to 15 seconds for it to stop",
                        );
                        said = true;
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                other => return other,
            }
        }
    }

    /// Makes a new session after one was lost. The old backend is ended first. Whoever had the lock in between may
    /// answer by its last proof for a while, so nothing is done until that has passed.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn reconnect(
        options: &PgConnectOptions,
        old: Option<&Self>,
        clock: &Clock,
    ) -> Result<Self, SessionError> {
        if let Some(old) = old {
            in_time(old.end(options)).await?;
        }
        let session = in_time(Self::try_take(options)).await?;
        proofs_run_out(clock).await;
        Ok(session)
    }

    /// Ends this session's backend, from another one.
    async fn end(&self, options: &PgConnectOptions) -> Result<(), SessionError> {
        let mut connection = connect(options).await?;
        sqlx::query("SET ROLE NONE").execute(&mut connection).await?;
        let sql = "SELECT pg_terminate_backend(pid, 3000) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2";
        sqlx::query(sql).bind(self.backend.0).bind(self.backend.1).fetch_all(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }

    /// The log's end, which proves that the session lives and so holds the lock.
    ///
    /// # Errors
    /// The database's, or an end that makes no sense.
    pub async fn head(&mut self) -> Result<Head, SessionError> {
        in_time(async {
            let head = append::head(&mut self.connection).await?;
            if !head.is_fit {
                refuse_unfit(&mut self.connection).await?;
            }
            Ok(head)
        })
        .await
    }

    /// The log's end, once everything up to it is applied: a proof of freshness. With it, what the node's clock said before
    /// the database was asked for its own, and then.
    ///
    /// # Errors
    /// The database's, or the applier's.
    pub async fn follow(
        &mut self,
        applier: &mut Applier,
        clock: &Clock,
    ) -> Result<(Head, (Timestamp, Timestamp)), SessionError> {
        let asked = clock.now();
        let head = self.head().await?;
        let now = (asked, clock.now());
        applier.follow(&mut self.connection, &head).await?;
        Ok((head, now))
    }

    /// Whether the log has exactly these records after `before`. Under the append lock, so that nothing is under way.
    ///
    /// # Errors
    /// The database's.
    pub async fn was_committed(&mut self, before: Seq, expected: &[String]) -> Result<bool, SessionError> {
        let found = in_time(async {
            let mut transaction = self.connection.begin().await?;
            sqlx::query("SELECT pg_advisory_xact_lock($1)")
                .bind(APPEND_LOCK)
                .execute(&mut *transaction)
                .await?;
            let found = records(&mut transaction, before, expected.len()).await?;
            transaction.rollback().await?;
            Ok(found)
        })
        .await?;
        // A batch without events left no trace in the log: it is never found.
        Ok(!expected.is_empty() && found == expected)
    }

    /// Ends the session and gives the lock back.
    pub async fn close(self) {
        let _ = self.connection.close().await;
    }
}

/// Waits until no proof from before counts any more, whoever made it.
pub async fn proofs_run_out(clock: &Clock) {
    let until = clock.boottime() + FENCE;
    while clock.boottime() < until {
        tokio::time::sleep(until.saturating_sub(clock.boottime())).await;
    }
}

/// Whether somebody serves on this database: holds the serving lock.
///
/// # Errors
/// The database's.
pub async fn is_served(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND d.datname = current_database()
          AND (l.classid::bigint << 32 | l.objid::bigint) = $1)";
    sqlx::query_scalar(sql).bind(SERVING_LOCK).fetch_one(connection).await
}

/// How long the database may take over anything here: a connection that went silent is lost.
const ANSWER: Duration = Duration::from_secs(5);

async fn in_time<T>(work: impl Future<Output = Result<T, SessionError>>) -> Result<T, SessionError> {
    let answer = tokio::time::timeout(ANSWER, work).await;
    answer.map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))?
}
