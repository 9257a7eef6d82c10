//! Claims: what a standing token holds alone. Those of all changed tokens are deleted, then what each still holds
//! is inserted, so that tokens of one batch may trade places.

use super::to_sql;
use counterfoil_domain::token::{Owner, Token};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

struct Slot {
    user: Uuid,
    slot: i16,
    token: Uuid,
    expires_at: Option<OffsetDateTime>,
}

/// What tokens claim.
#[derive(Default)]
pub struct Claims {
    slots: Vec<Slot>,
    digests: Vec<(Vec<u8>, Uuid)>,
}

impl Claims {
    /// Adds what a token holds: nothing once it has ended; its slot, and the digest of every plaintext that is known
    /// as its own, tombstone included.
    pub fn add(&mut self, token: &Token) {
        if !token.stands() {
            return;
        }
        if let (Owner::User(user), Some(slot)) = (token.owner, token.slot) {
            self.slots.push(Slot {
                user: user.0,
                slot: slot as i16,
                token: token.id.0,
                expires_at: token.expires_at.map(to_sql),
            });
        }
        self.digests.push((token.digest.0.to_vec(), token.id.0));
        if let Some(previous) = &token.previous {
            self.digests.push((previous.digest.0.to_vec(), token.id.0));
        }
    }

    /// Whether nothing is claimed.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.digests.is_empty()
    }
}

/// Deletes what changed tokens held before.
///
/// # Errors
/// The database's.
pub async fn delete(connection: &mut PgConnection, before: &Claims) -> Result<(), sqlx::Error> {
    if !before.slots.is_empty() {
        let (users, slots) = (column(&before.slots, |s| s.user), column(&before.slots, |s| s.slot));
        let sql = "DELETE FROM claimed_slots c USING UNNEST($1::uuid[], $2::smallint[], $3::uuid[]) AS o(user_id, slot, token_id)
            WHERE c.user_id = o.user_id AND c.slot = o.slot AND c.token_id = o.token_id";
        let tokens = column(&before.slots, |s| s.token);
        sqlx::query(sql).bind(users).bind(slots).bind(tokens).execute(&mut *connection).await?;
    }
    if !before.digests.is_empty() {
        let (digests, tokens) = (column(&before.digests, |d| d.0.clone()), column(&before.digests, |d| d.1));
        let sql = "DELETE FROM claimed_digests c USING UNNEST($1::bytea[], $2::uuid[]) AS o(digest, token_id)
            WHERE c.digest = o.digest AND c.era = 0 AND c.token_id = o.token_id";
        sqlx::query(sql).bind(digests).bind(tokens).execute(connection).await?;
    }
    Ok(())
}

/// Inserts what changed tokens hold now. A claim that another token holds is an error: a bug, stopped here.
///
/// # Errors
/// The database's, among them a unique violation.
pub async fn insert(connection: &mut PgConnection, after: &Claims) -> Result<(), sqlx::Error> {
    if !after.slots.is_empty() {
        let sql = "INSERT INTO claimed_slots (user_id, slot, token_id, expires_at)
            SELECT * FROM UNNEST($1::uuid[], $2::smallint[], $3::uuid[], $4::timestamptz[])";
        sqlx::query(sql)
            .bind(column(&after.slots, |s| s.user))
            .bind(column(&after.slots, |s| s.slot))
            .bind(column(&after.slots, |s| s.token))
            .bind(column(&after.slots, |s| s.expires_at))
            .execute(&mut *connection)
            .await?;
    }
    if !after.digests.is_empty() {
        let sql =
            "INSERT INTO claimed_digests (digest, token_id) SELECT * FROM UNNEST($1::bytea[], $2::uuid[])";
        sqlx::query(sql)
            .bind(column(&after.digests, |d| d.0.clone()))
            .bind(column(&after.digests, |d| d.1))
            .execute(connection)
            .await?;
    }
    Ok(())
}

fn column<T, C>(rows: &[T], column: impl Fn(&T) -> C) -> Vec<C> {
    rows.iter().map(column).collect()
}
