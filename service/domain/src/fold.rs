//! How events change the state. Written once: the writer decides with it, replay and verification fold from
//! nothing with it, and what the tables and the index hold is its result.

use crate::event::{Event, Recorded};
use crate::gateway::{Gateway, GatewayChanged, GatewayRegistered};
use crate::ids::{GatewayId, OrganizationId, Seq, TokenId, UserId};
use crate::organization::{
    Environment, EnvironmentCreated, MemberAdded, Membership, Organization, OrganizationCreated,
};
use crate::state::State;
use crate::token::{
    Ended, HowEnded, Kind, Owner, Previous, PreviousEnded, Token, TokenIssued, TokenRotated, TokenScoped,
};
use crate::user::{STANDING_TOKENS, StandingToken, User, UserCreated};
use std::collections::{BTreeMap, BTreeSet};

/// The event does not fit the state: the log or the state is damaged, or something was not loaded. Nothing may go
/// on past it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// A gap, a repetition or a wrong order.
    #[error("event {found} follows event {head}: the sequence has no gaps")]
    Sequence {
        /// The position that the state is at.
        head: Seq,
        /// The event's own position.
        found: Seq,
    },
    /// The event is about something that is not there.
    #[error("event {seq} is about {what}, which is not known before it")]
    Missing {
        /// The event.
        seq: Seq,
        /// The entity, by kind and id.
        what: String,
    },
    /// The event cannot follow what happened before.
    #[error("event {seq} cannot happen: {why}")]
    Impossible {
        /// The event.
        seq: Seq,
        /// Which rule it breaks.
        why: &'static str,
    },
}

/// Folds one event into the state.
///
/// # Errors
/// See [`FoldError`]. The state is then of no use any more.
pub fn fold(state: &mut State, recorded: &Recorded) -> Result<(), FoldError> {
    let seq = recorded.seq;
    if seq != state.head + 1 {
        return Err(FoldError::Sequence { head: state.head, found: seq });
    }
    match &recorded.event {
        Event::OrganizationCreated(body) => organization_created(state, seq, body)?,
        Event::EnvironmentCreated(body) => {
            environment_created(state, seq, organization_of(state, recorded)?, body)?
        }
        Event::UserCreated(body) => user_created(state, seq, body)?,
        Event::PasswordSet(body) => {
            let user = user(state, seq, body.user_id)?;
            (user.password_set, user.seq) = (seq, seq);
        }
        Event::MemberAdded(body) => member_added(state, seq, organization_of(state, recorded)?, body)?,
        Event::GatewayRegistered(body) => {
            gateway_registered(state, seq, organization_of(state, recorded)?, body)?
        }
        Event::GatewayChanged(body) => gateway_changed(state, seq, body)?,
        Event::GatewayRemoved(body) => gateway_removed(state, recorded, body.id)?,
        Event::TokenIssued(body) => token_issued(state, recorded, body)?,
        Event::TokenScoped(body) => token_scoped(state, seq, body)?,
        Event::TokenRenamed(body) => standing(state, seq, body.id)?.note = body.note,
        Event::TokenRotated(body) => token_rotated(state, seq, body)?,
        Event::TokenDisabled(body) => {
            let token = standing(state, seq, body.id)?;
            token.disabled = true;
            end_previous(token, seq);
        }
        Event::TokenEnabled(body) => standing(state, seq, body.id)?.disabled = false,
        Event::PreviousEnded(body) => previous_ended(state, seq, body)?,
        Event::TokenExpired(body) => end(state, recorded, body.id, HowEnded::Expired)?,
        Event::TokenRevoked(body) => end(state, recorded, body.id, HowEnded::Revoked)?,
        Event::TokensRevokedAll(body) => revoked_all(state, recorded, body.user_id)?,
    }
    state.head = seq;
    Ok(())
}

fn missing(seq: Seq, kind: &str, id: impl std::fmt::Display) -> FoldError {
    FoldError::Missing { seq, what: format!("{kind} {id}") }
}

/// The organization that the event belongs to, which must be there.
fn organization_of(state: &State, recorded: &Recorded) -> Result<OrganizationId, FoldError> {
    let seq = recorded.seq;
    let id = recorded.organization.ok_or(FoldError::Impossible { seq, why: "it names no organization" })?;
    if state.organizations.contains_key(&id) { Ok(id) } else { Err(missing(seq, "organization", id)) }
}

/// Nothing comes into being twice. What was there before is handed over by a map's `insert`.
fn new<T>(seq: Seq, before: Option<T>, why: &'static str) -> Result<(), FoldError> {
    if before.is_none() { Ok(()) } else { Err(FoldError::Impossible { seq, why }) }
}

fn user(state: &mut State, seq: Seq, id: UserId) -> Result<&mut User, FoldError> {
    state.users.get_mut(&id).ok_or_else(|| missing(seq, "user", id))
}

fn gateway(state: &mut State, seq: Seq, id: GatewayId) -> Result<&mut Gateway, FoldError> {
    state.gateways.get_mut(&id).ok_or_else(|| missing(seq, "gateway", id))
}

/// The gateway of an event that only a present one can have.
fn present(state: &mut State, seq: Seq, id: GatewayId) -> Result<&mut Gateway, FoldError> {
    let gateway = gateway(state, seq, id)?;
    if gateway.removed.is_some() {
        return Err(FoldError::Impossible { seq, why: "a removed gateway stays as it was" });
    }
    Ok(gateway)
}

