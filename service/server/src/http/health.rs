//! Whether the process lives, and whether it may be sent requests.

use super::problem::Problem;
use crate::app::App;
use axum::extract::State;

/// `GET /livez`: the process answers.
pub async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the index is loaded and known to be fresh.
///
/// # Errors
/// 503 otherwise.
pub async fn readyz(State(app): State<App>) -> Result<&'static str, Problem> {
    if app.is_fresh() { Ok("ok\n") } else { Err(Problem::unavailable()) }
}
