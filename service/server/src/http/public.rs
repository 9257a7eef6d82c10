//! Addresses by which clients reach the service.

use crate::app::App;

/// The path of an issuer, without a slash at its end: what a proxy in front takes off, or what is nothing.
pub(super) fn issuer_path(issuer: &str) -> String {
    issuer.parse::<http::Uri>().map(|uri| uri.path().trim_end_matches('/').to_string()).unwrap_or_default()
}

/// A path of the API as clients reach it, for `Location` and `Link`: those are resolved against what was asked for, which
/// has the path of the public URL before it.
pub(super) fn at(app: &App, path: &str) -> String {
    format!("{}{path}", issuer_path(&app.issuer))
}
