//! Claims: what a standing token holds alone. What changed tokens hold no more is deleted, then what they hold anew is
//! inserted, so that tokens of one batch may trade places.
//!
//! **Eras.** A user's slots are claimed again and again, and what was deleted stays in the way of every look at the same
//! keys as long as any transaction is open in the database. So they move on to new keys in time ([`move_on`]). What is
//! claimed in another era than its user's present one is not looked at: no user has any.

use super::to_sql;
use counterfoil_domain::ids::{Seq, UserId};
use counterfoil_domain::token::{Owner, Token};
use counterfoil_domain::user::User;
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;
use uuid::Uuid;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    user: Uuid,
    slot: i16,
    token: Uuid,
    expires_at: Option<OffsetDateTime>,
}

/// Users whose claims move on.
pub type Moved<'a> = BTreeMap<UserId, &'a User>;

/// What tokens claim.
#[derive(Default)]
pub struct Claims {
    slots: BTreeSet<Slot>,
    digests: BTreeSet<([u8; 32], Uuid)>,
}

impl Claims {
    /// Adds what a token holds: nothing once it has ended; its slot, and the digest of every plaintext that is known
    /// as its own, tombstone included.
    pub fn add(&mut self, token: &Token) {
        if !token.stands() {
            return;
        }
        if let (Owner::User(user), Some(slot)) = (token.owner, token.slot) {
            self.slots.insert(Slot {
                user: user.0,
                slot: slot as i16,
                token: token.id.0,
                expires_at: token.expires_at.map(to_sql),
            });
        }
        self.digests.insert((token.digest.0, token.id.0));
        if let Some(previous) = &token.previous {
            self.digests.insert((previous.digest.0, token.id.0));
        }
    }

    /// Adds all slots that a user's tokens hold.
    pub fn add_slots(&mut self, user: &User) {
        self.slots.extend(user.standing.iter().map(|(slot, token)| Slot {
            user: user.id.0,
            slot: *slot as i16,
            token: token.id.0,
            expires_at: token.expires_at.map(to_sql),
        }));
    }

    /// Leaves the slots of these users out.
    pub fn without_slots(mut self, moved: &Moved<'_>) -> Self {
        self.slots.retain(|slot| !moved.contains_key(&UserId(slot.user)));
        self
    }

    /// What is claimed here and not there.
    pub fn without(&self, other: &Self) -> Self {
        Self {
            slots: self.slots.difference(&other.slots).copied().collect(),
            digests: self.digests.difference(&other.digests).copied().collect(),
        }
    }
}

/// The present era of the user `o.user_id`, looked up by its key (of more than one, where the key was dropped, the last).
pub(super) const ERA: &str = "COALESCE((SELECT max(e.era) FROM slot_eras e WHERE e.user_id = o.user_id), 0)";

/// Deletes what changed tokens hold no more. Each row is found by its own key first: in a join, the planner would read the
/// whole of a table that has few rows, and with it all that was ever deleted from it. A row's place (`ctid`) says nothing
/// without its table, so none that inherits is looked at.
///
/// # Errors
/// The database's.
pub async fn delete(connection: &mut PgConnection, gone: &Claims) -> Result<(), sqlx::Error> {
    if !gone.slots.is_empty() {
        let sql = format!(
            "DELETE FROM ONLY claimed_slots WHERE ctid = ANY (ARRAY(
                SELECT c.ctid FROM UNNEST($1::uuid[], $2::smallint[], $3::uuid[]) AS o(user_id, slot, token_id),
                LATERAL (SELECT ctid FROM ONLY claimed_slots WHERE user_id = o.user_id AND era = {ERA}
                    AND slot = o.slot AND token_id = o.token_id OFFSET 0) c))"
        );
        sqlx::query(AssertSqlSafe(sql))
            .bind(column(&gone.slots, |s| s.user))
            .bind(column(&gone.slots, |s| s.slot))
            .bind(column(&gone.slots, |s| s.token))
            .execute(&mut *connection)
            .await?;
    }
    if !gone.digests.is_empty() {
        let sql = "DELETE FROM ONLY claimed_digests WHERE ctid = ANY (ARRAY(
            SELECT c.ctid FROM UNNEST($1::bytea[], $2::uuid[]) AS o(digest, token_id),
            LATERAL (SELECT ctid FROM ONLY claimed_digests WHERE digest = o.digest AND era = 0
                AND token_id = o.token_id OFFSET 0) c))";
        sqlx::query(sql)
            .bind(column(&gone.digests, |d| d.0.to_vec()))
            .bind(column(&gone.digests, |d| d.1))
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Whether the event at this position begins an era for the user whose token it changes: one in 512 does. By a hash
/// (Fibonacci's), since one user's events may be every eighth.
pub fn begins_an_era(seq: Seq) -> bool {
    seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - 9) == 0
}

