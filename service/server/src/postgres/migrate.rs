//! Migrations.
//!
//! One program migrates at a time. What changes a table is done only while nobody serves: whoever migrates holds the
//! serving lock over it, so that no program works on tables of another version; and no session serves (again) on a
//! database that a newer program has migrated since (`refuse_newer`).

use super::private::{Progress, Say};
use super::roles::{self, Arrangement, Past, Roles, quoted};
use super::settings::for_service;
use crate::event_log::SERVING_LOCK;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The numbered files of `migrations/`, built in.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// The lock under which roles are made and migrations run.
const MIGRATE_LOCK: i64 = 0x0063_665f_6d69_6772;

/// Why the schema is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database did not answer, or refused.
    #[error("the database cannot be migrated: {0}")]
    Database(#[source] sqlx::Error),
    /// A migration was changed or failed.
    #[error("the database cannot be migrated: {0}")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A newer program was here.
    #[error(
        "a newer counterfoil has migrated this database (migration {0} is not known here): run that version; nothing was changed"
    )]
    Newer(i64),
    /// Somebody serves.
    #[error(
        "there are migrations to run, and a `counterfoil serve` works on this database: stop it, then run this again; no table was changed"
    )]
    Serving,
    /// Somebody's transaction was not waited for any longer.
    #[error(
        "a table is to be changed, and an open transaction of somebody's has kept it for 15 seconds (a backup, or one that was forgotten): wait for its end or end it, then run this again; the change was not made. SELECT pid, usename, state, xact_start, query FROM pg_stat_activity WHERE xact_start IS NOT NULL ORDER BY xact_start"
    )]
    Held,
    /// Others own the tables.
    #[error(
        "the tables belong to {owner}, whom {login} cannot become: DATABASE_MIGRATE_URL has to log in as a role that can"
    )]
    NotTheOwner {
        /// Who was to migrate.
        login: String,
        /// Who owns them.
        owner: String,
    },
    /// A role is to be made by somebody else.
    #[error(
        "there is no role {0}, and who migrates may make none; an administrator can: CREATE ROLE {0} LOGIN"
    )]
    NoRole(String),
    /// The service could edit the log.
    #[error(
        "the service logs in as {service}, {}: whoever runs SQL as the service could edit the log. Let DATABASE_URL log in as a role that may less, or mend what `counterfoil doctor` names",
        how(*.past, .owner)
    )]
    NotHeldBack {
        /// As whom the service logs in.
        service: String,
        /// Who owns the tables.
        owner: String,
        /// What lets it.
        past: Past,
    },
}

fn how(past: Past, owner: &str) -> String {
    match past {
        Past::Attributes => "who may more than any grant says".into(),
        Past::Programs => "who may run programs, or write files, as the server".into(),
        Past::Member => format!("who can become {owner}, the owner of the tables"),
        Past::Schema => "who owns the schema or the database".into(),
    }
}

impl From<sqlx::migrate::MigrateError> for MigrateError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::VersionMissing(version) => Self::Newer(version),
            sqlx::migrate::MigrateError::Execute(error)
            | sqlx::migrate::MigrateError::ExecuteMigration(error, _)
                if is_held(&error) =>
            {
                Self::Held
            }
            other => Self::Migrate(other),
        }
    }
}

impl From<sqlx::Error> for MigrateError {
    fn from(error: sqlx::Error) -> Self {
        if is_held(&error) { Self::Held } else { Self::Database(error) }
    }
}

/// Whether a lock was waited for as long as `lock_timeout` says.
fn is_held(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("55P03"))
}

/// How the schema differs from what this program would make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// No migration was ever run.
    Empty,
    /// A migration is still to be run.
    Missing(i64),
    /// A newer program ran one that is not known here.
    Newer(i64),
    /// What was run under this number is not what this program has.
    Changed(i64),
    /// One was begun and not finished.
    Unfinished(i64),
}

/// Compares what was run with what there is, and changes nothing.
pub(crate) async fn differences(connection: &mut PgConnection) -> Result<Vec<Difference>, sqlx::Error> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('public._sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(vec![Difference::Empty]);
    }
    let rows: Vec<(i64, Vec<u8>, bool)> =
        sqlx::query_as("SELECT version, checksum, success FROM public._sqlx_migrations ORDER BY version")
            .fetch_all(connection)
            .await?;
    let mut found = Vec::new();
    for (version, checksum, success) in &rows {
        match MIGRATOR.iter().find(|known| known.version == *version) {
            None => found.push(Difference::Newer(*version)),
            Some(_) if !success => found.push(Difference::Unfinished(*version)),
            Some(known) if known.checksum[..] != checksum[..] => found.push(Difference::Changed(*version)),
            Some(_) => {}
        }
    }
    let missing = MIGRATOR.iter().filter(|known| !rows.iter().any(|(version, ..)| *version == known.version));
    found.extend(missing.map(|known| Difference::Missing(known.version)));
    Ok(found)
}

