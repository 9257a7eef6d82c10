//! The documents that lead to the doors (RFC 8414).

use super::error::json;
use crate::app::App;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

/// Where the metadata of an issuer is (RFC 8414 section 3.1): for one with a path, the well-known part comes before the
/// path; OpenID discovery appends it, and some clients do so for both. A proxy that cuts the path off finds them too.
pub fn metadata_paths(issuer: &str) -> Vec<String> {
    let path = issuer.parse::<http::Uri>().map(|uri| uri.path().trim_end_matches('/').to_string());
    let path = path.unwrap_or_default();
    let mut paths = Vec::new();
    for document in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        for place in [document.to_string(), format!("{document}{path}"), format!("{path}{document}")] {
            if !paths.contains(&place) {
                paths.push(place);
            }
        }
    }
    paths
}

/// `GET /.well-known/oauth-authorization-server` and `/.well-known/openid-configuration`
pub async fn metadata(State(app): State<App>) -> Response {
    let base = app.issuer.trim_end_matches('/');
    let methods = ["client_secret_basic", "client_secret_post", "bearer"];
    let document = serde_json::json!({
        "issuer": &*app.issuer,
        "introspection_endpoint": format!("{base}/oauth2/introspect"),
        "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint": format!("{base}/oauth2/revoke"),
        "revocation_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post", "bearer"],
        "response_types_supported": [],
    });
    json(StatusCode::OK, document.to_string().into_bytes())
}