/// The token of an event that only a standing one can have.
fn standing(state: &mut State, seq: Seq, id: TokenId) -> Result<&mut Token, FoldError> {
    let token = state.tokens.get_mut(&id).ok_or_else(|| missing(seq, "token", id))?;
    if !token.stands() {
        return Err(FoldError::Impossible { seq, why: "an ended token stays as it was" });
    }
    token.seq = seq;
    Ok(token)
}

fn organization_created(state: &mut State, seq: Seq, body: &OrganizationCreated) -> Result<(), FoldError> {
    let organization =
        Organization { id: body.id, number: body.number, name: body.name, revoked_all: 0, seq };
    state.initialized = true;
    new(seq, state.organizations.insert(body.id, organization), "its organization was created before")
}

fn environment_created(
    state: &mut State,
    seq: Seq,
    organization: OrganizationId,
    body: &EnvironmentCreated,
) -> Result<(), FoldError> {
    let environment = Environment { id: body.id, number: body.number, organization, name: body.name, seq };
    new(seq, state.environments.insert(body.id, environment), "its environment was created before")
}

fn user_created(state: &mut State, seq: Seq, body: &UserCreated) -> Result<(), FoldError> {
    let user = User {
        id: body.id,
        email: body.email,
        memberships: BTreeMap::new(),
        password_set: 0,
        standing: BTreeMap::new(),
        seq,
    };
    new(seq, state.users.insert(body.id, user), "its user was created before")
}

fn member_added(
    state: &mut State,
    seq: Seq,
    organization: OrganizationId,
    body: &MemberAdded,
) -> Result<(), FoldError> {
    let user = user(state, seq, body.user_id)?;
    let membership = user.memberships.entry(organization).or_insert(Membership { role: None, removed: 0 });
    membership.role = Some(body.role);
    user.seq = seq;
    Ok(())
}

fn gateway_registered(
    state: &mut State,
    seq: Seq,
    organization: OrganizationId,
    body: &GatewayRegistered,
) -> Result<(), FoldError> {
    let gateway = Gateway {
        id: body.id,
        organization,
        name: body.name,
        kinds: body.kinds.clone(),
        environment: body.environment,
        standing: BTreeSet::new(),
        removed: None,
        seq,
    };
    new(seq, state.gateways.insert(body.id, gateway), "its gateway was registered before")
}

fn gateway_changed(state: &mut State, seq: Seq, body: &GatewayChanged) -> Result<(), FoldError> {
    let gateway = present(state, seq, body.id)?;
    if let Some(name) = body.name {
        gateway.name = name;
    }
    if let Some(kinds) = &body.kinds {
        gateway.kinds.clone_from(kinds);
    }
    if let Some(environment) = body.environment {
        gateway.environment = environment;
    }
    gateway.seq = seq;
    Ok(())
}

fn gateway_removed(state: &mut State, recorded: &Recorded, id: GatewayId) -> Result<(), FoldError> {
    let gateway = present(state, recorded.seq, id)?;
    (gateway.removed, gateway.seq) = (Some(recorded.seq), recorded.seq);
    for token in gateway.standing.clone() {
        end(state, recorded, token, HowEnded::Revoked)?;
    }
    Ok(())
}

fn token_issued(state: &mut State, recorded: &Recorded, body: &TokenIssued) -> Result<(), FoldError> {
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

fn token_scoped(state: &mut State, seq: Seq, body: &TokenScoped) -> Result<(), FoldError> {
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
    expires_at: Option<crate::timestamp::Timestamp>,
) -> Result<(), FoldError> {
    if let (Owner::User(id), Some(slot)) = (owner, slot)
        && let Some(entry) = user(state, seq, id)?.standing.get_mut(&slot)
    {
        entry.expires_at = expires_at;
    }
    Ok(())
}

fn token_rotated(state: &mut State, seq: Seq, body: &TokenRotated) -> Result<(), FoldError> {
    let token = standing(state, seq, body.id)?;
    if body.generation != token.generation + 1 {
        return Err(FoldError::Impossible { seq, why: "a plaintext's number is one above the one before" });
    }
    let ends_at = body.previous_ends_at.unwrap_or(crate::timestamp::Timestamp::from_micros(0));
    if body.keeps_previous {
        let kept = token.previous.as_mut().filter(|previous| previous.ended.is_none());
        let kept =
            kept.ok_or(FoldError::Impossible { seq, why: "no earlier plaintext is there to be kept" })?;
        (kept.ends_at, kept.until_used) = (ends_at, body.until_used);
    } else {
        token.previous = Some(Previous {
            digest: token.digest,
            hint: token.hint.clone(),
            generation: token.generation,
            ends_at,
            until_used: body.until_used,
            ended: body.previous_ends_at.is_none().then_some(seq),
        });
    }
    (token.digest, token.hint, token.generation) = (body.digest, body.hint.clone(), body.generation);
    token.expires_at = body.expires_at;
    let (owner, slot, expires_at) = (token.owner, token.slot, token.expires_at);
    note_expiry(state, seq, owner, slot, expires_at)
}

fn previous_ended(state: &mut State, seq: Seq, body: &PreviousEnded) -> Result<(), FoldError> {
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

/// Ends a token for good. Its previous plaintext ends with it and is no longer kept.
fn end(state: &mut State, recorded: &Recorded, id: TokenId, how: HowEnded) -> Result<(), FoldError> {
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

fn revoked_all(state: &mut State, recorded: &Recorded, id: UserId) -> Result<(), FoldError> {
    let standing: Vec<TokenId> =
        user(state, recorded.seq, id)?.standing.values().map(|token| token.id).collect();
    for token in standing {
        end(state, recorded, token, HowEnded::Revoked)?;
    }
    Ok(())
}
