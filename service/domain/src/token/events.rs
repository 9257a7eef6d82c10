//! The bodies of the token events.

use super::{Kind, Owner};
use crate::ids::{OrganizationId, Seq, TokenId, UserId};
use crate::plaintext::Digest;
use crate::scope::Scopes;
use crate::timestamp::Timestamp;
use crate::value::ValueRef;
use serde::{Deserialize, Serialize};

/// Why something was ended or disabled: one word of lower-case letters, digits and underscores, at most 64, so
/// that no free text gets into an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reason(String);

impl Reason {
    /// Longest reason code, in characters.
    pub const LONGEST: usize = 64;

    /// The code itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Reason {
    type Error = &'static str;
    fn try_from(code: String) -> Result<Self, Self::Error> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if (1..=Self::LONGEST).contains(&code.len()) && code.bytes().all(fits) {
            Ok(Self(code))
        } else {
            Err(
                "a reason is a code of 1 to 64 lower-case letters, digits and underscores, such as key_leaked",
            )
        }
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.0
    }
}

/// `token.issued`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenIssued {
    /// The new token.
    pub id: TokenId,
    /// What it is for.
    pub token_kind: Kind,
    /// Whose it is.
    pub owner: Owner,
    /// Where it was issued.
    pub home: OrganizationId,
    /// SHA-256 of the plaintext.
    pub digest: Digest,
    /// The plaintext's beginning.
    pub hint: String,
    /// What it may do.
    pub scopes: Scopes,
    /// From when on it is inactive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The holder's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<ValueRef>,
    /// The token that issued it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_by: Option<TokenId>,
    /// See [`super::Token::since`].
    pub since: Seq,
}

/// `token.scoped`. What is absent stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenScoped {
    /// Which token.
    pub id: TokenId,
    /// The narrower scopes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
    /// The earlier expiry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// `token.renamed`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRenamed {
    /// Which token.
    pub id: TokenId,
    /// The new note; absent if it was cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<ValueRef>,
}

/// `token.rotated`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRotated {
    /// Which token.
    pub id: TokenId,
    /// The number of the new plaintext.
    pub generation: u32,
    /// SHA-256 of the new plaintext.
    pub digest: Digest,
    /// The new plaintext's beginning.
    pub hint: String,
    /// The expiry from now on, changed or not; absent for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When the earlier plaintext ends by the clock; absent if it ended at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_ends_at: Option<Timestamp>,
    /// Whether the first use of the new plaintext ends the earlier one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub until_used: bool,
    /// Whether the plaintext that goes on working is the one that was the earlier one already: the present one
    /// was never used, so its answer may have been lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_previous: bool,
}

/// `token.disabled`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenDisabled {
    /// Which token.
    pub id: TokenId,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// `token.enabled`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEnabled {
    /// Which token.
    pub id: TokenId,
}

/// `token.expired`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenExpired {
    /// Which token.
    pub id: TokenId,
}

/// `token.revoked`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRevoked {
    /// Which token.
    pub id: TokenId,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// `token.previous_ended`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviousEnded {
    /// Which token.
    pub id: TokenId,
    /// The number of the plaintext that ended.
    pub generation: u32,
}

/// `tokens.revoked_all`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokensRevokedAll {
    /// Whose tokens.
    pub user_id: UserId,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}
