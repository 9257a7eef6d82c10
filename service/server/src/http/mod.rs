//! Every route on one screen, by listener.

pub mod body;
pub mod caller;
pub mod credentials;
pub mod edge;
pub mod health;
pub mod oauth;
pub mod problem;
pub mod v1;

use crate::app::App;
use axum::Router;
use axum::routing::{get, post};
use uuid::Uuid;
use v1::{token_changes, tokens};

/// A request's id, made here: a client's own may be a secret in the wrong place.
#[derive(Clone, Copy, Debug)]
pub struct RequestId(pub Uuid);

/// The API's listener.
pub fn api(app: App) -> Router {
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/v1/user/tokens", get(tokens::list).post(tokens::issue).delete(tokens::delete_all))
        .route(
            "/v1/user/tokens/{id}",
            get(tokens::get).patch(token_changes::change).delete(token_changes::revoke),
        )
        .route("/v1/user/tokens/{id}/rotate", post(token_changes::rotate))
        .route("/v1/user/tokens/{id}/disable", post(token_changes::disable))
        .route("/v1/user/tokens/{id}/enable", post(token_changes::enable))
        .route("/v1/token", get(token_changes::itself))
        .route("/v1/token/rotate", post(token_changes::rotate_itself))
        .route("/oauth2/introspect", post(oauth::introspect))
        .route("/oauth2/revoke", post(oauth::revoke))
        .route("/.well-known/oauth-authorization-server", get(oauth::metadata))
        .route("/.well-known/openid-configuration", get(oauth::metadata))
        .fallback(async || problem::Problem::not_found())
        .method_not_allowed_fallback(async || problem::Problem::method_not_allowed())
        .with_state(app)
}
