//! The names that fields and parameters may have. They describe: what is accepted is decided by the code that reads, and a
//! test tries each name and another.

#![allow(dead_code, reason = "they describe")]

use counterfoil_domain::event::Event;
use counterfoil_domain::token::rotate::{LONGEST_OVERLAP, UNTIL_USED_LIMIT};
use utoipa::openapi::schema::{KnownFormat, SchemaFormat, Type};
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A scope that every organization has.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Scope {
    /// Allows GET.
    Read,
    /// Allows POST, PUT, PATCH and DELETE.
    Write,
}

/// What a token is for.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum TokenKind {
    /// Acts as its user.
    Personal,
    /// Acts as an admin of an organization.
    Admin,
    /// Calls models through a gateway.
    Caller,
    /// A gateway's credential.
    Gateway,
}

/// A kind of token that gateways introspect.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum IntrospectedKind {
    /// Acts as its user.
    Personal,
    /// Acts as an admin of an organization.
    Admin,
    /// Calls models through a gateway.
    Caller,
}

/// By what tokens are sorted.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum TokenSort {
    /// When they were issued.
    Created,
    /// When they expire.
    Expires,
    /// When they were last used.
    LastUsed,
}

/// Which way things are sorted.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum SortOrder {
    /// The least first.
    Asc,
    /// The greatest first.
    Desc,
}

/// What a credential is.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum CredentialKind {
    /// A personal token.
    Token,
    /// A session.
    Session,
}

/// A file of the page at `/docs`.
#[derive(ToSchema)]
pub enum PageFile {
    /// What starts it.
    #[schema(rename = "page.js")]
    Page,
    /// What draws it.
    #[schema(rename = "swagger-ui-bundle.js")]
    Bundle,
    /// How it looks.
    #[schema(rename = "swagger-ui.css")]
    Style,
}

/// The wire name of an event's type.
pub struct EventType;

impl PartialSchema for EventType {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(Event::NAMES.iter().copied())).into()
    }
}

impl ToSchema for EventType {}

/// Where the feed ends.
pub struct EventsUntil;

impl PartialSchema for EventsUntil {
    fn schema() -> RefOr<Schema> {
        let instant = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        OneOfBuilder::new()
            .item(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(i64::MAX)))
            .item(ObjectBuilder::new().schema_type(Type::String).format(Some(instant)))
            .into()
    }
}

impl ToSchema for EventsUntil {}

/// How long the earlier plaintext goes on working.
pub struct Overlap;

// The description says it in words.
const _: () = assert!(LONGEST_OVERLAP == 30 * 24 * 3600 && UNTIL_USED_LIMIT == 24 * 3600);

impl PartialSchema for Overlap {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .item(
                ObjectBuilder::new()
                    .schema_type(Type::Integer)
                    .minimum(Some(0))
                    .maximum(Some(LONGEST_OVERLAP)),
            )
            .item(ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["until_used"])))
            .description(Some(
                "`until_used`, which is the default: until the new plaintext is used for the first time, and for 24 \
                 hours at most, so that a lost answer locks nobody out. Or so many seconds, 30 days at most; 0 ends it \
                 at once.",
            ))
            .into()
    }
}

impl ToSchema for Overlap {}
