//! Comparing the claims: who holds which place, and whose which digest is.

use super::VerifyError;
use super::seen::{Positions, Slots};
use super::tables::{NULL, TWICE, Tables, shown};
use crate::postgres::copy::{EPOCH, Fields, copy};
use counterfoil_domain::ids::{TokenId, UserId};
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::state::State;
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::Token;
use futures_util::TryStreamExt;
use std::collections::HashMap;
use uuid::Uuid;

impl Tables<'_> {
    /// Each standing token of a user holds its slot in the user's present era, and nothing else holds any.
    pub(super) async fn slots(&mut self, state: &State) -> Result<(), VerifyError> {
        let mut seen = Slots::default();
        let eras = self.eras().await?;
        let sql = "COPY (SELECT user_id, slot, token_id, expires_at, era FROM claimed_slots) TO STDOUT (FORMAT binary)";
        let mut rows = copy(self.snapshot, sql).await?;
        while let Some(row) = rows.try_next().await? {
            let Some(mut fields) = Fields::next(&row, 5) else { continue };
            self.rows.one();
            let (user, slot) = (fields.optional_uuid()?, fields.optional()?.map(i16::from_be_bytes));
            let (token, expires_at) = (fields.optional_uuid()?, fields.optional()?);
            let era = fields.optional()?.map(i64::from_be_bytes);
            let (Some(id), Some(slot), Some(token), Some(era)) = (user, slot, token.map(TokenId), era) else {
                self.findings.row("claimed_slots", shown(user), NULL);
                continue;
            };
            let user = UserId(id);
            let expires_at = expires_at.map(|at| i64::from_be_bytes(at).saturating_add(EPOCH));
            let slot = slot as u16;
            let held = state.users.get(&user).and_then(|user| user.standing.get(&slot));
            let Some(held) = held.filter(|held| held.id == token) else {
                let what =
                    format!("slot {slot} is claimed by token {token}, which by the log does not hold it");
                self.findings.row("claimed_slots", user, what);
                continue;
            };
            if eras.get(&user).copied().unwrap_or(0) != era {
                let what =
                    format!("slot {slot} is claimed in era {era}, which is not the user's present one");
                self.findings.row("claimed_slots", user, what);
                continue;
            }
            if !seen.insert(user, slot) {
                self.findings.row("claimed_slots", user, TWICE);
            }
            if held.expires_at.map(Timestamp::micros) != expires_at {
                let what = format!("slot {slot} has another expires_at than token {token}");
                self.findings.row("claimed_slots", user, what);
            }
        }
        if seen.len() == state.users.values().map(|user| user.standing.len()).sum::<usize>() {
            return Ok(());
        }
        for user in state.users.values() {
            for (slot, held) in user.standing.iter().filter(|(slot, _)| !seen.contains(user.id, **slot)) {
                let what = format!("slot {slot} is held by token {}, and not claimed", held.id);
                self.findings.row("claimed_slots", user.id, what);
            }
        }
        Ok(())
    }

    /// The present eras of those users who have left the first.
    async fn eras(&mut self) -> Result<HashMap<UserId, i64>, VerifyError> {
        let mut eras = HashMap::new();
        let sql = "SELECT user_id, era FROM slot_eras";
        let rows: Vec<(Option<Uuid>, Option<i64>)> =
            sqlx::query_as(sql).fetch_all(&mut *self.snapshot).await?;
        for row in rows {
            let (Some(user), Some(era)) = row else {
                self.findings.row("slot_eras", shown(row.0), NULL);
                continue;
            };
            if eras.insert(UserId(user), era).is_some() {
                self.findings.row("slot_eras", user, TWICE);
            }
        }
        Ok(eras)
    }

    /// Each plaintext that is known as a standing token's own has its digest claimed, and nothing else has.
    pub(super) async fn digests(&mut self, state: &State) -> Result<(), VerifyError> {
        let mut seen = Digests::default();
        let sql = "COPY (SELECT digest, era, token_id FROM claimed_digests) TO STDOUT (FORMAT binary)";
        let mut rows = copy(self.snapshot, sql).await?;
        while let Some(row) = rows.try_next().await? {
            let Some(mut fields) = Fields::next(&row, 3) else { continue };
            self.rows.one();
            let digest = fields.nullable()?.and_then(|bytes| bytes.try_into().ok()).map(Digest);
            let (era, token) = (fields.optional()?.map(i32::from_be_bytes), fields.optional_uuid()?);
            let (Some(era), Some(token)) = (era, token) else {
                self.findings.row("claimed_digests", shown(token), NULL);
                continue;
            };
            let holder = state.tokens.get(&TokenId(token)).filter(|token| token.stands());
            let own = digest.filter(|_| era == 0).zip(holder);
            match own.and_then(|(digest, holder)| seen.insert(holder, &digest)) {
                Some(true) => {}
                Some(false) => self.findings.row("claimed_digests", token, TWICE),
                None => {
                    let what = "a digest is claimed for this token, which by the log is not its own";
                    self.findings.row("claimed_digests", token, what);
                }
            }
        }
        let standing = || state.tokens.values().filter(|token| token.stands());
        let all = standing().map(|token| 1 + usize::from(token.previous.is_some())).sum::<usize>();
        if seen.present.len() + seen.earlier.len() == all {
            return Ok(());
        }
        for token in standing() {
            let (at, has_earlier) = (token.issued_seq, token.previous.is_some());
            if !seen.present.contains(at) || has_earlier && !seen.earlier.contains(at) {
                self.findings.row("claimed_digests", token.id, "a digest of this token is not claimed");
            }
        }
        Ok(())
    }
}

/// The digests that were met, by the tokens that know them.
#[derive(Default)]
struct Digests {
    present: Positions,
    earlier: Positions,
}

impl Digests {
    /// Whether it was not met before; `None` if it is not the token's own.
    fn insert(&mut self, token: &Token, digest: &Digest) -> Option<bool> {
        if token.digest == *digest {
            return Some(self.present.insert(token.issued_seq));
        }
        let previous = token.previous.as_ref()?;
        (previous.digest == *digest).then(|| self.earlier.insert(token.issued_seq))
    }
}
