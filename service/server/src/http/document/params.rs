//! Parameters that several operations have.

use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, SchemaFormat, Type};
use utoipa::openapi::{ObjectBuilder, Required};

/// The name of the shared parameter.
pub(super) const ORGANIZATION: &str = "Organization";

/// Where a request acts.
pub(super) fn organization() -> Parameter {
    let uuid = Some(SchemaFormat::KnownFormat(KnownFormat::Uuid));
    ParameterBuilder::new()
        .name("X-Organization")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("The organization in which to act; by default the credential's own."))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).format(uuid)))
        .build()
}

/// A header that makes a request safe to repeat.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Idempotent {
    /// A name for this request, kept for a day at least: sent again, it does nothing again. What issues then answers 200,
    /// and its plaintext is `not_repeated`. The same key with another body is refused.
    #[param(rename = "Idempotency-Key", value_type = String, required = false, min_length = 1, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$")]
    pub key: Option<String>,
}

/// A header that makes a change conditional.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct Conditional {
    /// The `ETag` that was read, or a list of several: if the thing was changed since, nothing happens. `*` matches
    /// any, and a tag that is none of ours matches nothing. What has ended already has ended, whatever was read. The
    /// first use of a new plaintext changes a token as well, where the earlier one ends by it.
    #[param(rename = "If-Match", value_type = String, required = false)]
    pub if_match: Option<String>,
}

/// The path of a token.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct TokenPath {
    /// The token's id.
    #[param(value_type = Uuid)]
    pub id: String,
}

/// The path of a gateway.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct GatewayPath {
    /// The gateway's id.
    #[param(value_type = Uuid)]
    pub id: String,
}

/// The path of a gateway's token.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct GatewayTokenPath {
    /// The gateway's id.
    #[param(value_type = Uuid)]
    pub id: String,
    /// The token's id.
    #[param(value_type = Uuid)]
    pub token: String,
}
