//! Comparing the claims: who holds which place, and whose which digest is.

use super::VerifyError;
use super::tables::{NULL, TWICE, Tables, shown};
use crate::postgres::copy::{EPOCH, Fields, copy};
use counterfoil_domain::ids::{TokenId, UserId};
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::state::State;
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::Token;
use futures_util::TryStreamExt;
use std::collections::HashSet;

impl Tables<'_> {
    /// Each standing token of a user holds its slot, and nothing else does.
    pub(super) async fn slots(&mut self, state: &State) -> Result<(), VerifyError> {
        let mut seen = HashSet::new();
        let sql = "COPY claimed_slots (user_id, slot, token_id, expires_at) TO STDOUT (FORMAT binary)";
        let mut rows = copy(self.snapshot, sql).await?;
        while let Some(row) = rows.try_next().await? {
            let Some(mut fields) = Fields::next(&row, 4) else { continue };
            self.rows.one();
            let (user, slot) = (fields.optional_uuid()?, fields.optional()?.map(i16::from_be_bytes));
            let (token, expires_at) = (fields.optional_uuid()?, fields.optional()?);
            let (Some(id), Some(slot), Some(token)) = (user, slot, token.map(TokenId)) else {
                self.findings.row("claimed_slots", shown(user), NULL);
                continue;
            };
            let user = UserId(id);
            let expires_at = expires_at.map(|at| i64::from_be_bytes(at).saturating_add(EPOCH));
            let held = state.users.get(&user).and_then(|user| user.standing.get(&(slot as u16)));
            let Some(held) = held.filter(|held| held.id == token) else {
                let what =
                    format!("slot {slot} is claimed by token {token}, which by the log does not hold it");
                self.findings.row("claimed_slots", user, what);
                continue;
            };
            if !seen.insert(token) {
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
            for (slot, held) in user.standing.iter().filter(|(_, held)| !seen.contains(&held.id)) {
                let what = format!("slot {slot} is held by token {}, and not claimed", held.id);
                self.findings.row("claimed_slots", user.id, what);
            }
        }
        Ok(())
    }

    /// Each plaintext that is known as a standing token's own has its digest claimed, and nothing else has.
    pub(super) async fn digests(&mut self, state: &State) -> Result<(), VerifyError> {
        let mut seen: HashSet<Digest> = HashSet::with_capacity(state.tokens.len());
        let sql = "COPY claimed_digests (digest, era, token_id) TO STDOUT (FORMAT binary)";
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
            match digest.filter(|digest| era == 0 && holder.is_some_and(|token| knows(token, digest))) {
                Some(digest) if seen.insert(digest) => {}
                Some(_) => self.findings.row("claimed_digests", token, TWICE),
                None => {
                    let what = "a digest is claimed for this token, which by the log is not its own";
                    self.findings.row("claimed_digests", token, what);
                }
            }
        }
        let standing = || state.tokens.values().filter(|token| token.stands());
        if seen.len() == standing().map(|token| 1 + usize::from(token.previous.is_some())).sum::<usize>() {
            return Ok(());
        }
        for token in standing() {
            let earlier = token.previous.as_ref().map(|previous| previous.digest);
            if [Some(token.digest), earlier].iter().flatten().any(|digest| !seen.contains(digest)) {
                self.findings.row("claimed_digests", token.id, "a digest of this token is not claimed");
            }
        }
        Ok(())
    }
}

fn knows(token: &Token, digest: &Digest) -> bool {
    token.digest == *digest || token.previous.as_ref().is_some_and(|previous| previous.digest == *digest)
}
