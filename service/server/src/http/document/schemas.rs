//! Documents that no type of the code makes: they are written field by field, or read so.

use super::examples;
use super::names::{EventType, IntrospectedKind};
use crate::http::v1::user::RoleName;
use std::collections::HashMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// A refusal (RFC 9457). `type` is stable, and relative to the public URL.
#[derive(ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// What kind of refusal it is.
    #[schema(format = "uri-reference", example = "/problems/malformed")]
    pub r#type: String,
    /// The same in words.
    #[schema(example = "The request cannot be understood")]
    pub title: String,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599, example = 400)]
    pub status: u16,
    /// What was wrong.
    pub detail: String,
    /// The field, parameter or header that is wrong.
    #[schema(nullable = false, example = "body")]
    pub field: Option<String>,
}

/// A refusal (RFC 6749 section 5.2).
#[derive(ToSchema)]
#[schema(as = OauthError)]
pub struct OauthErrorDocument {
    /// What kind of refusal it is.
    #[schema(example = "invalid_client")]
    pub error: String,
    /// What was wrong.
    pub error_description: String,
}

/// A form about a token. The gateway's credentials may be in it too.
#[derive(ToSchema)]
#[schema(as = TokenForm, max_properties = 32, example = json!({ "token": "cf_pat_0123456789" }))]
pub struct TokenForm {
    /// The plaintext of the token.
    #[schema(min_length = 1, example = "cf_pat_0123456789")]
    pub token: String,
    /// Accepted, and of no use here.
    #[schema(nullable = false)]
    pub token_type_hint: Option<String>,
    /// The gateway's client id, unless the header has it.
    #[schema(nullable = false)]
    pub client_id: Option<String>,
    /// One of the gateway's tokens, unless the header has it.
    #[schema(nullable = false, format = Password)]
    pub client_secret: Option<String>,
    /// Others are ignored (RFC 6749 section 3.2).
    #[serde(flatten)]
    pub others: HashMap<String, String>,
}

/// What a gateway is told of a token (RFC 7662 section 2.2). To every token that is not active, and to anything that
/// is no token, the answer is `{"active":false}`; otherwise everything is there but `exp` and `role`, which are left out
/// where they do not apply.
#[derive(ToSchema)]
#[schema(as = Introspection, example = examples::introspection)]
pub struct IntrospectionDocument {
    /// Whether the token is active.
    pub active: bool,
    /// Scopes with one blank between them.
    #[schema(nullable = false, example = "read write")]
    pub scope: Option<String>,
    /// Who holds the token: its user, for a personal token.
    #[schema(nullable = false)]
    pub client_id: Option<String>,
    /// Whom the token speaks for.
    #[schema(nullable = false)]
    pub sub: Option<String>,
    /// A name that a person recognises.
    #[schema(nullable = false, example = "owner@example.com")]
    pub username: Option<String>,
    /// How it is presented.
    #[schema(nullable = false, example = "Bearer")]
    pub token_type: Option<String>,
    /// When it was issued, in seconds since the epoch.
    #[schema(nullable = false)]
    pub iat: Option<i64>,
    /// From when on it is inactive, in seconds since the epoch.
    #[schema(nullable = false)]
    pub exp: Option<i64>,
    /// Who answers: the configured public URL.
    #[schema(nullable = false, format = "uri")]
    pub iss: Option<String>,
    /// The token's id, which rotation keeps.
    #[schema(nullable = false, format = Uuid)]
    pub jti: Option<String>,
    /// The organization that the answer is about: the gateway's.
    #[schema(nullable = false, format = Uuid)]
    pub organization_id: Option<String>,
    /// What the token is for.
    #[schema(value_type = IntrospectedKind, required = false)]
    pub kind: Option<String>,
    /// The role in the organization, of a personal token's user.
    #[schema(value_type = RoleName, required = false)]
    pub role: Option<String>,
}

