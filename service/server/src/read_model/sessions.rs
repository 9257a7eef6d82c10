//! Sessions, as a request presents one. They are looked up in the database and not in memory: only people in
//! browsers have them, and one that was ended is gone for every node at once.

use super::tables::{LoadError, StoredInstant};
use counterfoil_domain::ids::{OrganizationId, SessionId, UserId};
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::timestamp::Timestamp;
use sqlx::{PgPool, Row};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
            expires_at: row.try_get::<StoredInstant, _>(3)?.instant("sessions", "expires_at")?,
        })
    })
    .transpose()
}

/// Sessions that have worked on this node: a request that presents one is no stranger's, so it need not be counted
/// against its address before it is looked up, but against its own allowance. It says nothing about whether they still
/// work.
#[derive(Default)]
pub struct Known(Mutex<HashMap<Digest, (SessionId, Timestamp)>>);

/// So many are kept. They are signed in to, so there are hardly ever more; then all begin anew.
const MOST: usize = 100_000;

impl Known {
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, (SessionId, Timestamp)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which it is, if it has worked here.
    pub fn get(&self, digest: &Digest) -> Option<SessionId> {
        self.lock().get(digest).map(|(id, _)| *id)
    }

    /// It has worked, and may until `expires_at`.
    pub fn add(&self, digest: Digest, id: SessionId, expires_at: Timestamp, now: Timestamp) {
        let mut known = self.lock();
        if known.len() >= MOST && !known.contains_key(&digest) {
            known.retain(|_, (_, until)| *until > now);
            if known.len() >= MOST {
                known.clear();
            }
        }
        known.insert(digest, (id, expires_at));
    }

    /// It works no more.
    pub fn forget(&self, digest: &Digest) {
        self.lock().remove(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn what_is_known_is_bounded() {
        let (known, at) = (Known::default(), Timestamp::from_micros);
        let digest = |n: u32| Digest::of(&n.to_be_bytes());
        let id = SessionId(Uuid::nil());
        (0..MOST as u32).for_each(|n| known.add(digest(n), id, at(if n == 7 { 20 } else { 10 }), at(0)));
        // Those that are over make room, and if none are, all do.
        known.add(digest(1_000_000), id, at(20), at(10));
        let has = |n: u32| known.get(&digest(n)).is_some();
        assert!(has(7) && has(1_000_000) && !has(8));
        (0..2 * MOST as u32).for_each(|n| known.add(digest(n), id, at(20), at(10)));
        assert!(known.lock().len() <= MOST && has(2 * MOST as u32 - 1));
        known.forget(&digest(2 * MOST as u32 - 1));
        assert!(!has(2 * MOST as u32 - 1));
    }
}
