//! Every route on one screen, by listener.

pub mod address;
pub mod admission;
mod arriving;
mod authenticate;
pub mod body;
pub mod caller;
pub mod callers;
mod connection;
pub mod cookies;
pub mod credentials;
pub mod cursor;
pub mod docs;
pub mod document;
mod door;
pub mod edge;
mod front;
pub mod health;
mod http2;
pub mod oauth;
mod places;
pub mod problem;
pub mod progress;
mod public;
pub mod query;
pub mod seen;
mod slow;
pub mod starting;
pub mod tracked;
pub mod v1;
pub mod wire;

use crate::app::App;
use crate::ops::metrics::{Limited, Metrics};
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use problem::Problem;
use seen::Notes;
use std::sync::Arc;
use std::time::Duration;
use tower_governor::{GovernorError, GovernorLayer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;
use v1::{
    events, gateway_changes, gateway_tokens, gateways, password, session, token_changes, token_list,
    token_rotation, tokens, user,
};

/// A request's id, made here: a client's own may be a secret in the wrong place.
#[derive(Clone, Copy, Debug)]
pub struct RequestId(pub Uuid);

/// The API's listener.
pub fn api(app: App) -> Router {
    let (router, document) = routes().split_for_parts();
    router
        .route_layer(middleware::from_fn_with_state(query::queried(&document), query::note_unknown))
        .merge(limited(&app))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(middleware::from_fn_with_state(app.metrics.clone(), note_route))
        .with_state(app)
}

/// The routes, each with its document.
fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(document::base())
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(session::sign_in, session::sign_out))
        .routes(routes!(user::who_am_i))
        .routes(routes!(session::end_all))
        .routes(routes!(password::change))
        .routes(routes!(token_list::list, tokens::issue, tokens::delete_all))
        .routes(routes!(tokens::get, token_changes::change, token_changes::revoke))
        .routes(routes!(token_rotation::rotate))
        .routes(routes!(token_changes::disable))
        .routes(routes!(token_changes::enable))
        .routes(routes!(events::list))
        .routes(routes!(token_changes::itself))
        .routes(routes!(token_rotation::rotate_itself))
        .routes(routes!(gateways::list, gateway_changes::register))
        .routes(routes!(gateways::get, gateway_changes::change, gateway_changes::remove))
        .routes(routes!(gateway_tokens::list, gateway_tokens::issue))
        .routes(routes!(gateway_tokens::revoke))
        .routes(routes!(oauth::introspect))
        .routes(routes!(oauth::revoke))
}

/// The doors that need no credential, each with its document.
fn strangers() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(oauth::metadata))
        .routes(routes!(oauth::openid_metadata))
        .routes(routes!(docs::openapi))
        .routes(routes!(docs::page))
        .routes(routes!(docs::page_file))
}

/// The doors that need no credential: limited by address, by a layer.
fn limited(app: &App) -> Router<App> {
    let metrics = app.metrics.clone();
    let limit = GovernorLayer::new(app.rates.strangers.clone()).error_handler(move |error| {
        let GovernorError::TooManyRequests { wait_time, .. } = error else {
            return Problem::internal().into_response();
        };
        metrics.rate_limited(Limited::Stranger);
        Problem::too_many(Duration::from_secs(wait_time)).into_response()
    });
    let (mut router, _) = strangers().split_for_parts();
    for path in oauth::more_metadata_paths(&app.issuer) {
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
