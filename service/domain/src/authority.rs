//! What an actor may do, judged at a position of the log.

use crate::actor::Actor;
use crate::gateway::Gateway;
use crate::ids::{OrganizationId, Seq, TokenId, UserId};
use crate::organization::Membership;
use crate::policy::{Permission, allows};
use crate::refusal::Refusal;
use crate::role::Role;
use crate::scope::{Scopes, WRITE};
use crate::state::{Clock, State};
use crate::timestamp::Timestamp;
use crate::token::{Kind, Token};

/// What an actor may do in an organization, at one position and instant.
#[derive(Clone, Debug)]
pub struct Authority {
    /// The user that it acts as.
    pub user: UserId,
    /// The user's role in the organization.
    pub role: Role,
    /// What the credential was narrowed to.
    pub scopes: Scopes,
    /// The token that was presented; `None` for a session.
    pub token: Option<TokenId>,
    /// Where the authority stems from; `None` for a session, whose tokens stem from their own position.
    pub since: Option<Seq>,
}

/// Judges an actor that acts as a user.
///
/// # Errors
/// [`Refusal::Unauthenticated`] if the credential does not count any more.
pub fn judge(
    state: &State,
    clock: &Clock,
    organization: OrganizationId,
    actor: &Actor,
) -> Result<Authority, Refusal> {
    match actor {
        Actor::Token { token_id, generation, user_id } => {
            let token = state.tokens.get(token_id).ok_or(Refusal::Unauthenticated)?;
            let same_user = token.user() == Some(*user_id);
            if !same_user || !plaintext_works(token, *generation, clock.latest()) {
                return Err(Refusal::Unauthenticated);
            }
            let role = role_of(state, *user_id, organization, token.since).ok_or(Refusal::Unauthenticated)?;
            let (token, since, scopes) = (Some(token.id), Some(token.since), token.scopes.clone());
            Ok(Authority { user: *user_id, role, scopes, token, since })
        }
        Actor::Session { session_id, user_id } => {
            let session = state.sessions.get(session_id).ok_or(Refusal::Unauthenticated)?;
            if session.user != *user_id || clock.latest() >= session.expires_at {
                return Err(Refusal::Unauthenticated);
            }
            let role = role_of(state, *user_id, organization, Seq::MAX).ok_or(Refusal::Forbidden)?;
            Ok(Authority { user: *user_id, role, scopes: Scopes::read_write(), token: None, since: None })
        }
        _ => Err(Refusal::Unauthenticated),
    }
}

/// Judges a gateway by the gateway token that it presented.
///
/// # Errors
/// [`Refusal::Unauthenticated`] if the credential does not count any more.
pub fn judge_gateway<'a>(state: &'a State, clock: &Clock, actor: &Actor) -> Result<&'a Gateway, Refusal> {
    let Actor::Gateway { gateway_id, token_id } = actor else { return Err(Refusal::Unauthenticated) };
    let gateway = state.gateways.get(gateway_id).filter(|gateway| gateway.removed.is_none());
    let token = state.tokens.get(token_id).filter(|token| token.kind == Kind::Gateway);
    match (gateway, token) {
        (Some(gateway), Some(token))
            if gateway.standing.contains(token_id)
                && plaintext_works(token, token.generation, clock.latest()) =>
        {
            Ok(gateway)
        }
        _ => Err(Refusal::Unauthenticated),
    }
}

/// Whether the `generation`th plaintext of a token works at `now`.
pub fn plaintext_works(token: &Token, generation: u32, now: Timestamp) -> bool {
    let alive = token.stands() && !token.disabled && !token.is_due(now);
    let earlier = || token.previous.as_ref().is_some_and(|p| p.generation == generation && p.works(now));
    alive && (generation == token.generation || earlier())
}

fn role_of(state: &State, user: UserId, organization: OrganizationId, since: Seq) -> Option<Role> {
    let revoked_all = state.organizations.get(&organization)?.revoked_all;
    let membership = state.users.get(&user)?.memberships.get(&organization)?;
    counts_in(since, revoked_all, membership)
}

/// The role in which a personal token acts in an organization. `None` unless its user is a member and its
/// authority is younger than the last event that ended everything there, for all or for that user.
pub fn counts_in(since: Seq, revoked_all: Seq, membership: &Membership) -> Option<Role> {
    membership.role.filter(|_| !is_marked(since, revoked_all, Some(membership)))
}

/// Whether an event that ended everything there, for all or for that user, is younger than an authority. No later event
/// makes it count again.
pub fn is_marked(since: Seq, revoked_all: Seq, membership: Option<&Membership>) -> bool {
    since <= revoked_all || membership.is_some_and(|membership| since <= membership.removed)
}

impl Authority {
    /// Requires a permission, and the scope for changes.
    ///
    /// # Errors
    /// [`Refusal::InsufficientScope`] or [`Refusal::Forbidden`].
    pub fn may_change(&self, permission: Permission) -> Result<(), Refusal> {
        if !self.scopes.has(WRITE) {
            return Err(Refusal::InsufficientScope(WRITE));
        }
        if allows(self.role, permission) { Ok(()) } else { Err(Refusal::Forbidden) }
    }
}
