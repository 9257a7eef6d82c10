//! Sessions, as a request presents one. They are looked up in the database and not in memory: only people in
//! browsers have them, and one that was ended is gone for every node at once.

use super::tables::{LoadError, from_sql};
use counterfoil_domain::ids::{OrganizationId, SessionId, UserId};
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::timestamp::Timestamp;
use sqlx::{PgPool, Row};

/// A session that was not ended.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Its id.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// Where it acts unless a request says otherwise.
    pub home: OrganizationId,
    /// From when on it counts no more.
    pub expires_at: Timestamp,
}

/// The session of a presented secret.
///
/// # Errors
/// The database's.
pub async fn find(pool: &PgPool, digest: &Digest) -> Result<Option<Found>, LoadError> {
    let sql = "SELECT id, user_id, organization_id, expires_at FROM sessions WHERE digest = $1";
    let row = sqlx::query(sql).bind(digest.0.as_slice()).fetch_optional(pool).await?;
    row.map(|row| {
        Ok(Found {
            id: SessionId(row.try_get(0)?),
            user: UserId(row.try_get(1)?),
            home: OrganizationId(row.try_get(2)?),
            expires_at: from_sql(row.try_get(3)?),
        })
    })
    .transpose()
}