/// Begins a new era for these users, in which nothing is claimed so far. No event before `era` has begun one of that number.
///
/// # Errors
/// The database's.
pub async fn move_on(connection: &mut PgConnection, moved: &Moved<'_>, era: Seq) -> Result<(), sqlx::Error> {
    if moved.is_empty() {
        return Ok(());
    }
    let users: Vec<Uuid> = moved.keys().map(|user| user.0).collect();
    let left = format!(
        "DELETE FROM ONLY claimed_slots WHERE ctid = ANY (ARRAY(
            SELECT c.ctid FROM UNNEST($1::uuid[]) AS o(user_id),
            LATERAL (SELECT ctid FROM ONLY claimed_slots WHERE user_id = o.user_id AND era = {ERA} OFFSET 0) c))"
    );
    sqlx::query(AssertSqlSafe(left)).bind(&users).execute(&mut *connection).await?;
    let begun = "INSERT INTO slot_eras (user_id, era) SELECT id, $2 FROM UNNEST($1::uuid[]) AS u(id)
        ON CONFLICT (user_id) DO UPDATE SET era = excluded.era";
    sqlx::query(begun).bind(&users).bind(era as i64).execute(connection).await.map(drop)
}

/// Inserts what tokens hold now. A claim that another token holds is an error: a bug, stopped here.
///
/// # Errors
/// The database's, among them a unique violation.
pub async fn insert(connection: &mut PgConnection, new: &Claims) -> Result<(), sqlx::Error> {
    if !new.slots.is_empty() {
        let sql = format!(
            "INSERT INTO claimed_slots (user_id, era, slot, token_id, expires_at)
             SELECT o.user_id, {ERA}, o.slot, o.token_id, o.expires_at
             FROM UNNEST($1::uuid[], $2::smallint[], $3::uuid[], $4::timestamptz[])
                AS o(user_id, slot, token_id, expires_at)"
        );
        sqlx::query(AssertSqlSafe(sql))
            .bind(column(&new.slots, |s| s.user))
            .bind(column(&new.slots, |s| s.slot))
            .bind(column(&new.slots, |s| s.token))
            .bind(column(&new.slots, |s| s.expires_at))
            .execute(&mut *connection)
            .await?;
    }
    if !new.digests.is_empty() {
        let sql =
            "INSERT INTO claimed_digests (digest, token_id) SELECT * FROM UNNEST($1::bytea[], $2::uuid[])";
        sqlx::query(sql)
            .bind(column(&new.digests, |d| d.0.to_vec()))
            .bind(column(&new.digests, |d| d.1))
            .execute(connection)
            .await?;
    }
    Ok(())
}

fn column<T, C>(rows: &BTreeSet<T>, column: impl Fn(&T) -> C) -> Vec<C> {
    rows.iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_era_is_begun_in_time_whichever_events_are_a_users() {
        for step in [1, 2, 7, 8, 50, 64, 512] {
            for from in [1, 4, 1_000_003] {
                let begun = (0..51_200).filter(|n| begins_an_era(from + n * step)).count();
                assert!((50..200).contains(&begun), "{begun} of every {step}th from {from}");
            }
        }
    }
}
