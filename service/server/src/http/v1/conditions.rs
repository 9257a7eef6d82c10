//! Headers that say when a change is wanted: `If-Match` and `Idempotency-Key`.

use crate::event_log::writer::Idempotency;
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::ids::Seq;
use http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};

/// The version that `If-Match` names. A tag that is none of ours matches nothing.
pub(super) fn if_match(headers: &HeaderMap) -> Option<Seq> {
    let mut lines = headers.get_all(header::IF_MATCH).iter();
    let text = match (lines.next()?, lines.next()) {
        (only, None) => only.to_str().unwrap_or_default().trim(),
        _ => "",
    };
    if text == "*" {
        return None;
    }
    let number =
        text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).and_then(|number| number.parse().ok());
    Some(number.unwrap_or(0))
}

fn is_key(bytes: &[u8]) -> bool {
    (1..=255).contains(&bytes.len()) && bytes.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

/// The `Idempotency-Key` of a request, bound to who asks, what and where. Its value is not kept.
pub(super) fn idempotency(
    caller: &Caller,
    method: &str,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Option<Idempotency>, Problem> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let key = match (keys.next(), keys.next()) {
        (None, _) => return Ok(None),
        (Some(key), None) if is_key(key.as_bytes()) => key.as_bytes(),
        _ => {
            let detail = "Send it once, with 1 to 255 visible ASCII characters.";
            return Err(Problem::malformed("Idempotency-Key", detail));
        }
    };
    // By the credential and not its user: two tokens of a user that rotate themselves under one key are two.
    let actor = match &caller.actor {
        Actor::Session { session_id, .. } => session_id.0,
        actor => actor.token().map_or(caller.user.0, |token| token.0),
    };
    let (actor, organization) = (actor.as_bytes(), caller.organization.0.as_bytes());
    let mut hash = Sha256::new();
    for part in [actor.as_slice(), organization, method.as_bytes(), path.as_bytes(), key] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Ok(Some(Idempotency { key: hash.finalize().into(), body: Sha256::digest(body).into() }))
}
