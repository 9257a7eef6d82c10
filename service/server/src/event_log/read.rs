//! Reading the log, in order and whole: a reader that sees a gap or an event that it does not know has found
//! corruption, or a newer version's work, and stops.

use counterfoil_domain::event::{self, Recorded, Undecodable};
use counterfoil_domain::ids::Seq;
use counterfoil_domain::plaintext::Digest;
use sqlx::{PgConnection, Row};

/// Why the log could not be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database did not answer.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// An event that this version does not know.
    #[error("event {seq}: {source}")]
    Undecodable {
        /// Which.
        seq: Seq,
        /// Why.
        source: Undecodable,
    },
    /// An event that does not come after the one that was read last.
    #[error("event {seq} does not continue the log: its chain value does not follow from the one before")]
    Chain {
        /// Which.
        seq: Seq,
    },
    /// A position is missing.
    #[error("the log has a gap: event {found} follows event {after}")]
    Gap {
        /// The event before.
        after: Seq,
        /// The event after.
        found: Seq,
    },
}

/// The last event's position; 0 for an empty log.
///
/// # Errors
/// The database's.
pub async fn head(connection: &mut PgConnection) -> Result<Seq, sqlx::Error> {
    // The greatest, and not the first in descending order: that would be a row whose position was made null.
    let head: Option<i64> = sqlx::query_scalar("SELECT max(seq) FROM events").fetch_one(connection).await?;
    Ok(head.unwrap_or(0) as Seq)
}

/// The events after `after`, whose chain value is `chain`, up to `until`, which must all be there; with the chain value
/// of the last.
///
/// # Errors
/// See [`ReadError`].
pub async fn range(
    connection: &mut PgConnection,
    after: Seq,
    mut chain: Digest,
    until: Seq,
) -> Result<(Vec<Recorded>, Digest), ReadError> {
    let sql = "SELECT seq, record, chain FROM events WHERE seq > $1 AND seq <= $2 ORDER BY seq";
    let rows = sqlx::query(sql).bind(after as i64).bind(until as i64).fetch_all(connection).await?;
    let mut events = Vec::with_capacity(rows.len());
    let mut last = after;
    for row in rows {
        let (seq, record, stored): (i64, &str, &[u8]) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let seq = seq as Seq;
        if seq != last + 1 {
            return Err(ReadError::Gap { after: last, found: seq });
        }
        chain = event::chain(&chain, record);
        if chain.0 != stored {
            return Err(ReadError::Chain { seq });
        }
        events.push(Recorded::decode(record).map_err(|source| ReadError::Undecodable { seq, source })?);
        last = seq;
    }
    if last != until { Err(ReadError::Gap { after: last, found: until }) } else { Ok((events, chain)) }
}

/// The records after `after`, to the byte, at most `limit`: for finding one's own after an unknown commit.
///
/// # Errors
/// The database's.
pub async fn records(
    connection: &mut PgConnection,
    after: Seq,
    limit: usize,
) -> Result<Vec<String>, sqlx::Error> {
    let sql = "SELECT record FROM events WHERE seq > $1 ORDER BY seq LIMIT $2";
    sqlx::query_scalar(sql).bind(after as i64).bind(limit as i64).fetch_all(connection).await
}
