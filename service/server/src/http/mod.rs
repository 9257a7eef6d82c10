//! Every route on one screen, by listener.

pub mod body;
pub mod caller;
pub mod credentials;
pub mod oauth;
pub mod problem;

use crate::app::App;
use axum::Router;
use axum::routing::{get, post};
use uuid::Uuid;

/// A request's id, made here: a client's own may be a secret in the wrong place.
#[derive(Clone, Copy, Debug)]
pub struct RequestId(pub Uuid);

/// The API's listener.
pub fn api(app: App) -> Router {
    Router::new()
        .route("/oauth2/introspect", post(oauth::introspect))
        .route("/oauth2/revoke", post(oauth::revoke))
        .route("/.well-known/oauth-authorization-server", get(oauth::metadata))
        .route("/.well-known/openid-configuration", get(oauth::metadata))
        .fallback(async || problem::Problem::not_found())
        .with_state(app)
}
