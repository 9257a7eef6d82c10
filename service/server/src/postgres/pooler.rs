//! Whether a pooler stands between us and PostgreSQL.
//!
//! The serving lock belongs to a session. Through a pooler that hands one server session to several clients the lock
//! would stay with a session that somebody else gets next, and who lost it would not notice. One that gives each client
//! a session is not worked through either: our sessions begin with settings that must win over a role's and a
//! database's, and PgBouncer refuses those, or drops them if it is told to (`settings.rs` finds that out).

use super::connect::DatabaseError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, Row};
use std::time::Duration;
use tokio::time::timeout;

/// How long a session of our own may keep us waiting: a pooler whose sessions are all taken does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Refuses such a pooler. Two sessions at once, one of them in a transaction, are two server processes, and each
/// keeps its own.
pub(crate) async fn refuse(options: &PgConnectOptions) -> Result<(), DatabaseError> {
    let mut idle = connect(options).await?;
    let before = server_process(&mut idle).await?;
    let mut busy = connect(options).await?;
    sqlx::raw_sql("BEGIN").execute(&mut busy).await.map_err(explained)?;
    let other = server_process(&mut busy).await?;
    let after = timeout(PATIENCE, server_process(&mut idle)).await.map_err(|_| DatabaseError::Pooler)??;
    let shared = other == before || after != before;
    sqlx::raw_sql("ROLLBACK").execute(&mut busy).await.map_err(explained)?;
    let _ = tokio::join!(busy.close(), idle.close());
    if shared { Err(DatabaseError::Pooler) } else { Ok(()) }
}

/// What the driver says through a pooler, as a sentence. PgBouncer refuses settings at connect (08P01), in each of its
/// modes, or loses a statement that was prepared in another session (26000, 42P05).
pub(crate) fn explained(error: sqlx::Error) -> DatabaseError {
    let code = error.as_database_error().and_then(|error| error.code().map(String::from));
    match code.as_deref() {
        Some("08P01" | "26000" | "42P05") => DatabaseError::Pooler,
        _ => DatabaseError::Database(error),
    }
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, DatabaseError> {
    match timeout(PATIENCE, options.connect()).await {
        Ok(answer) => answer.map_err(explained),
        Err(_) => Err(DatabaseError::Database(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))),
    }
}

/// Without a prepared statement, which itself does not survive such a pooler.
async fn server_process(connection: &mut PgConnection) -> Result<i32, DatabaseError> {
    use sqlx::Executor;
    let row = connection.fetch_one(sqlx::raw_sql("SELECT pg_backend_pid()")).await.map_err(explained)?;
    Ok(row.try_get_unchecked(0)?)
}
