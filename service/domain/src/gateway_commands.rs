//! Registering gateways and issuing their tokens.

use crate::authority::Authority;
use crate::command::{Answer, Decided, Decision, Effects};
use crate::decide::Context;
use crate::event::Event;
use crate::gateway::{Gateway, GatewayChanged, GatewayRegistered, GatewayRemoved, STANDING_TOKENS};
use crate::ids::{EnvironmentId, GatewayId, OrganizationId, Seq, TokenId};
use crate::if_match::{IfMatch, requires_seen};
use crate::plaintext::Digest;
use crate::policy::Permission;
use crate::refusal::Refusal;
use crate::scope::Scopes;
use crate::timestamp::Timestamp;
use crate::token::issue::{no_place, refuse_past};
use crate::token::{Kind, Owner, Reason, TokenIssued, TokenRevoked};
use crate::value::Value;
use std::collections::BTreeSet;

/// The one scope of a gateway token.
pub const INTROSPECT: &str = "introspect";

/// A gateway token, ready made.
#[derive(Clone, Debug)]
pub struct NewGatewayToken {
    /// Its id.
    pub id: TokenId,
    /// SHA-256 of its plaintext.
    pub digest: Digest,
    /// Its plaintext's beginning.
    pub hint: String,
    /// From when on it is inactive.
    pub expires_at: Option<Timestamp>,
}

/// Register a gateway with its first token.
#[derive(Clone, Debug)]
pub struct RegisterGateway {
    /// Its id.
    pub id: GatewayId,
    /// Its name.
    pub name: Value,
    /// The kinds of token that are not inactive to it.
    pub kinds: BTreeSet<Kind>,
    /// If set, only caller keys of this environment are not inactive to it.
    pub environment: Option<EnvironmentId>,
    /// Its first token.
    pub token: NewGatewayToken,
}

/// Change a gateway's registration. What is absent stays.
#[derive(Clone, Debug)]
pub struct ChangeGateway {
    /// Which.
    pub id: GatewayId,
    /// What the caller saw.
    pub if_match: IfMatch,
    /// The new name.
    pub name: Option<Value>,
    /// The new kinds.
    pub kinds: Option<BTreeSet<Kind>>,
    /// The new environment, or none any more.
    pub environment: Option<Option<EnvironmentId>>,
}

/// Issue another token for a gateway.
#[derive(Clone, Debug)]
pub struct IssueGatewayToken {
    /// For which gateway.
    pub gateway: GatewayId,
    /// The token.
    pub token: NewGatewayToken,
}

/// The event of a gateway token. It counts from its own position: the kill switch of an organization spares
/// gateway credentials, so that gateways are still told "inactive".
pub(crate) fn token_issued(
    organization: OrganizationId,
    gateway: GatewayId,
    token: &NewGatewayToken,
    issued_by: Option<TokenId>,
    since: Seq,
) -> Event {
    let scopes = Scopes::new([INTROSPECT]).unwrap_or_else(|_| Scopes::read_write());
    Event::TokenIssued(TokenIssued {
        id: token.id,
        token_kind: Kind::Gateway,
        owner: Owner::Gateway(gateway),
        home: organization,
        digest: token.digest,
        hint: token.hint.clone(),
        scopes,
        expires_at: token.expires_at,
        note: None,
        issued_by,
        since,
    })
}

fn manager(context: &Context<'_>) -> Result<Authority, Refusal> {
    let authority = context.authority()?;
    authority.may_change(Permission::ManageGateways)?;
    Ok(authority)
}

/// A gateway of the command's organization that was not removed.
fn present<'a>(context: &'a Context<'_>, id: GatewayId) -> Result<&'a Gateway, Refusal> {
    let gateway = context.state.gateways.get(&id).ok_or(Refusal::NotFound)?;
    let ours = gateway.organization == context.command.organization && gateway.removed.is_none();
    if ours { Ok(gateway) } else { Err(Refusal::NotFound) }
}

/// An environment of the command's organization.
fn known_environment(context: &Context<'_>, id: EnvironmentId) -> Result<(), Refusal> {
    let environment = context.state.environments.get(&id);
    let ours = environment.is_some_and(|known| known.organization == context.command.organization);
    if ours { Ok(()) } else { Err(Refusal::UnknownEnvironment) }
}

