//! `PUT /v1/user/password`: changing the password.

use super::session::checked;
use crate::app::App;
use crate::http::body::Json;
use crate::http::caller::{Caller, Credential};
use crate::http::problem::Problem;
use crate::passwords::Password;
use crate::read_model::people;
use crate::sign_in_limit::Attempt;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use counterfoil_domain::command::Action;
use counterfoil_domain::people::SetPassword;
use counterfoil_domain::refusal::Refusal;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

/// Two passwords.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({ "current_password": "correct horse battery", "new_password": "battery horse correct" }))]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The present password.
    #[schema(format = Password, min_length = 1, max_length = 1024, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$")]
    current_password: String,
    /// The new one.
    #[schema(format = Password, min_length = 8, max_length = 1024, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$")]
    new_password: String,
}

/// Changes the caller's password, and ends the caller's other sessions.
///
/// The presented credential goes on working, and so do the caller's tokens. Who guesses at the present password has to
/// wait, as at signing in.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    put,
    path = "/v1/user/password",
    tag = "User",
    operation_id = "change_password",
    security(("bearer" = ["write"]), ("session" = ["write"])),
    request_body = ChangePassword,
    responses((status = 204, description = "It is changed.")),
    extensions(("x-refuses" = json!(["wrong-password", "invalid", "too-many-failures"]))),
)]
pub async fn change(
    State(app): State<App>,
    caller: Caller,
    body: Json<ChangePassword>,
) -> Result<Response, Problem> {
    let ChangePassword { current_password, new_password } = body.value;
    let current =
        Password::new(current_password).map_err(|what| Problem::invalid("current_password", what))?;
    let new = Password::chosen(new_password).map_err(|what| Problem::invalid("new_password", what))?;
    // Whoever holds a token or a session gets no more guesses than at the front door, and shares them with nobody.
    let attempt = match caller.credential {
        Credential::Session { id, .. } => Attempt::in_session(id, caller.user),
        Credential::Token { .. } => Attempt::with_token_of(caller.user),
    };
    checked(&app, &attempt)?;
    let place = app.passwords.place(attempt.turn).await?;
    checked(&app, &attempt)?;
    let found = people::by_id(&app.pool, caller.user).await?.ok_or_else(Problem::unauthenticated)?;
    let (fits, place) = place.fits(current, found.hash).await?;
    if !fits {
        app.failures.failed(&attempt, app.clock.boottime());
        return Err(Refusal::WrongPassword.into());
    }
    let hash = place.hash(new).await?;
    let checked = Some(found.user.password_set);
    let action = Action::SetPassword(SetPassword { user: caller.user, hash, checked });
    app.writer.write(caller.command(action), None).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
