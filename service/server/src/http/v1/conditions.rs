//! Headers that say when a change is wanted: `If-Match` and `Idempotency-Key`.

use crate::event_log::writer::Idempotency;
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::ids::Seq;
use counterfoil_domain::if_match::IfMatch;
use http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};

/// The versions that `If-Match` names (RFC 9110 section 13.1.1). A tag that is none of ours matches nothing, and
/// nothing does in what is no list of tags.
pub(super) fn if_match(headers: &HeaderMap) -> IfMatch {
    let lines: Vec<&[u8]> =
        headers.get_all(header::IF_MATCH).iter().map(|line| line.as_bytes().trim_ascii()).collect();
    if matches!(lines[..], [] | [b"*"]) {
        return None;
    }
    let versions: Option<Vec<Vec<Seq>>> = lines.into_iter().map(versions).collect();
    Some(versions.unwrap_or_default().concat())
}

/// The versions in one line of entity tags; `None` for what is no list of them. Tags are compared strongly, so a weak
/// one stands for no version.
fn versions(line: &[u8]) -> Option<Vec<Seq>> {
    let (mut rest, mut found) = (line, Vec::new());
    loop {
        rest = rest.trim_ascii_start();
        let Some(first) = rest.first() else { return Some(found) };
        // An empty element is none.
        if *first == b',' {
            rest = &rest[1..];
            continue;
        }
        let weak = rest.strip_prefix(b"W/");
        let tag = weak.unwrap_or(rest).strip_prefix(b"\"")?;
        let end = tag.iter().position(|byte| *byte == b'"')?;
        if weak.is_none() {
            found.extend(version(&tag[..end]));
        }
        rest = tag[end + 1..].trim_ascii_start();
        if !matches!(rest.first(), None | Some(b',')) {
            return None;
        }
    }
}

/// The version that a tag of ours stands for, which is written in one way.
fn version(tag: &[u8]) -> Option<Seq> {
    let text = std::str::from_utf8(tag).ok()?;
    text.parse().ok().filter(|seq: &Seq| seq.to_string() == text)
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

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(lines: &[&str]) -> IfMatch {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::IF_MATCH, HeaderValue::from_str(line).unwrap());
        }
        if_match(&headers)
    }

    #[test]
    fn a_list_of_tags_names_versions() {
        assert_eq!((read(&[]), read(&["*"]), read(&[" * "])), (None, None, None));
        for (lines, versions) in [
            (&["\"7\""][..], &[7][..]),
            (&["\"7\", \"8\""], &[7, 8]),
            (&["\"7\",,\t\"8\" ,"], &[7, 8]),
            (&["\"7\"", "\"8\""], &[7, 8]),
            (&["W/\"7\", \"8\", \"x,y\", \"\""], &[8]),
            (&["\"18446744073709551615\", \"18446744073709551616\""], &[u64::MAX]),
        ] {
            assert_eq!(read(lines).as_deref(), Some(versions), "{lines:?}");
        }
        // No tag of ours, or no list.
        for lines in [
            &[""][..],
            &["\"07\""],
            &["\"+7\""],
            &["\" 7\""],
            &["w/\"7\""],
            &["7"],
            &["\"7"],
            &["\"7\" \"8\""],
            &["\"7\"x"],
            &["\"7\", *"],
            &["\"7\"", "*"],
            &["*", "*"],
            &["\"7\"", "8"],
        ] {
            assert_eq!(read(lines).as_deref(), Some(&[][..]), "{lines:?}");
        }
    }
}