/// Decides [`RegisterGateway`].
pub(crate) fn register(context: &Context<'_>, register: &RegisterGateway) -> Decided {
    let authority = manager(context)?;
    refuse_past(context, register.token.expires_at)?;
    let organization = context.command.organization;
    register.environment.map_or(Ok(()), |id| known_environment(context, id))?;
    let registered = GatewayRegistered {
        id: register.id,
        name: register.name.reference(),
        kinds: register.kinds.clone(),
        environment: register.environment,
    };
    let since = context.state.head + 2;
    let effects = Effects::event(Some(organization), Event::GatewayRegistered(registered))
        .and(
            Some(organization),
            token_issued(organization, register.id, &register.token, authority.token, since),
        )
        .value(organization.0, Some(&register.name));
    Ok(Decision::Happened(effects, Answer::Gateway(register.id, Some(register.token.id))))
}

/// Decides [`ChangeGateway`].
pub(crate) fn change(context: &Context<'_>, change: &ChangeGateway) -> Decided {
    manager(context)?;
    let gateway = present(context, change.id)?;
    requires_seen(&change.if_match, gateway.seq)?;
    change.environment.flatten().map_or(Ok(()), |id| known_environment(context, id))?;
    let environment = change.environment.filter(|environment| *environment != gateway.environment);
    let kinds = change.kinds.clone().filter(|kinds| *kinds != gateway.kinds);
    let present = context.state.values.get(&gateway.name.id).map(|value| value.text.as_str());
    let name = change.name.as_ref().filter(|name| Some(name.text.as_str()) != present);
    let answer = Answer::Gateway(gateway.id, None);
    if kinds.is_none() && name.is_none() && environment.is_none() {
        return Ok(Decision::AlreadySo(answer));
    }
    let changed = GatewayChanged { id: gateway.id, name: name.map(Value::reference), kinds, environment };
    let organization = context.command.organization;
    let effects =
        Effects::event(Some(organization), Event::GatewayChanged(changed)).value(organization.0, name);
    Ok(Decision::Happened(effects, answer))
}

/// Decides to remove a gateway. Its tokens end with it. Removing it again is fine.
pub(crate) fn remove(
    context: &Context<'_>,
    id: GatewayId,
    if_match: &IfMatch,
    reason: Option<&Reason>,
) -> Decided {
    manager(context)?;
    let organization = context.command.organization;
    let gateway = context
        .state
        .gateways
        .get(&id)
        .filter(|gateway| gateway.organization == organization)
        .ok_or(Refusal::NotFound)?;
    if gateway.removed.is_some() {
        return Ok(Decision::AlreadySo(Answer::Done));
    }
    requires_seen(if_match, gateway.seq)?;
    let event = Event::GatewayRemoved(GatewayRemoved { id, reason: reason.cloned() });
    let effects = Effects::event(Some(organization), event);
    Ok(Decision::Happened(effects, Answer::Done))
}

/// Decides [`IssueGatewayToken`].
pub(crate) fn issue_token(context: &Context<'_>, issue: &IssueGatewayToken) -> Decided {
    let authority = manager(context)?;
    let gateway = present(context, issue.gateway)?;
    refuse_past(context, issue.token.expires_at)?;
    if gateway.standing.len() >= STANDING_TOKENS {
        let tokens = gateway.standing.iter().filter_map(|id| context.state.tokens.get(id));
        return Err(no_place(context, tokens.map(|token| token.expires_at), STANDING_TOKENS));
    }
    let organization = context.command.organization;
    let event = token_issued(organization, gateway.id, &issue.token, authority.token, context.state.head + 1);
    Ok(Decision::Happened(
        Effects::event(Some(organization), event),
        Answer::Gateway(gateway.id, Some(issue.token.id)),
    ))
}

/// Decides to revoke one token of a gateway.
pub(crate) fn revoke_token(
    context: &Context<'_>,
    (gateway, id): (GatewayId, TokenId),
    if_match: &IfMatch,
    reason: Option<&Reason>,
) -> Decided {
    manager(context)?;
    let organization = context.command.organization;
    let ours =
        context.state.gateways.get(&gateway).is_some_and(|gateway| gateway.organization == organization);
    let token = context
        .state
        .tokens
        .get(&id)
        .filter(|token| ours && token.owner == Owner::Gateway(gateway))
        .ok_or(Refusal::NotFound)?;
    if !token.stands() {
        return Ok(Decision::AlreadySo(Answer::Done));
    }
    requires_seen(if_match, token.seq)?;
    let event = Event::TokenRevoked(TokenRevoked { id, reason: reason.cloned() });
    let effects = Effects::event(Some(organization), event);
    Ok(Decision::Happened(effects, Answer::Done))
}
