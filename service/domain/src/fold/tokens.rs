//! What happens to tokens.

use super::{FoldError, gateway, missing, new, present, user};
use crate::event::Recorded;
use crate::ids::{Seq, TokenId, UserId};
use crate::state::State;
use crate::timestamp::Timestamp;
use crate::token::{
    Ended, HowEnded, Kind, Owner, Previous, PreviousEnded, Token, TokenIssued, TokenRotated, TokenScoped,
};
use crate::user::{STANDING_TOKENS, StandingToken};

/// The token of an event that only a standing one can have.
pub(super) fn standing(state: &mut State, seq: Seq, id: TokenId) -> Result<&mut Token, FoldError> {
    let token = state.tokens.get_mut(&id).ok_or_else(|| missing(seq, "token", id))?;
    if !token.stands() {
        return Err(FoldError::Impossible { seq, why: "an ended token stays as it was" });
    }
    token.seq = seq;
    Ok(token)
}

/// A token comes into being, in its user's lowest free slot.
pub(super) fn token_issued(
    state: &mut State,
    recorded: &Recorded,
    body: &TokenIssued,
) -> Result<(), FoldError> {
    let seq = recorded.seq;
    let slot = match body.owner {
        Owner::User(id) => {
            let user = user(state, seq, id)?;
            let slot = user.free_slot();
            if usize::from(slot) >= STANDING_TOKENS {
                return Err(FoldError::Impossible {
                    seq,
                    why: "no place is free for another token of its user",
                });
            }
            user.standing.insert(slot, StandingToken { id: body.id, expires_at: body.expires_at });
            Some(slot)
        }
        Owner::Gateway(id) => {
            present(state, seq, id)?.standing.insert(body.id);
            None
        }
    };
    let fits = matches!(
        (body.owner, body.token_kind),
        (Owner::User(_), Kind::Personal) | (Owner::Gateway(_), Kind::Gateway)
    );
    if !fits {
        return Err(FoldError::Impossible { seq, why: "its owner cannot have a token of its kind" });
    }
    let before = state.tokens.insert(body.id, Box::new(issued(recorded, body, slot)));
    new(seq, before, "a token of this id was issued before")
}

fn issued(recorded: &Recorded, body: &TokenIssued, slot: Option<u16>) -> Token {
    Token {
        id: body.id,
        kind: body.token_kind,
        owner: body.owner,
        home: body.home,
        digest: body.digest,
        hint: body.hint.clone(),
        generation: 1,
        scopes: body.scopes.clone(),
        expires_at: body.expires_at,
        note: body.note,
        issued_by: body.issued_by,
        since: body.since,
        issued_at: recorded.decided_at,
        issued_seq: recorded.seq,
        disabled: false,
        slot,
        previous: None,
        ended: None,
        seq: recorded.seq,
    }
}

/// A token is narrowed.
pub(super) fn token_scoped(state: &mut State, seq: Seq, body: &TokenScoped) -> Result<(), FoldError> {
    let token = standing(state, seq, body.id)?;
    if let Some(scopes) = &body.scopes {
        if !scopes.within(&token.scopes) {
            return Err(FoldError::Impossible { seq, why: "scopes only become fewer" });
        }
        token.scopes.clone_from(scopes);
    }
    if let Some(earlier) = body.expires_at {
        if token.expires_at.is_some_and(|present| earlier > present) {
            return Err(FoldError::Impossible { seq, why: "an expiry only comes nearer" });
        }
        token.expires_at = Some(earlier);
    }
    let (owner, slot, expires_at) = (token.owner, token.slot, token.expires_at);
    note_expiry(state, seq, owner, slot, expires_at)
}

/// Keeps the user's record of its standing tokens at the token's own expiry.
fn note_expiry(
    state: &mut State,
    seq: Seq,
    owner: Owner,
    slot: Option<u16>,
    expires_at: Option<Timestamp>,
) -> Result<(), FoldError> {
    if let (Owner::User(id), Some(slot)) = (owner, slot)
        && let Some(entry) = user(state, seq, id)?.standing.get_mut(&slot)
    {
        entry.expires_at = expires_at;
    }
    Ok(())
}

