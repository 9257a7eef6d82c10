//! Every route on one screen, by listener.

pub mod address;
pub mod admission;
pub mod body;
pub mod caller;
pub mod cookies;
pub mod credentials;
pub mod cursor;
pub mod edge;
mod front;
pub mod health;
pub mod oauth;
pub mod problem;
pub mod query;
pub mod starting;
pub mod tracked;
pub mod v1;
pub mod wire;

use crate::app::App;
use crate::ops::metrics::{Limited, Metrics};
use admission::Notes;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use problem::Problem;
use std::sync::Arc;
use std::time::Duration;
use tower_governor::{GovernorError, GovernorLayer};
use uuid::Uuid;
use v1::{events, gateway_tokens, gateways, session, token_changes, token_list, tokens, user};

/// A request's id, made here: a client's own may be a secret in the wrong place.
#[derive(Clone, Copy, Debug)]
pub struct RequestId(pub Uuid);

/// The API's listener.
pub fn api(app: App) -> Router {
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/v1/user/tokens", get(token_list::list).post(tokens::issue).delete(tokens::delete_all))
        .route("/v1/session", post(session::sign_in).delete(session::sign_out))
        .route("/v1/user", get(user::who_am_i))
        .route("/v1/user/sessions", delete(session::end_all))
        .route("/v1/user/password", put(session::change_password))
        .route(
            "/v1/user/tokens/{id}",
            get(tokens::get).patch(token_changes::change).delete(token_changes::revoke),
        )
        .route("/v1/user/tokens/{id}/rotate", post(token_changes::rotate))
        .route("/v1/user/tokens/{id}/disable", post(token_changes::disable))
        .route("/v1/user/tokens/{id}/enable", post(token_changes::enable))
        .route("/v1/events", get(events::list))
        .route("/v1/token", get(token_changes::itself))
        .route("/v1/token/rotate", post(token_changes::rotate_itself))
        .route("/v1/gateways", get(gateways::list).post(gateways::register))
        .route("/v1/gateways/{id}", get(gateways::get).patch(gateways::change).delete(gateways::remove))
        .route("/v1/gateways/{id}/tokens", get(gateway_tokens::list).post(gateway_tokens::issue))
        .route("/v1/gateways/{id}/tokens/{token}", delete(gateway_tokens::revoke))
        .route("/oauth2/introspect", post(oauth::introspect))
        .route("/oauth2/revoke", post(oauth::revoke))
        .merge(strangers(&app))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(middleware::from_fn_with_state(app.metrics.clone(), note_route))
        .with_state(app)
}

/// The doors that need no credential: limited by address, by a layer.
fn strangers(app: &App) -> Router<App> {
    let metrics = app.metrics.clone();
    let limit = GovernorLayer::new(app.rates.strangers.clone()).error_handler(move |error| {
        let GovernorError::TooManyRequests { wait_time, .. } = error else {
            return Problem::internal().into_response();
        };
        metrics.rate_limited(Limited::Stranger);
        Problem::too_many(Duration::from_secs(wait_time)).into_response()
    });
    let mut router = Router::new();
    for path in oauth::metadata_paths(&app.issuer) {
        router = router.route(&path, get(oauth::metadata));
    }
    router.route_layer(limit)
}

/// The listener of the metrics.
pub fn metrics(app: App) -> Router {
    Router::new()
        .route("/metrics", get(health::metrics))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(app)
}

/// Notes which route matched, for counters and logs.
async fn note_route(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    if let (Some(notes), Some(matched)) = (extensions.get::<Arc<Notes>>(), extensions.get::<MatchedPath>()) {
        notes.route(metrics.pattern(matched.as_str()));
    }
    next.run(request).await
}
