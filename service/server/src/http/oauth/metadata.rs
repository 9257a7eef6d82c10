//! The documents that lead to the doors (RFC 8414).

use super::error;
use crate::app::App;
use crate::http::document::schemas::MetadataDocument;
use crate::http::public::issuer_path;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";

/// Where else the metadata of an issuer is (RFC 8414 section 3.1): for one with a path, the well-known part comes before
/// the path; OpenID discovery appends it, and some clients do so for both. A proxy that cuts the path off finds the
/// documented ones. Each is there once, whatever the path: a route that is there twice is none.
pub fn more_metadata_paths(issuer: &str) -> Vec<String> {
    let path = issuer_path(issuer);
    if path.is_empty() {
        return Vec::new();
    }
    let places = |document: &str| [format!("{document}{path}"), format!("{path}{document}")];
    let places: BTreeSet<_> = [AUTHORIZATION_SERVER, OPENID].into_iter().flat_map(places).collect();
    places.into_iter().collect()
}

/// Says where the doors are (RFC 8414).
///
/// Every address in it begins with the configured public URL.
#[utoipa::path(
    get,
    path = AUTHORIZATION_SERVER,
    tag = "OAuth",
    operation_id = "oauth_metadata",
    security(()),
    responses((status = 200, description = "The metadata.", body = MetadataDocument)),
)]
pub async fn metadata(State(app): State<App>) -> Response {
    described(&app)
}

/// Says the same to clients that look where OpenID's discovery would be.
///
/// This is no OpenID provider: the document is that of RFC 8414.
#[utoipa::path(
    get,
    path = OPENID,
    tag = "OAuth",
    operation_id = "openid_metadata",
    security(()),
    responses((status = 200, description = "The metadata.", body = MetadataDocument)),
)]
pub async fn openid_metadata(State(app): State<App>) -> Response {
    described(&app)
}

fn described(app: &App) -> Response {
    error::json(StatusCode::OK, document(&app.issuer).to_string().into_bytes())
}

/// The metadata of an issuer.
///
/// Of a list without elements RFC 8414 section 3.2 says that it is left out. Two are here all the same: section 2
/// requires `response_types_supported`, and clients refuse a document without it; and where `grant_types_supported` is
/// absent it stands for the authorization code and the implicit grant, for which there are no doors here.
pub(crate) fn document(issuer: &str) -> Value {
    let base = issuer.trim_end_matches('/');
    json!({
        "issuer": issuer,
        "introspection_endpoint": format!("{base}/oauth2/introspect"),
        // Names of two registries: of ways to authenticate, and of types of tokens, of which Bearer is one.
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "Bearer"],
        "revocation_endpoint": format!("{base}/oauth2/revoke"),
        // Names of the first registry alone, so that Bearer is taken here and cannot be said.
        "revocation_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "response_types_supported": [],
        "grant_types_supported": [],
    })
}