/// A token has another plaintext; what becomes of the earlier one is in the event.
pub(super) fn token_rotated(state: &mut State, seq: Seq, body: &TokenRotated) -> Result<(), FoldError> {
    let token = standing(state, seq, body.id)?;
    if body.generation != token.generation + 1 {
        return Err(FoldError::Impossible { seq, why: "a plaintext's number is one above the one before" });
    }
    let ends_at = body.previous_ends_at.unwrap_or(Timestamp::from_micros(0));
    if body.keeps_previous {
        let kept = token.previous.as_mut().filter(|previous| previous.ended.is_none());
        let kept =
            kept.ok_or(FoldError::Impossible { seq, why: "no earlier plaintext is there to be kept" })?;
        (kept.ends_at, kept.until_used) = (ends_at, body.until_used);
    } else {
        token.previous = Some(Box::new(Previous {
            digest: token.digest,
            hint: token.hint.clone(),
            generation: token.generation,
            ends_at,
            until_used: body.until_used,
            ended: body.previous_ends_at.is_none().then_some(seq),
        }));
    }
    (token.digest, token.hint, token.generation) = (body.digest, body.hint.clone(), body.generation);
    token.expires_at = body.expires_at;
    let (owner, slot, expires_at) = (token.owner, token.slot, token.expires_at);
    note_expiry(state, seq, owner, slot, expires_at)
}

/// The earlier plaintext does not work any more.
pub(super) fn previous_ended(state: &mut State, seq: Seq, body: &PreviousEnded) -> Result<(), FoldError> {
    let token = standing(state, seq, body.id)?;
    let known = token.previous.as_ref().is_some_and(|previous| previous.generation == body.generation);
    if !known {
        return Err(FoldError::Impossible { seq, why: "its plaintext is not the earlier one" });
    }
    end_previous(token, seq);
    Ok(())
}

fn end_previous(token: &mut Token, seq: Seq) {
    if let Some(previous) = &mut token.previous {
        previous.ended.get_or_insert(seq);
    }
}

/// A token is switched off. An earlier plaintext ends with it for good.
pub(super) fn disabled(state: &mut State, seq: Seq, id: TokenId) -> Result<(), FoldError> {
    let token = standing(state, seq, id)?;
    token.disabled = true;
    end_previous(token, seq);
    Ok(())
}

/// Ends a token for good. Its previous plaintext ends with it and is no longer kept.
pub(super) fn end(
    state: &mut State,
    recorded: &Recorded,
    id: TokenId,
    how: HowEnded,
) -> Result<(), FoldError> {
    let seq = recorded.seq;
    let token = standing(state, seq, id)?;
    token.ended = Some(Ended { seq, at: recorded.decided_at, how });
    token.previous = None;
    let (owner, slot) = (token.owner, token.slot);
    match owner {
        Owner::User(owner) => {
            let held =
                slot.and_then(|slot| state.users.get_mut(&owner).map(|user| user.standing.remove(&slot)));
            if held.flatten().is_none_or(|held| held.id != id) {
                return Err(FoldError::Impossible { seq, why: "the token did not hold its slot" });
            }
        }
        Owner::Gateway(owner) => {
            gateway(state, seq, owner)?.standing.remove(&id);
        }
    }
    Ok(())
}

/// Ends every standing token of a user.
pub(super) fn revoked_all(state: &mut State, recorded: &Recorded, id: UserId) -> Result<(), FoldError> {
    let standing: Vec<TokenId> =
        user(state, recorded.seq, id)?.standing.values().map(|token| token.id).collect();
    for token in standing {
        end(state, recorded, token, HowEnded::Revoked)?;
    }
    Ok(())
}