/// Refuses a database that a newer program has migrated.
pub(crate) async fn refuse_newer(connection: &mut PgConnection) -> Result<(), MigrateError> {
    let newest: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM public._sqlx_migrations").fetch_one(connection).await?;
    let known = MIGRATOR.iter().map(|migration| migration.version).max();
    match newest {
        Some(newest) if known.is_none_or(|known| newest > known) => Err(MigrateError::Newer(newest)),
        _ => Ok(()),
    }
}

/// Makes a database if it is not there.
///
/// # Errors
/// The database's.
pub async fn ensure_database(options: &PgConnectOptions, database: &str) -> Result<(), MigrateError> {
    let mut connection = options.connect().await?;
    let there: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_database WHERE datname = $1")
        .bind(database)
        .fetch_optional(&mut connection)
        .await?;
    if there.is_none() {
        let sql = format!(
            "CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
            quoted(database)
        );
        match sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await {
            // Somebody else made it at the same moment, and that is seen in one way or the other.
            Err(sqlx::Error::Database(error))
                if matches!(error.code().as_deref(), Some("42P04" | "23505")) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
    }
    connection.close().await?;
    Ok(())
}

/// Makes the roles and runs the migrations. `serves` is as whom the service logs in, if that is another role than the one
/// that migrates.
///
/// # Errors
/// See [`MigrateError`].
pub async fn migrate(
    options: &PgConnectOptions,
    serves: Option<&str>,
    say: Say<'_>,
) -> Result<Roles, MigrateError> {
    // "Already exists, skipping" and the like are of no use to anybody. Whoever waits for a lock on a table has all others
    // wait behind it.
    let settings = [("client_min_messages", "warning"), ("lock_timeout", "15s")];
    let mut connection = for_service(options.clone()).options(settings).connect().await?;
    take_turns(&mut connection, say).await?;
    let roles = Roles::arranged_by(&mut connection, serves).await?;
    roles::make(&mut connection, &roles).await?;
    let mut alone = false;
    if others_own(&mut connection, &roles.owner).await? {
        nobody_serves(&mut connection, say).await?;
        alone = true;
        roles::hand_over(&mut connection, &roles.owner).await?;
    }
    sqlx::query(AssertSqlSafe(format!("SET ROLE {}", quoted(&roles.owner)))).execute(&mut connection).await?;
    let differences = differences(&mut connection).await?;
    let pending = |found: &Difference| matches!(found, Difference::Empty | Difference::Missing(_));
    if differences.iter().any(pending) && !alone {
        nobody_serves(&mut connection, say).await?;
        alone = true;
    }
    MIGRATOR.run(&mut connection).await.map_err(MigrateError::from)?;
    if roles.arrangement != Arrangement::One {
        roles::grant(&mut connection, &roles.service).await?;
    }
    if alone {
        // Whoever serves next need not wait for this session's end.
        sqlx::query("SELECT pg_advisory_unlock($1)").bind(SERVING_LOCK).execute(&mut connection).await?;
    }
    connection.close().await?;
    Ok(roles)
}

/// How often a lock is tried for.
const POLL: Duration = Duration::from_millis(100);
/// How long whoever serves is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

async fn try_lock(connection: &mut PgConnection, lock: i64) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(lock).fetch_one(connection).await
}

/// Waits until nobody else migrates. A killed program's session may go on for a statement.
async fn take_turns(connection: &mut PgConnection, say: Say<'_>) -> Result<(), sqlx::Error> {
    let mut progress = Progress::new();
    while !try_lock(connection, MIGRATE_LOCK).await? {
        progress.say(say, "another counterfoil migrates this database; waiting for it");
        sleep(POLL).await;
    }
    Ok(())
}

/// Takes the serving lock for this session.
async fn nobody_serves(connection: &mut PgConnection, say: Say<'_>) -> Result<(), MigrateError> {
    if try_lock(connection, SERVING_LOCK).await? {
        return Ok(());
    }
    say(
        "there are migrations to run, and a `counterfoil serve` works on this database; waiting up to 15 seconds for it to stop",
    );
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        sleep(POLL).await;
        if try_lock(connection, SERVING_LOCK).await? {
            return Ok(());
        }
    }
    Err(MigrateError::Serving)
}

/// Whether the tables are there, and belong to another than their owner.
async fn others_own(connection: &mut PgConnection, owner: &str) -> Result<bool, sqlx::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_class WHERE oid = to_regclass('public.events')
        AND relowner <> (SELECT oid FROM pg_roles WHERE rolname = $1))";
    sqlx::query_scalar(sql).bind(owner).fetch_one(connection).await
}
