//! What the command line asks of a running service. A row is a request until it has an outcome; who asked reads the
//! outcome and takes the row away. The service empties the request as it answers, for it may hold a password's hash.

use counterfoil_domain::timestamp::Timestamp;
use sqlx::{PgPool, Row};
use uuid::Uuid;

/// Asks.
///
/// # Errors
/// The database's.
pub async fn ask(pool: &PgPool, id: Uuid, request: &str) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO operator_requests (id, request) VALUES ($1, $2)";
    sqlx::query(sql).bind(id).bind(request).execute(pool).await.map(drop)
}

/// The outcome, once there is one.
///
/// # Errors
/// The database's.
pub async fn outcome(pool: &PgPool, id: Uuid) -> Result<Option<String>, sqlx::Error> {
    let sql = "SELECT outcome FROM operator_requests WHERE id = $1";
    Ok(sqlx::query_scalar::<_, Option<String>>(sql).bind(id).fetch_optional(pool).await?.flatten())
}

/// Takes a request away, answered or not, and gives its outcome if it had one. One that had none may be in the hands of a
/// service all the same.
///
/// # Errors
/// The database's.
pub async fn take_away(pool: &PgPool, id: Uuid) -> Result<Option<String>, sqlx::Error> {
    let sql = "DELETE FROM operator_requests WHERE id = $1 RETURNING outcome";
    Ok(sqlx::query_scalar::<_, Option<String>>(sql).bind(id).fetch_optional(pool).await?.flatten())
}

/// The requests that nobody has answered, the oldest first.
///
/// # Errors
/// The database's.
pub async fn open(pool: &PgPool) -> Result<Vec<(Uuid, String)>, sqlx::Error> {
    let sql = "SELECT id, request FROM operator_requests WHERE outcome IS NULL ORDER BY id LIMIT 100";
    let rows = sqlx::query(sql).fetch_all(pool).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Answers a request.
///
/// # Errors
/// The database's.
pub async fn answer(pool: &PgPool, id: Uuid, outcome: &str) -> Result<(), sqlx::Error> {
    let sql = "UPDATE operator_requests SET outcome = $2, request = '' WHERE id = $1";
    sqlx::query(sql).bind(id).bind(outcome).execute(pool).await.map(drop)
}

/// Deletes the requests from before an instant, which nobody carries out and nobody waits for any more: whoever asked was
/// killed before it could take them away. Their ids begin with the milliseconds in which they were made.
///
/// # Errors
/// The database's.
pub async fn forget(pool: &PgPool, before: Timestamp) -> Result<(), sqlx::Error> {
    let millis = before.micros().max(0) as u64 / 1000;
    let first = uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid();
    let sql = "DELETE FROM operator_requests WHERE id < $1";
    sqlx::query(sql).bind(first).execute(pool).await.map(drop)
}
