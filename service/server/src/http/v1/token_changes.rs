//! `/v1/user/tokens/{id}` and what is done to one token.

use super::conditions::if_match;
use super::fields::{
    InstantText, checked_note, checked_reason, checked_scopes, nullable, nullable_instant, present, token_id,
};
use super::record::{Record, own, tag, value, written};
use super::tokens::shown;
use crate::app::App;
use crate::http::body::Json;
use crate::http::caller::Caller;
use crate::http::callers::{AnyToken, Ender};
use crate::http::document::names::Scope;
use crate::http::document::params::{Conditional, TokenPath};
use crate::http::problem::Problem;
use crate::read_model::lists::Listed;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use counterfoil_domain::command::Action;
use counterfoil_domain::ids::TokenId;
use counterfoil_domain::token::Reason;
use counterfoil_domain::token::change::ChangeToken;
use counterfoil_domain::value::Value;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;

/// What changes. What is absent stays.
#[derive(Deserialize, ToSchema)]
#[schema(as = ChangeToken, example = json!({ "note": "ci, old", "scopes": ["read"] }))]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The new note; null for none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, max_length = 200, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$")]
    note: Option<Option<String>>,
    /// The scopes that are left.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<Scope>, required = false, min_items = 1, max_items = 32)]
    scopes: Option<Vec<String>>,
    /// An earlier expiry.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<InstantText>>,
}

/// Renames or narrows a token.
///
/// Scopes and expiry can be narrowed and nothing else. What is so already is answered alike, and changes nothing.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    patch,
    path = "/v1/user/tokens/{id}",
    tag = "Tokens",
    operation_id = "change_token",
    security(("bearer" = ["write"]), ("session" = ["write"])),
    params(TokenPath, Conditional),
    request_body = Option<Change>,
    responses(
        (status = 200, description = "The token as it is now.", body = Record, headers(("ETag" = String, description = "The version that `If-Match` takes."))),
    ),
    extensions(("x-refuses" = json!(["token-ended", "invalid"]))),
)]
pub async fn change(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Change>,
) -> Result<Response, Problem> {
    let id = token_id(&id)?;
    let Change { note, scopes, expires_at } = body.value;
    let note = note.map(|inner| inner.map(checked_note).transpose()).transpose()?;
    let note = note.map(|inner| inner.map(|text| value(&app, text)));
    let action = Action::ChangeToken(ChangeToken {
        id,
        if_match: if_match(&headers),
        note: note.clone(),
        scopes: scopes.map(checked_scopes).transpose()?,
        expires_at: nullable_instant(expires_at)?,
    });
    changed(&app, &caller, id, action, note.flatten()).await
}

/// Changes a token of the caller's, and answers as it is then.
async fn changed(
    app: &App,
    caller: &Caller,
    id: TokenId,
    action: Action,
    note: Option<Value>,
) -> Result<Response, Problem> {
    let seen = own(app, caller.user, id).await?;
    let reply = app.writer.write(caller.command(action), None).await?;
    Ok(as_it_is(app, written(app, seen, reply.token, note).await?))
}

fn as_it_is(app: &App, listed: Listed) -> Response {
    let tag = tag(&listed.token);
    shown(StatusCode::OK, &Record::new(listed, app.clock.now()), &tag)
}

/// A reason, or none.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({ "reason": "key_leaked" }))]
#[serde(deny_unknown_fields)]
pub struct WithReason {
    /// Why.
    #[serde(default)]
    #[schema(pattern = "^[a-z0-9_]{1,64}$", example = "key_leaked")]
    reason: Option<String>,
}

impl WithReason {
    /// The reason, if it is a code.
    ///
    /// # Errors
    /// 422.
    pub(super) fn checked(self) -> Result<Option<Reason>, Problem> {
        checked_reason(self.reason)
    }
}

/// Ends a token for good. Again is fine.
///
/// From the answer on it is refused at every door. A token may end itself whatever its scopes, and however
/// much is asked with it. The reason stays in the log.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    delete,
    path = "/v1/user/tokens/{id}",
    tag = "Tokens",
    operation_id = "revoke_token",
    security(("bearer" = ["write"]), ("session" = ["write"])),
    params(TokenPath, Conditional),
    request_body(content = Option<WithReason>),
    responses((status = 204, description = "It is revoked.", links(
        ("get" = (operation_id = "get_token", parameters(("id" = "$request.path.id")))),
        ("enable" = (operation_id = "enable_token", parameters(("id" = "$request.path.id")))),
        ("rotate" = (operation_id = "rotate_token", parameters(("id" = "$request.path.id")))),
    ))),
    extensions(("x-refuses" = json!(["invalid"]))),
)]
pub async fn revoke(
    State(app): State<App>,
    ender: Ender,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<WithReason>,
) -> Result<Response, Problem> {
    let (id, if_match) = (token_id(&id)?, if_match(&headers));
    let action = Action::Revoke { id, if_match, reason: body.value.checked()? };
    let caller = ender.attempt(&app)?;
    app.writer.write(caller.command(action), None).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Switches a token off, to be switched on again.
///
/// While it is off, introspection calls it inactive. An earlier plaintext that still worked ends for good.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    post,
    path = "/v1/user/tokens/{id}/disable",
    tag = "Tokens",
    operation_id = "disable_token",
    security(("bearer" = ["write"]), ("session" = ["write"])),
    params(TokenPath, Conditional),
    request_body(content = Option<WithReason>),
    responses(
        (status = 200, description = "The token as it is now.", body = Record, headers(("ETag" = String, description = "The version that `If-Match` takes."))),
    ),
    extensions(("x-refuses" = json!(["token-ended", "invalid"]))),
)]
pub async fn disable(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<WithReason>,
) -> Result<Response, Problem> {
    let id = token_id(&id)?;
    let action = Action::Disable { id, if_match: if_match(&headers), reason: body.value.checked()? };
    changed(&app, &caller, id, action, None).await
}

/// A body without fields.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({}))]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// Switches a token on again.
///
/// The plaintext of before works again. What has ended stays ended.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    post,
    path = "/v1/user/tokens/{id}/enable",
    tag = "Tokens",
    operation_id = "enable_token",
    security(("bearer" = ["write"]), ("session" = ["write"])),
    params(TokenPath, Conditional),
    request_body(content = Option<Nothing>),
    responses(
        (status = 200, description = "The token as it is now.", body = Record, headers(("ETag" = String, description = "The version that `If-Match` takes."))),
    ),
    extensions(("x-refuses" = json!(["token-ended"]))),
)]
pub async fn enable(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    _: Json<Nothing>,
) -> Result<Response, Problem> {
    let id = token_id(&id)?;
    let action = Action::Enable { id, if_match: if_match(&headers) };
    changed(&app, &caller, id, action, None).await
}

/// The presented token about itself.
///
/// It needs no scope.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    get,
    path = "/v1/token",
    tag = "Token",
    operation_id = "get_this_token",
    security(("bearer" = [])),
    responses((status = 200, description = "The presented token.", body = Record, headers(("ETag" = String, description = "The version that `If-Match` takes.")))),
    extensions(("x-refuses" = json!(["token-needed"]))),
)]
pub async fn itself(State(app): State<App>, AnyToken(caller, id): AnyToken) -> Result<Response, Problem> {
    Ok(as_it_is(&app, own(&app, caller.user, id).await?))
}