/// The answer to a revocation, whatever was sent.
#[derive(ToSchema)]
#[schema(as = Revoked, example = json!({}))]
pub struct RevokedDocument {}

/// Where the doors are (RFC 8414).
#[derive(ToSchema)]
#[schema(as = Metadata, example = examples::metadata)]
pub struct MetadataDocument {
    /// The configured public URL.
    #[schema(format = "uri")]
    pub issuer: String,
    /// Where to introspect.
    #[schema(format = "uri")]
    pub introspection_endpoint: String,
    /// How to authenticate there.
    pub introspection_endpoint_auth_methods_supported: Vec<String>,
    /// Where to revoke.
    #[schema(format = "uri")]
    pub revocation_endpoint: String,
    /// How to authenticate there.
    pub revocation_endpoint_auth_methods_supported: Vec<String>,
    /// Empty: there is no authorization endpoint.
    pub response_types_supported: Vec<String>,
    /// Empty: tokens are not issued by a grant.
    pub grant_types_supported: Vec<String>,
}

/// An event as it was written, with its chain value.
#[derive(ToSchema)]
#[schema(as = FeedItem)]
pub struct FeedItem {
    /// The chain value after this event, in hexadecimal digits.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub chain: String,
    /// The event: its bytes are what the chain value proves.
    pub record: EventRecord,
}

/// An event. Other fields may be added.
#[derive(ToSchema)]
pub struct EventRecord {
    /// Its position: 1, 2, 3 … without gaps.
    #[schema(minimum = 1)]
    pub seq: u64,
    /// The organization, unless it belongs to a user.
    #[schema(nullable = false)]
    pub organization: Option<Uuid>,
    /// What happened.
    #[schema(value_type = EventType)]
    pub r#type: String,
    /// The version of its body.
    #[schema(minimum = 1)]
    pub version: u32,
    /// Who did it.
    pub actor: EventActor,
    /// The request that it was done in.
    pub request_id: Uuid,
    /// When it was decided. For display: the order is that of `seq`.
    #[schema(format = DateTime)]
    pub decided_at: String,
    /// What changed, by the type.
    #[schema(value_type = Object)]
    pub body: (),
}

/// Who did it. Which ids there are depends on the kind.
#[derive(ToSchema)]
pub struct EventActor {
    /// `token`, `session`, `gateway`, `holder` (of the plaintext), `operator` (of the command line) or `system`.
    pub kind: String,
    /// The token that was presented.
    #[schema(nullable = false)]
    pub token_id: Option<Uuid>,
    /// Which of its plaintexts.
    #[schema(nullable = false, minimum = 1)]
    pub generation: Option<u32>,
    /// The session that was presented.
    #[schema(nullable = false)]
    pub session_id: Option<Uuid>,
    /// The user.
    #[schema(nullable = false)]
    pub user_id: Option<Uuid>,
    /// The gateway.
    #[schema(nullable = false)]
    pub gateway_id: Option<Uuid>,
    /// The command.
    #[schema(nullable = false)]
    pub command: Option<String>,
}

/// A page of the audit feed.
#[derive(ToSchema)]
#[schema(as = FeedPage, example = examples::feed_page)]
pub struct FeedPage {
    /// The events, oldest first.
    pub items: Vec<FeedItem>,
    /// The `after` of the next page.
    pub next_after: u64,
    /// Whether there is more already.
    pub more: bool,
    /// The head of the log as of this request.
    pub head: u64,
}

/// How many tokens were revoked.
#[derive(ToSchema)]
#[schema(as = RevokedCount, example = json!({ "revoked": 3 }))]
pub struct RevokedCount {
    /// How many.
    pub revoked: u64,
}

/// A document of OpenAPI 3.1.
#[derive(ToSchema)]
#[schema(as = OpenApiDocument, example = json!({ "openapi": "3.1.0" }))]
pub struct OpenApiDocument {
    /// The version of the specification.
    #[schema(example = "3.1.0")]
    pub openapi: String,
}
