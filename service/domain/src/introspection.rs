//! What a gateway is told of a token (RFC 7662 section 2.2).

use serde::Serialize;

/// The answer to everything that is not an active token of the gateway's own: unknown, malformed, expired,
/// revoked, disabled, another organization's. One constant, so that there is one answer.
pub const INACTIVE: &str = r#"{"active":false}"#;

/// The answer to an active token. What does not apply is left out, never null; times are integers; the scope is
/// one string.
#[derive(Debug, Serialize)]
pub struct Active<'a> {
    /// Always true.
    pub active: bool,
    /// Scope-tokens with one blank between them.
    pub scope: &'a str,
    /// Who holds the token: its user, for a personal token.
    pub client_id: &'a str,
    /// Whom the token speaks for.
    pub sub: &'a str,
    /// A name that a person recognises.
    pub username: &'a str,
    /// How it is presented: `Bearer` (RFC 6750).
    pub token_type: &'a str,
    /// When it was issued, in seconds since the epoch.
    pub iat: i64,
    /// From when on it is inactive, in seconds since the epoch. Absent for a token without expiry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// Who answers: the configured public URL.
    pub iss: &'a str,
    /// The token's id, which rotation keeps.
    pub jti: &'a str,
    /// The organization that the answer is about: the gateway's.
    pub organization_id: &'a str,
    /// What the token is for.
    pub kind: &'a str,
    /// The role in the organization, of a personal token's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'a str>,
}
