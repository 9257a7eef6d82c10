//! Renaming, narrowing, disabling and enabling.

use super::{Reason, Token, TokenDisabled, TokenEnabled, TokenRenamed, TokenScoped};
use crate::authority::Authority;
use crate::command::{Answer, Decided, Decision, Effects};
use crate::decide::Context;
use crate::event::Event;
use crate::ids::TokenId;
use crate::if_match::{IfMatch, requires_seen};
use crate::policy::Permission;
use crate::refusal::Refusal;
use crate::scope::Scopes;
use crate::timestamp::Timestamp;
use crate::token::issue::refuse_past;
use crate::value::{Value, commitment};

/// Rename or narrow a token. What is absent stays; an inner `None` stands for an explicit null.
#[derive(Clone, Debug)]
pub struct ChangeToken {
    /// Which token.
    pub id: TokenId,
    /// What the caller saw.
    pub if_match: IfMatch,
    /// The new note.
    pub note: Option<Option<Value>>,
    /// The narrower scopes.
    pub scopes: Option<Scopes>,
    /// The earlier expiry.
    pub expires_at: Option<Option<Timestamp>>,
}

/// The actor's own token, whatever its state. Somebody else's is not found.
pub(crate) fn own_token<'a>(
    context: &'a Context<'_>,
    authority: &Authority,
    id: TokenId,
) -> Result<&'a Token, Refusal> {
    let token = context.state.tokens.get(&id).ok_or(Refusal::NotFound)?;
    if token.user() == Some(authority.user) { Ok(token) } else { Err(Refusal::NotFound) }
}

/// The actor's own token, for a change that only a standing one can have.
pub(crate) fn own_standing_token<'a>(
    context: &'a Context<'_>,
    authority: &Authority,
    id: TokenId,
) -> Result<&'a Token, Refusal> {
    let token = own_token(context, authority, id)?;
    if token.stands() && !token.is_due(context.clock.latest()) { Ok(token) } else { Err(Refusal::Ended) }
}

/// Decides [`ChangeToken`].
pub(crate) fn change(context: &Context<'_>, change: &ChangeToken) -> Decided {
    let authority = context.authority()?;
    authority.may_change(Permission::OwnTokens)?;
    let token = own_standing_token(context, &authority, change.id)?;
    requires_seen(&change.if_match, token.seq)?;
    let scoped = narrowed(context, token, change)?;
    let mut effects = Effects::default();
    if let Some(note) = change.note.as_ref().filter(|note| !same_note(context, token, note.as_ref())) {
        let event = TokenRenamed { id: token.id, note: note.as_ref().map(Value::reference) };
        effects = effects.and(None, Event::TokenRenamed(event)).value(authority.user.0, note.as_ref());
    }
    if scoped.scopes.is_some() || scoped.expires_at.is_some() {
        effects = effects.and(None, Event::TokenScoped(scoped));
    }
    let answer = Answer::Token(token.id);
    if effects.events.is_empty() {
        Ok(Decision::AlreadySo(answer))
    } else {
        Ok(Decision::Happened(effects, answer))
    }
}

/// What of a change narrows; what is as it was is left out.
fn narrowed(context: &Context<'_>, token: &Token, change: &ChangeToken) -> Result<TokenScoped, Refusal> {
    let scopes = change.scopes.as_ref().filter(|scopes| **scopes != token.scopes);
    if scopes.is_some_and(|scopes| !scopes.within(&token.scopes)) {
        return Err(Refusal::Widens("scopes"));
    }
    let expires_at = change.expires_at.filter(|asked| *asked != token.expires_at);
    let expires_at = match (expires_at, token.expires_at) {
        (None, _) => None,
        (Some(None), _) => return Err(Refusal::Widens("expires_at")),
        (Some(Some(asked)), Some(present)) if asked > present => return Err(Refusal::Widens("expires_at")),
        (Some(asked), _) => asked,
    };
    refuse_past(context, expires_at)?;
    Ok(TokenScoped { id: token.id, scopes: scopes.cloned(), expires_at })
}

/// Whether a note says what the token's note says already: compared by its commitment.
fn same_note(context: &Context<'_>, token: &Token, note: Option<&Value>) -> bool {
    match (note, token.note) {
        (None, None) => true,
        (Some(new), Some(present)) => context
            .state
            .values
            .get(&present.id)
            .is_some_and(|stored| commitment(&stored.salt, &new.text) == present.commitment),
        _ => false,
    }
}

/// Decides to switch a token off.
pub(crate) fn disable(
    context: &Context<'_>,
    id: TokenId,
    if_match: &IfMatch,
    reason: Option<&Reason>,
) -> Decided {
    let authority = context.authority()?;
    authority.may_change(Permission::OwnTokens)?;
    let token = own_standing_token(context, &authority, id)?;
    if token.disabled {
        return Ok(Decision::AlreadySo(Answer::Token(id)));
    }
    requires_seen(if_match, token.seq)?;
    let event = Event::TokenDisabled(TokenDisabled { id, reason: reason.cloned() });
    Ok(Decision::Happened(Effects::event(None, event), Answer::Token(id)))
}

/// Decides to switch a token on again.
pub(crate) fn enable(context: &Context<'_>, id: TokenId, if_match: &IfMatch) -> Decided {
    let authority = context.authority()?;
    authority.may_change(Permission::OwnTokens)?;
    let token = own_standing_token(context, &authority, id)?;
    if !token.disabled {
        return Ok(Decision::AlreadySo(Answer::Token(id)));
    }
    requires_seen(if_match, token.seq)?;
    let event = Event::TokenEnabled(TokenEnabled { id });
    Ok(Decision::Happened(Effects::event(None, event), Answer::Token(id)))
}
