//! The doors of OAuth: introspection (RFC 7662), revocation (RFC 7009) and the metadata that leads to them (RFC 8414).

mod client;
mod error;
pub(crate) mod form;
pub(crate) mod introspect;
mod metadata;
mod revoke;

pub(crate) use error::OauthError;
pub use introspect::introspect;
pub use metadata::{metadata, metadata_paths};
pub use revoke::revoke;
