//! Values of requests, checked: each gets the same refusal wherever it stands.

use crate::http::problem::Problem;
use counterfoil_domain::ids::TokenId;
use counterfoil_domain::plaintext::contains_a_plaintext;
use counterfoil_domain::scope::Scopes;
use counterfoil_domain::timestamp::{NotATimestamp, Timestamp};
use counterfoil_domain::token::Reason;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// Longest note, in characters.
pub const LONGEST_NOTE: usize = 200;

/// An instant of a JSON body. What is no text is no instant either, and gets the same refusal, which names the field.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum InstantText {
    /// To be parsed.
    Text(String),
    /// A number or worse.
    Other(IgnoredAny),
}

impl InstantText {
    /// The instant.
    pub(super) fn instant(&self, field: &str) -> Result<Timestamp, Problem> {
        match self {
            Self::Text(text) => instant(field, text),
            Self::Other(_) => instant(field, ""),
        }
    }
}

/// An instant of a field.
fn instant(field: &str, text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse(text).map_err(|error| not_an_instant(field, error))
}

/// The refusal of a text that is no instant, or none that can be written back.
pub(super) fn not_an_instant(field: &str, error: NotATimestamp) -> Problem {
    let detail = format!("It is {error}.");
    match error {
        NotATimestamp::Malformed => Problem::malformed(field, detail),
        NotATimestamp::OutOfRange => Problem::invalid(field, detail),
    }
}

/// An instant, null or nothing.
pub(super) fn nullable_instant(
    field: Option<Option<InstantText>>,
) -> Result<Option<Option<Timestamp>>, Problem> {
    field.map(|inner| inner.map(|text| text.instant("expires_at")).transpose()).transpose()
}

/// A field that tells absent from null: `Some(None)` is an explicit null.
pub(super) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A field that may be absent but not null: null is no way to say "as it was", or "all".
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A note: at most 200 characters, no control characters, and no token of ours pasted into it.
pub(super) fn checked_note(text: String) -> Result<String, Problem> {
    if text.chars().count() > LONGEST_NOTE {
        return Err(Problem::invalid("note", "A note has at most 200 characters."));
    }
    if text.chars().any(char::is_control) {
        return Err(Problem::invalid("note", "A note has no control characters."));
    }
    if contains_a_plaintext(&text) {
        return Err(Problem::invalid(
            "note",
            "The note contains a token. A token belongs in no note; if it was shown to others, revoke it.",
        ));
    }
    Ok(text)
}

/// A set of scopes.
pub(super) fn checked_scopes(scopes: Vec<String>) -> Result<Scopes, Problem> {
    Scopes::new(scopes).map_err(|error| Problem::invalid("scopes", format!("{error}.")))
}

/// A reason code.
pub(super) fn checked_reason(reason: Option<String>) -> Result<Option<Reason>, Problem> {
    reason.map(Reason::try_from).transpose().map_err(|what| Problem::invalid("reason", what))
}

/// An id of a path. What is none is not found, like what is nobody's.
pub(super) fn token_id(text: &str) -> Result<TokenId, Problem> {
    text.parse().map_err(|_| Problem::not_found())
}
