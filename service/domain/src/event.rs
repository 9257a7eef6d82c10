//! Every event, its permanent wire name and version, and the record that is stored of it.
//!
//! Wire names are permanent. New optional fields may be added to a body; anything else is a new version, and the
//! old one is upcast here, on read. An unknown type, version or field stops the reader: an event that is skipped
//! could have been a revocation.

mod reading;

use crate::actor::Actor;
use crate::gateway::{GatewayChanged, GatewayRegistered, GatewayRemoved};
use crate::ids::{OrganizationId, Seq};
use crate::organization::{EnvironmentCreated, MemberAdded, OrganizationCreated};
use crate::plaintext::Digest;
use crate::timestamp::Timestamp;
use crate::token::{
    PreviousEnded, TokenDisabled, TokenEnabled, TokenExpired, TokenIssued, TokenRenamed, TokenRevoked,
    TokenRotated, TokenScoped, TokensRevokedAll,
};
use crate::user::{PasswordSet, UserCreated};
use crate::value::ValueRef;
use serde::Serialize;
use serde::de::MapAccess;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident($body:ty) = $name:literal),+ $(,)?) => {
        /// What happened. The variants' bodies stand beside the entity that they change.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Event {
            $($(#[$doc])* $variant($body)),+
        }

        impl Event {
            /// The permanent wire name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name),+ }
            }

            /// Every wire name, in the order of the documentation.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            fn encode_body(&self) -> Result<Box<RawValue>, serde_json::Error> {
                match self { $(Self::$variant(body) => serde_json::value::to_raw_value(body)),+ }
            }

            /// Reads the body that comes next in a record, by its wire name and version. `None`, with nothing read, if
            /// they are not known.
            fn next_body<'de, A: MapAccess<'de>>(
                name: &str,
                version: u32,
                record: &mut A,
            ) -> Option<Result<Self, A::Error>> {
                match (name, version) {
                    $(($name, 1) => Some(record.next_value().map(Self::$variant)),)+
                    _ => None,
                }
            }
        }
    };
}

events! {
    /// A tenant came into being.
    OrganizationCreated(OrganizationCreated) = "organization.created",
    /// An account came into being.
    UserCreated(UserCreated) = "user.created",
    /// A password was set; what it is stands in no event.
    PasswordSet(PasswordSet) = "user.password_set",
    /// A user became a member of an organization.
    MemberAdded(MemberAdded) = "member.added",
    /// An environment came into being.
    EnvironmentCreated(EnvironmentCreated) = "environment.created",
    /// A resource server was registered.
    GatewayRegistered(GatewayRegistered) = "gateway.registered",
    /// A resource server's registration was changed.
    GatewayChanged(GatewayChanged) = "gateway.changed",
    /// A resource server was removed, and its gateway tokens with it.
    GatewayRemoved(GatewayRemoved) = "gateway.removed",
    /// A token was issued.
    TokenIssued(TokenIssued) = "token.issued",
    /// A token was narrowed. Never widened.
    TokenScoped(TokenScoped) = "token.scoped",
    /// A token got another note or name.
    TokenRenamed(TokenRenamed) = "token.renamed",
    /// A token got another plaintext.
    TokenRotated(TokenRotated) = "token.rotated",
    /// A token was switched off, to be switched on again.
    TokenDisabled(TokenDisabled) = "token.disabled",
    /// A token was switched on again.
    TokenEnabled(TokenEnabled) = "token.enabled",
    /// A token's expiry was recorded. It was inactive from its expiry on, recorded or not.
    TokenExpired(TokenExpired) = "token.expired",
    /// A token was ended for good.
    TokenRevoked(TokenRevoked) = "token.revoked",
    /// The earlier plaintext of a rotated token was ended.
    PreviousEnded(PreviousEnded) = "token.previous_ended",
    /// All tokens of a user were ended, in one event.
    TokensRevokedAll(TokensRevokedAll) = "tokens.revoked_all",
}

impl Event {
    /// The personal value that this event commits to, if it does to one.
    pub fn value(&self) -> Option<ValueRef> {
        match self {
            Self::OrganizationCreated(body) => Some(body.name),
            Self::UserCreated(body) => Some(body.email),
            Self::EnvironmentCreated(body) => Some(body.name),
            Self::GatewayRegistered(body) => Some(body.name),
            Self::GatewayChanged(body) => body.name,
            Self::TokenIssued(body) => body.note,
            Self::TokenRenamed(body) => body.note,
            Self::PasswordSet(_)
            | Self::MemberAdded(_)
            | Self::GatewayRemoved(_)
            | Self::TokenScoped(_)
            | Self::TokenRotated(_)
            | Self::TokenDisabled(_)
            | Self::TokenEnabled(_)
            | Self::TokenExpired(_)
            | Self::TokenRevoked(_)
            | Self::PreviousEnded(_)
            | Self::TokensRevokedAll(_) => None,
        }
    }
}

/// An event that this version of the program cannot read. Nothing may go on past it.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    /// The type is not known here.
    #[error("unknown event type {0:?}: written by a newer version of Counterfoil?")]
    Type(String),
    /// The type is known, in other versions.
    #[error("unknown version {1} of event type {0:?}: written by a newer version of Counterfoil?")]
    Version(String, u32),
    /// The body does not fit the type.
    #[error("the body of a {name:?} event cannot be read: {source}")]
    Body {
        /// The event's wire name.
        name: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The record around the body does not fit.
    #[error("an event's record cannot be read: {0}")]
    Record(#[source] serde_json::Error),
}

/// An event with everything that is recorded around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its position.
    pub seq: Seq,
    /// The tenant, except for what belongs to a user.
    pub organization: Option<OrganizationId>,
    /// Who did it.
    pub actor: Actor,
    /// The request that it was done in.
    pub request_id: Uuid,
    /// For order and display; nothing is judged by it.
    pub decided_at: Timestamp,
    /// What happened.
    pub event: Event,
}

#[derive(Serialize)]
struct Writing<'a> {
    seq: Seq,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization: Option<OrganizationId>,
    r#type: &'a str,
    version: u32,
    actor: &'a Actor,
    request_id: Uuid,
    decided_at: Timestamp,
    body: Box<RawValue>,
}

impl Recorded {
    /// The record as it is stored, to the byte.
    ///
    /// # Errors
    /// None that a caller could cause: the bodies are plain data.
    pub fn encode(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Writing {
            seq: self.seq,
            organization: self.organization,
            r#type: self.event.name(),
            version: 1,
            actor: &self.actor,
            request_id: self.request_id,
            decided_at: self.decided_at,
            body: self.event.encode_body()?,
        })
    }

    /// Reads a stored record.
    ///
    /// # Errors
    /// See [`Undecodable`]: whoever reads must stop.
    pub fn decode(record: &str) -> Result<Self, Undecodable> {
        reading::record(record)
    }
}

/// The chain value before the first event.
pub const CHAIN_START: Digest = Digest([0; 32]);

/// The chain value of an event: SHA-256(previous chain ‖ record).
pub fn chain(previous: &Digest, record: &str) -> Digest {
    Digest(Sha256::new().chain_update(previous.0).chain_update(record.as_bytes()).finalize().into())
}
