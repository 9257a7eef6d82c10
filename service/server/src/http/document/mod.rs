//! The API's document (OpenAPI 3.1), made from the routes.
//!
//! A route and what is said of it register together (`http/mod.rs`). A handler says what is its own: parameters,
//! bodies, the answers that only it gives. What every door does alike — refusing a credential, limiting, shedding, the
//! form of a refusal — is said here, by rule, so that a new route has it without a word.

pub mod examples;
pub mod names;
pub mod params;
mod refusals;
mod rules;
pub mod schemas;
mod security;

use bytes::Bytes;
use std::sync::LazyLock;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{KnownFormat, SchemaFormat, Type};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, InfoBuilder, License, ObjectBuilder, OpenApi, OpenApiBuilder, RefOr, ServerBuilder,
};

/// What the document begins with; its handlers join it as they are registered.
pub(super) fn base() -> OpenApi {
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".into());
    let info = InfoBuilder::new()
        .title("Counterfoil")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(license))
        .build();
    let here = ServerBuilder::new().url(".").description(Some("The host that serves this document.")).build();
    let tags = TAGS.map(|(name, what)| TagBuilder::new().name(name).description(Some(what)).build());
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([here]))
        .tags(Some(tags))
        .components(Some(components()))
        .build()
}

const DESCRIPTION: &str = "An event-sourced, multi-tenant token service. A refusal is a problem document \
    (RFC 9457), at `/oauth2/` an error of RFC 6749. Every answer names its request by `X-Request-Id`. A plaintext is \
    shown once, in the answer that makes it. Fields and parameters of `/v1` that are not described here are refused.";

const TAGS: [(&str, &str); 9] = [
    ("Session", "Signing in and out."),
    ("User", "Who is asking."),
    ("Tokens", "A user's personal tokens."),
    ("Token", "The presented token, about itself."),
    ("Gateways", "Resource servers, and the tokens by which they ask."),
    ("Events", "The audit feed."),
    ("OAuth", "What resource servers (gateways) and token holders ask."),
    ("Operations", "Whether the service lives, and whether it may be sent requests."),
    ("Document", "This document, and a page that shows it."),
];

fn components() -> Components {
    let mut components = Components::new();
    for (name, scheme) in security::schemes() {
        components.add_security_scheme(name, scheme);
    }
    components.headers.extend(headers());
    components.parameters.insert(params::ORGANIZATION.into(), RefOr::T(params::organization()));
    components.responses.extend(refusals::shared());
    components.schemas.extend(refusals::schemas());
    components
}

/// The headers that several answers have.
fn headers() -> impl Iterator<Item = (String, RefOr<utoipa::openapi::header::Header>)> {
    let id = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)));
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let described = |schema: ObjectBuilder, what: &str| {
        HeaderBuilder::new().schema(Some(schema)).description(Some(what)).build()
    };
    let always = [
        ("X-Request-Id", id, "The request's name in logs and events."),
        ("Retry-After", seconds, "After how many seconds to try again."),
        ("WWW-Authenticate", text(), "How to authenticate (RFC 9110 section 11.6.1)."),
    ]
    .map(|(name, schema, what)| {
        let mut header = described(schema, what);
        rules::require(&mut header);
        (name, header)
    });
    let what = "What is wrong with the credential, if that is what is wrong (RFC 6750 section 3).";
    let sometimes = [(refusals::CHALLENGE, described(text(), what))];
    always.into_iter().chain(sometimes).map(|(name, header)| (name.into(), RefOr::T(header)))
}

/// The document of every route.
pub fn document() -> OpenApi {
    let mut document = super::routes().merge(super::strangers()).into_openapi();
    rules::complete(&mut document);
    document
}

/// The document as JSON, as it is served.
pub(super) static JSON: LazyLock<Bytes> =
    LazyLock::new(|| serde_json::to_vec(&document()).unwrap_or_default().into());

/// The document as YAML, as the repository keeps it.
///
/// # Errors
/// None that is known: everything in it can be written.
pub fn yaml() -> Result<String, serde_saphyr::ser::Error> {
    Ok(format!("{HEAD}{}", serde_saphyr::to_string(&document())?))
}

const HEAD: &str = "# Printed by `counterfoil openapi`, from the routes. A test holds the two equal.\n";
