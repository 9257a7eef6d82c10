//! Preconditions: a change of what the caller saw, and of nothing later.

use crate::ids::Seq;
use crate::refusal::Refusal;

/// The versions that a caller saw, of which the present one has to be one: [`crate::token::Token::seq`] or
/// [`crate::gateway::Gateway::seq`]. `None` if it does not say so, or takes any.
///
/// What has ended, or is switched off or on already, is a success whatever was seen: the caller may have done it, and
/// not have been answered (RFC 9110 section 13.1.1).
pub type IfMatch = Option<Vec<Seq>>;

/// Requires that the present version was seen.
///
/// # Errors
/// [`Refusal::ChangedMeanwhile`].
pub(crate) fn requires_seen(if_match: &IfMatch, present: Seq) -> Result<(), Refusal> {
    match if_match {
        Some(seen) if !seen.contains(&present) => Err(Refusal::ChangedMeanwhile),
        _ => Ok(()),
    }
}
