//! Whether the process lives, and whether it may be sent requests.

use super::problem::Problem;
use crate::app::App;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use counterfoil_domain::refusal::Refusal;
use http::{HeaderValue, header};

/// The answer of [`livez`].
pub(super) const LIVES: &str = "ok\n";

/// Says that the process lives.
///
/// It is answered in any case, while the service starts, is overloaded or lacks its database too: what does not answer has
/// to be started again.
#[utoipa::path(
    get,
    path = "/livez",
    tag = "Operations",
    operation_id = "livez",
    security(()),
    responses((status = 200, description = "It lives.", body = String, content_type = "text/plain", example = json!("ok\n"))),
)]
pub async fn livez() -> &'static str {
    LIVES
}

/// Says whether the service may be sent requests.
///
/// It may while the index is loaded and known to be fresh, the clocks agree, and the service is not about to stop.
///
/// # Errors
/// 503 otherwise: the problem's type says which of these is not so, and its detail what to do.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "Operations",
    operation_id = "readyz",
    security(()),
    responses((status = 200, description = "It may.", body = String, content_type = "text/plain", example = json!("ok\n"))),
    extensions(("x-refuses" = json!(["leaving"]))),
)]
pub async fn readyz(State(app): State<App>) -> Result<&'static str, Problem> {
    match () {
        () if app.drain.is_leaving() => Err(Problem::leaving()),
        () if !app.is_fresh() => Err(Problem::in_doubt(app.freshness.doubt())),
        () if !app.freshness.clocks_agree() => Err(Refusal::ClockUntrusted.into()),
        () => Ok("ok\n"),
    }
}

/// `GET /metrics`, on a listener of its own.
pub async fn metrics(State(app): State<App>) -> Response {
    let mut response = app.metrics.render(&app.sample()).into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
