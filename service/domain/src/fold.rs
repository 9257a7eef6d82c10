//! How events change the state. Written once: the writer decides with it, replay and verification fold from
//! nothing with it, and what the tables and the index hold is its result.

mod tokens;

use crate::event::{Event, Recorded};
use crate::gateway::{Gateway, GatewayChanged, GatewayRegistered};
use crate::ids::{GatewayId, OrganizationId, Seq, UserId};
use crate::organization::{
    Environment, EnvironmentCreated, MemberAdded, Membership, Organization, OrganizationCreated,
};
use crate::state::State;
use crate::token::HowEnded;
use crate::user::{User, UserCreated};
use std::collections::{BTreeMap, BTreeSet};
use tokens::{
    disabled, end, previous_ended, revoked_all, standing, token_issued, token_rotated, token_scoped,
};

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
        Event::TokenDisabled(body) => disabled(state, seq, body.id)?,
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
