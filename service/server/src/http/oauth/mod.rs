//! The doors of OAuth: introspection (RFC 7662), revocation (RFC 7009) and the metadata that leads to them (RFC 8414).

mod client;
mod error;
pub(crate) mod form;
pub(crate) mod introspect;
mod metadata;
mod revoke;

pub(crate) use error::{OauthError, instead_of};
pub use introspect::{__path_introspect, introspect};
pub(crate) use metadata::document as metadata_document;
pub use metadata::{__path_metadata, __path_openid_metadata, metadata, more_metadata_paths, openid_metadata};
pub use revoke::{__path_revoke, revoke};

/// How their paths begin. What is refused below it has the form of RFC 6749, whether there is such a door or not.
pub(crate) const BELOW: &str = "/oauth2/";

/// Whether this path is below it.
pub(crate) fn has(path: &str) -> bool {
    path.starts_with(BELOW)
}
