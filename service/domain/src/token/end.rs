//! Ending tokens for good.

use super::{Kind, PreviousEnded, Reason, Token, TokenRevoked, TokensRevokedAll};
use crate::actor::Actor;
use crate::authority::{counts_in, judge_gateway};
use crate::command::{Answer, Decided, Decision, Effects, Write};
use crate::decide::Context;
use crate::event::Event;
use crate::ids::TokenId;
use crate::if_match::{IfMatch, requires_seen};
use crate::plaintext::Digest;
use crate::policy::Permission;
use crate::refusal::Refusal;
use crate::token::change::own_token;

/// Decides to revoke one token. A token may always end itself, whatever its scopes.
pub(crate) fn revoke(
    context: &Context<'_>,
    id: TokenId,
    if_match: &IfMatch,
    reason: Option<&Reason>,
) -> Decided {
    let authority = context.authority()?;
    if authority.token != Some(id) {
        authority.may_change(Permission::OwnTokens)?;
    }
    let token = own_token(context, &authority, id)?;
    if token.stands() {
        requires_seen(if_match, token.seq)?;
    }
    Ok(revoked(token, reason))
}

fn revoked(token: &Token, reason: Option<&Reason>) -> Decision {
    let answer = Answer::Token(token.id);
    if !token.stands() {
        return Decision::AlreadySo(answer);
    }
    let event = Event::TokenRevoked(TokenRevoked { id: token.id, reason: reason.cloned() });
    Decision::Happened(Effects::event(token.event_organization(), event), answer)
}

/// Decides to end all of the actor's personal tokens, the presented one included.
pub(crate) fn revoke_all(context: &Context<'_>, reason: Option<&Reason>, sessions: bool) -> Decided {
    let authority = context.authority()?;
    authority.may_change(Permission::OwnTokens)?;
    let user = context.state.users.get(&authority.user).ok_or(Refusal::Unauthenticated)?;
    let answer = Answer::Count(user.standing.len());
    let mut effects = Effects::default();
    if !user.standing.is_empty() {
        let event = TokensRevokedAll { user_id: user.id, reason: reason.cloned() };
        effects = effects.and(None, Event::TokensRevokedAll(event));
    }
    if sessions {
        effects = effects.write(Write::EndSessionsOf { user: user.id, except: None });
    }
    if effects.events.is_empty() && effects.writes.is_empty() {
        Ok(Decision::AlreadySo(answer))
    } else {
        Ok(Decision::Happened(effects, answer))
    }
}

/// Decides to end the token of a presented plaintext. Whatever the outcome, the answer is the same: it must not
/// tell whether the token was known (RFC 7009 section 2.2).
pub(crate) fn revoke_held(context: &Context<'_>, id: TokenId, digest: &Digest) -> Decided {
    let nothing = Decision::AlreadySo(Answer::Done);
    let gateway = match &context.command.actor {
        Actor::Holder { .. } => None,
        _ => Some(judge_gateway(context.state, context.clock, &context.command.actor)?),
    };
    let Some(token) = context.state.tokens.get(&id).filter(|token| token.stands()) else {
        return Ok(nothing);
    };
    // One clock is enough to deny; that an earlier plaintext is over, and ends nothing any more, takes both.
    let earlier =
        token.previous.as_ref().is_some_and(|p| p.works(context.clock.earliest()) && p.digest.same(digest));
    if !token.digest.same(digest) && !earlier {
        return Ok(nothing);
    }
    if let Some(gateway) = gateway
        && (!gateway.sees(token.kind) || !belongs_to(context, token, gateway.organization))
    {
        return Ok(nothing);
    }
    match revoked(token, None) {
        Decision::Happened(effects, _) => Ok(Decision::Happened(effects, Answer::Done)),
        Decision::AlreadySo(_) => Ok(nothing),
    }
}

/// Whether a token is one that the gateways of an organization see.
fn belongs_to(context: &Context<'_>, token: &Token, organization: crate::ids::OrganizationId) -> bool {
    match (token.kind, token.user()) {
        (Kind::Personal, Some(user)) => {
            let membership =
                context.state.users.get(&user).and_then(|user| user.memberships.get(&organization));
            let revoked_all = context.state.organizations.get(&organization).map(|o| o.revoked_all);
            membership.zip(revoked_all).is_some_and(|(m, mark)| counts_in(token.since, mark, m).is_some())
        }
        _ => false,
    }
}

/// Decides that the earlier plaintext ends, since the present one, of number `generation`, was used.
pub(crate) fn end_previous(context: &Context<'_>, id: TokenId, generation: u32) -> Decided {
    let token =
        context.state.tokens.get(&id).filter(|token| token.stands() && token.generation == generation);
    let previous =
        token.and_then(|token| token.previous.as_ref()).filter(|p| p.until_used && p.ended.is_none());
    match previous {
        Some(previous) if context.command.actor == Actor::System => {
            let event = Event::PreviousEnded(PreviousEnded { id, generation: previous.generation });
            Ok(Decision::Happened(Effects::event(None, event), Answer::Done))
        }
        _ => Ok(Decision::AlreadySo(Answer::Done)),
    }
}
