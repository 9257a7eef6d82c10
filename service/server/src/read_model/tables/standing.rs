//! Standing tokens, for the index that is loaded at a start.

use super::LoadError;
use super::token_copy::{Reader, STANDING, STANDING_COUNT};
use crate::postgres::copy::{Fields, copy};
use counterfoil_domain::token::Token;
use futures_util::TryStreamExt;
use sqlx::PgConnection;

/// About how many plaintexts standing tokens have, by what PostgreSQL last counted: each has its digest claimed. It costs
/// nothing, and may be wrong.
///
/// # Errors
/// The database's.
pub async fn about(connection: &mut PgConnection) -> Result<usize, sqlx::Error> {
    let sql = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'claimed_digests'::regclass";
    Ok(sqlx::query_scalar::<_, i64>(sql).fetch_one(connection).await? as usize)
}

/// Gives every standing token to `put`, without what the index does not hold.
///
/// # Errors
/// The database's, or a row that makes no sense.
pub async fn standing(connection: &mut PgConnection, mut put: impl FnMut(&Token)) -> Result<(), LoadError> {
    let sql =
        format!("COPY (SELECT {STANDING} FROM tokens WHERE ended_seq IS NULL) TO STDOUT (FORMAT binary)");
    let mut reader = Reader::default();
    let mut rows = copy(connection, &sql).await?;
    while let Some(row) = rows.try_next().await? {
        // The last is the mark at the end.
        if let Some(mut fields) = Fields::next(&row, STANDING_COUNT) {
            put(&reader.standing(&mut fields)?);
        }
    }
    Ok(())
}
