//! Documents that no type of the code makes: they are written field by field, or read so.

use utoipa::ToSchema;

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
#[schema(as = TokenForm)]
pub struct TokenForm {
    /// The plaintext of the token.
    #[schema(example = "cf_pat_0123456789")]
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
}

/// What a gateway is told of a token (RFC 7662 section 2.2). To every token that is not active, and to anything that
/// is no token, the answer is `{"active":false}`; otherwise everything is there but `exp` and `role`, which are left out
/// where they do not apply.
#[derive(ToSchema)]
#[schema(as = Introspection)]
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
    #[schema(nullable = false)]
    pub iss: Option<String>,
    /// The token's id, which rotation keeps.
    #[schema(nullable = false)]
    pub jti: Option<String>,
    /// The organization that the answer is about: the gateway's.
    #[schema(nullable = false)]
    pub organization_id: Option<String>,
    /// What the token is for.
    #[schema(nullable = false, example = "personal")]
    pub kind: Option<String>,
    /// The role in the organization, of a personal token's user.
    #[schema(nullable = false, example = "owner")]
    pub role: Option<String>,
}

/// The answer to a revocation, whatever the token was.
#[derive(ToSchema)]
#[schema(as = Revoked)]
pub struct RevokedDocument {}

/// Where the doors are (RFC 8414).
#[derive(ToSchema)]
#[schema(as = Metadata)]
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
}

/// An event as it was written, with its chain value.
#[derive(ToSchema)]
#[schema(as = FeedItem)]
pub struct FeedItem {
    /// The chain value after this event, in hexadecimal digits.
    #[schema(min_length = 64, max_length = 64)]
    pub chain: String,
    /// The event: its bytes are what the chain value proves.
    #[schema(value_type = Object)]
    pub record: (),
}

/// A page of the audit feed.
#[derive(ToSchema)]
#[schema(as = FeedPage)]
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
#[schema(as = RevokedCount)]
pub struct RevokedCount {
    /// How many.
    pub revoked: u64,
}

/// A document of OpenAPI 3.1.
#[derive(ToSchema)]
#[schema(as = OpenApiDocument)]
pub struct OpenApiDocument {
    /// The version of the specification.
    #[schema(example = "3.1.0")]
    pub openapi: String,
}
