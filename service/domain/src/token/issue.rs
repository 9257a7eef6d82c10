//! Issuing personal tokens.

use super::{Kind, Owner, TokenIssued};
use crate::authority::Authority;
use crate::command::{Answer, Decided, Decision, Effects};
use crate::decide::Context;
use crate::event::Event;
use crate::ids::TokenId;
use crate::plaintext::Digest;
use crate::policy::Permission;
use crate::refusal::Refusal;
use crate::scope::{BUILT_IN, Scopes};
use crate::timestamp::Timestamp;
use crate::value::Value;

/// Issue a personal token for the actor's user.
#[derive(Clone, Debug)]
pub struct IssuePersonal {
    /// The new token's id.
    pub id: TokenId,
    /// SHA-256 of its plaintext.
    pub digest: Digest,
    /// Its plaintext's beginning.
    pub hint: String,
    /// What it may do; absent for all that the actor may.
    pub scopes: Option<Scopes>,
    /// From when on it is inactive.
    pub expires_at: Option<Timestamp>,
    /// The holder's own words.
    pub note: Option<Value>,
}

/// Decides [`IssuePersonal`].
pub(crate) fn issue_personal(context: &Context<'_>, issue: &IssuePersonal) -> Decided {
    let authority = context.authority()?;
    authority.may_change(Permission::OwnTokens)?;
    let scopes = narrowed(&authority, issue.scopes.as_ref())?;
    refuse_past(context, issue.expires_at)?;
    let user = context.state.users.get(&authority.user).ok_or(Refusal::Unauthenticated)?;
    let limit = context.limits.tokens_per_user;
    if user.standing.len() >= limit {
        return Err(no_place(context, user.standing.values().map(|token| token.expires_at), limit));
    }
    let event = TokenIssued {
        id: issue.id,
        token_kind: Kind::Personal,
        owner: Owner::User(authority.user),
        home: context.command.organization,
        digest: issue.digest,
        hint: issue.hint.clone(),
        scopes,
        expires_at: issue.expires_at,
        note: issue.note.as_ref().map(Value::reference),
        issued_by: authority.token,
        since: authority.since.unwrap_or(context.state.head + 1),
    };
    let effects =
        Effects::event(None, Event::TokenIssued(event)).value(authority.user.0, issue.note.as_ref());
    Ok(Decision::Happened(effects, Answer::Token(issue.id)))
}

/// Why there is no place for another token beside as many as may stand, by their expiries. Where one of them seems to be
/// over and cannot be ended yet, that is not for good.
pub(crate) fn no_place(
    context: &Context<'_>,
    mut standing: impl Iterator<Item = Option<Timestamp>>,
    limit: usize,
) -> Refusal {
    let due = |at: Timestamp| at <= context.clock.earliest();
    if standing.any(|expires_at| expires_at.is_some_and(due)) {
        Refusal::ClockUntrusted
    } else {
        Refusal::LimitReached { limit }
    }
}

/// The scopes that are asked for, or the actor's own.
fn narrowed(authority: &Authority, asked: Option<&Scopes>) -> Result<Scopes, Refusal> {
    let Some(asked) = asked else { return Ok(authority.scopes.clone()) };
    if let Some(unknown) = asked.iter().find(|scope| !BUILT_IN.contains(scope)) {
        return Err(Refusal::UnknownScope(unknown.into()));
    }
    if asked.within(&authority.scopes) { Ok(asked.clone()) } else { Err(Refusal::Stronger) }
}

/// Refuses an expiry that has come by either clock.
pub(crate) fn refuse_past(context: &Context<'_>, expires_at: Option<Timestamp>) -> Result<(), Refusal> {
    match expires_at {
        Some(at) if at <= context.clock.latest() => Err(Refusal::ExpiryInPast { at }),
        _ => Ok(()),
    }
}
