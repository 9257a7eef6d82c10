//! Rotation: another plaintext for the same token.

use super::{Previous, PreviousEnded, Token, TokenRotated};
use crate::actor::Actor;
use crate::command::{Answer, Decided, Decision, Effects};
use crate::decide::Context;
use crate::event::Event;
use crate::ids::TokenId;
use crate::if_match::{IfMatch, requires_seen};
use crate::plaintext::Digest;
use crate::policy::Permission;
use crate::refusal::Refusal;
use crate::timestamp::Timestamp;
use crate::token::change::own_standing_token;
use crate::token::issue::refuse_past;

/// The longest overlap, in seconds: 30 days.
pub const LONGEST_OVERLAP: u32 = 30 * 24 * 3600;
/// How long an earlier plaintext works whose successor is never used, in seconds: 24 hours.
pub const UNTIL_USED_LIMIT: i64 = 24 * 3600;

/// How long the earlier plaintext goes on working.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// Until the first use of the new one, at the latest [`UNTIL_USED_LIMIT`]: a lost answer locks nobody out.
    UntilUsed,
    /// So many seconds; 0 ends it at once.
    Seconds(u32),
}

/// Give a token another plaintext. Its id, scopes, owner and note stay.
#[derive(Clone, Debug)]
pub struct Rotate {
    /// Which token.
    pub id: TokenId,
    /// The plaintext that the caller takes for the present one: of two rotations at once, one is refused.
    pub generation: u32,
    /// What the caller saw.
    pub if_match: IfMatch,
    /// SHA-256 of the new plaintext.
    pub digest: Digest,
    /// The new plaintext's beginning.
    pub hint: String,
    /// The new expiry; absent: unchanged; an inner `None`: never. A later one is not stronger.
    pub expires_at: Option<Option<Timestamp>>,
    /// How long the earlier plaintext goes on working.
    pub overlap: Overlap,
}

/// Decides [`Rotate`].
pub(crate) fn rotate(context: &Context<'_>, rotate: &Rotate) -> Decided {
    let authority = context.authority()?;
    authority.may_change(Permission::OwnTokens)?;
    let token = own_standing_token(context, &authority, rotate.id)?;
    if !token.scopes.within(&authority.scopes) {
        return Err(Refusal::Stronger);
    }
    requires_seen(&rotate.if_match, token.seq)?;
    if rotate.generation != token.generation {
        return Err(Refusal::RotatedMeanwhile);
    }
    let expires_at = rotate.expires_at.unwrap_or(token.expires_at);
    refuse_past(context, expires_at)?;
    let mut effects = Effects::default();
    let used = ends_previous_by_use(context, token);
    if let Some(generation) = used {
        effects = effects.and(None, Event::PreviousEnded(PreviousEnded { id: token.id, generation }));
    }
    let (previous_ends_at, until_used, keeps_previous) =
        overlap(context, token, rotate.overlap, used.is_some())?;
    let event = TokenRotated {
        id: token.id,
        generation: token.generation + 1,
        digest: rotate.digest,
        hint: rotate.hint.clone(),
        expires_at,
        previous_ends_at,
        until_used,
        keeps_previous,
    };
    Ok(Decision::Happened(effects.and(None, Event::TokenRotated(event)), Answer::Token(token.id)))
}

/// A token that rotates itself with its present plaintext has used it, which ends an `until_used` earlier one.
fn ends_previous_by_use(context: &Context<'_>, token: &Token) -> Option<u32> {
    let previous = token.previous.as_ref().filter(|p| p.until_used && p.ended.is_none())?;
    match &context.command.actor {
        Actor::Token { token_id, generation, .. }
            if *token_id == token.id && *generation == token.generation =>
        {
            Some(previous.generation)
        }
        _ => None,
    }
}

/// Whether a token rotates itself with its earlier plaintext: so its holder has not got the present one.
fn is_by_previous(context: &Context<'_>, token: &Token, previous: &Previous) -> bool {
    matches!(&context.command.actor, Actor::Token { token_id, generation, .. }
        if *token_id == token.id && *generation == previous.generation)
}

/// When the earlier plaintext ends, whether by use, and whether it is the one that was the earlier one before.
fn overlap(
    context: &Context<'_>,
    token: &Token,
    asked: Overlap,
    used: bool,
) -> Result<(Option<Timestamp>, bool, bool), Refusal> {
    let now = context.clock.latest();
    let by_own_expiry = |at: Timestamp| token.expires_at.map_or(at, |own| own.min(at));
    if matches!(asked, Overlap::Seconds(seconds) if seconds > LONGEST_OVERLAP) {
        return Err(Refusal::OverlapTooLong(LONGEST_OVERLAP));
    }
    // A disabled token's present plaintext does not work, so nothing is to go on working.
    if token.disabled {
        return Ok((None, false, false));
    }
    // A successor that was never used, or whose holder goes on with the plaintext before it, may have been lost with its
    // answer: it is replaced, and the plaintext that its holder does have goes on working, never longer than it would have.
    let kept = token.previous.as_ref().filter(|previous| {
        let is_unused = previous.until_used && !used;
        (is_unused || is_by_previous(context, token, previous)) && previous.works(now)
    });
    Ok(match (asked, kept) {
        (Overlap::UntilUsed, Some(previous)) => {
            (Some(previous.ends_at.min(now.plus_seconds(UNTIL_USED_LIMIT))), true, true)
        }
        (Overlap::UntilUsed, None) => (Some(by_own_expiry(now.plus_seconds(UNTIL_USED_LIMIT))), true, false),
        (Overlap::Seconds(0), _) => (None, false, false),
        (Overlap::Seconds(seconds), Some(previous)) => {
            (Some(previous.ends_at.min(now.plus_seconds(seconds.into()))), false, true)
        }
        (Overlap::Seconds(seconds), None) => {
            (Some(by_own_expiry(now.plus_seconds(seconds.into()))), false, false)
        }
    })
}
