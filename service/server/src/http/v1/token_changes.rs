//! `/v1/user/tokens/{id}` and what is done to one token.

use super::record::{Record, own, tag, value};
use super::tokens::{
    InstantText, checked_note, checked_reason, checked_scopes, idempotency, not_repeated, shown, token_id,
};
use crate::app::App;
use crate::event_log::batch::Outcome;
use crate::http::body::Json;
use crate::http::caller::{AnyCaller, Caller};
use crate::http::document::names::{Overlap as OverlapName, Scope};
use crate::http::document::params::{Conditional, Idempotent, TokenPath};
use crate::http::problem::Problem;
use crate::read_model::lists::Listed;
use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse, Response};
use counterfoil_domain::command::Action;
use counterfoil_domain::ids::{Seq, TokenId};
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::Kind;
use counterfoil_domain::token::change::ChangeToken;
use counterfoil_domain::token::rotate::{Overlap, Rotate};
use http::{HeaderMap, StatusCode, header};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

/// A field that tells absent from null: `Some(None)` is an explicit null.
pub(super) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A field that may be absent but not null: null is no way to say "as it was".
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

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

fn nullable_instant(field: Option<Option<InstantText>>) -> Result<Option<Option<Timestamp>>, Problem> {
    field.map(|inner| inner.map(|text| text.instant("expires_at")).transpose()).transpose()
}

/// The version that `If-Match` names. A tag that is none of ours matches nothing.
pub(super) fn if_match(headers: &HeaderMap) -> Option<Seq> {
    let mut lines = headers.get_all(header::IF_MATCH).iter();
    let text = match (lines.next()?, lines.next()) {
        (only, None) => only.to_str().unwrap_or_default().trim(),
        _ => "",
    };
    if text == "*" {
        return None;
    }
    let number =
        text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).and_then(|number| number.parse().ok());
    Some(number.unwrap_or(0))
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
    let action = Action::ChangeToken(ChangeToken {
        id,
        if_match: if_match(&headers),
        note: note.map(|inner| inner.map(|text| value(&app, text))),
        scopes: scopes.map(checked_scopes).transpose()?,
        expires_at: nullable_instant(expires_at)?,
    });
    app.writer.write(caller.command(action), None).await?;
    as_it_is(&app, &caller, id).await
}

async fn as_it_is(app: &App, caller: &Caller, id: TokenId) -> Result<Response, Problem> {
    let listed = own(app, caller.user, id).await?;
    let tag = tag(&listed.token);
    Ok(shown(StatusCode::OK, &Record::new(listed, app.clock.now()), &tag))
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

/// Ends a token for good. Again is fine.
///
/// From the answer on it is refused at every door. A token may end itself whatever its scopes. The reason stays in the log.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    delete,
    path = "/v1/user/tokens/{id}",
    tag = "Tokens",
    operation_id = "revoke_token",
    security(("bearer" = ["write"]), ("session" = ["write"])),
    params(TokenPath),
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
    AnyCaller(caller): AnyCaller,
    Path(id): Path<String>,
    body: Json<WithReason>,
) -> Result<Response, Problem> {
    let action = Action::Revoke { id: token_id(&id)?, reason: checked_reason(body.value.reason)? };
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
    params(TokenPath),
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
    body: Json<WithReason>,
) -> Result<Response, Problem> {
    let id = token_id(&id)?;
    let action = Action::Disable { id, reason: checked_reason(body.value.reason)? };
    app.writer.write(caller.command(action), None).await?;
    as_it_is(&app, &caller, id).await
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
    params(TokenPath),
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
    _: Json<Nothing>,
) -> Result<Response, Problem> {
    let id = token_id(&id)?;
    app.writer.write(caller.command(Action::Enable { id }), None).await?;
    as_it_is(&app, &caller, id).await
}

/// How to rotate.
#[derive(Deserialize, ToSchema)]
#[schema(as = RotateToken, example = json!({ "overlap": 3600 }))]
#[serde(deny_unknown_fields)]
pub struct RotateBody {
    /// The new expiry; null for none; absent: as it is.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<InstantText>>,
    /// How long the earlier plaintext goes on working; absent: until the new one is used.
    #[serde(default)]
    #[schema(value_type = Option<OverlapName>)]
    overlap: Option<OverlapBody>,
}

/// `"until_used"`, or seconds. What is neither gets a refusal that names the field.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum OverlapBody {
    /// Seconds. A JSON number of 3600.0 is the integer 3600.
    Seconds(serde_json::Number),
    /// `until_used`.
    Word(String),
    /// A list or worse.
    Other(IgnoredAny),
}

impl OverlapBody {
    /// A number that is too large is an integer all the same, however many digits it has.
    fn checked(self) -> Result<Overlap, Problem> {
        const MEANT: &str = "It is \"until_used\", or 0 to 2592000 seconds.";
        let seconds = match self {
            Self::Word(word) if word == "until_used" => return Ok(Overlap::UntilUsed),
            Self::Word(_) => return Err(Problem::invalid("overlap", MEANT)),
            Self::Seconds(number) => number.as_f64().filter(|number| number.fract() == 0.0),
            Self::Other(_) => None,
        };
        let seconds = seconds.ok_or_else(|| Problem::malformed("overlap", MEANT))?;
        if (0.0..=f64::from(u32::MAX)).contains(&seconds) {
            Ok(Overlap::Seconds(seconds as u32))
        } else {
            Err(Problem::invalid("overlap", MEANT))
        }
    }
}

/// Gives one of the caller's tokens another plaintext.
///
/// Id, note, scopes and owner stay. Of two rotations at once, one is refused. A disabled token stays disabled.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    post,
    path = "/v1/user/tokens/{id}/rotate",
    tag = "Tokens",
    operation_id = "rotate_token",
    security(("bearer" = ["write"]), ("session" = ["write"])),
    params(TokenPath, Idempotent, Conditional),
    request_body(content = Option<RotateBody>),
    responses(
        (status = 200, description = "The token with its new plaintext, which is not shown again.", body = Record, headers(
            ("ETag" = String, description = "The version that `If-Match` takes."),
            ("Link" = String, description = "To a repeated request: how to get another plaintext.")
        ), links(
            ("get" = (operation_id = "get_token", parameters(("id" = "$response.body#/id")))),
            ("revoke" = (operation_id = "revoke_token", parameters(("id" = "$response.body#/id")))),
            ("introspect" = (operation_id = "introspect", request_body = json!({ "token": "$response.body#/plaintext" }))),
        )),
    ),
    extensions(("x-refuses" = json!(["token-ended", "rotated-meanwhile", "stronger-than-caller", "invalid"]))),
)]
pub async fn rotate(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    uri: OriginalUri,
    headers: HeaderMap,
    body: Json<RotateBody>,
) -> Result<Response, Problem> {
    let id = token_id(&id)?;
    rotated(&app, &caller, id, uri.path(), &headers, body).await
}

/// Gives the presented token another plaintext.
///
/// It needs `write`, so that a token that leaked and may only read cannot prolong itself. Otherwise it is as the rotation
/// of any token.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    post,
    path = "/v1/token/rotate",
    tag = "Token",
    operation_id = "rotate_this_token",
    security(("bearer" = ["write"])),
    params(Idempotent, Conditional),
    request_body(content = Option<RotateBody>),
    responses(
        (status = 200, description = "The token with its new plaintext, which is not shown again.", body = Record, headers(
            ("ETag" = String, description = "The version that `If-Match` takes."),
            ("Link" = String, description = "To a repeated request: how to get another plaintext.")
        )),
    ),
    extensions(("x-refuses" = json!(["token-ended", "rotated-meanwhile", "token-needed", "invalid"]))),
)]
pub async fn rotate_itself(
    State(app): State<App>,
    caller: Caller,
    uri: OriginalUri,
    headers: HeaderMap,
    body: Json<RotateBody>,
) -> Result<Response, Problem> {
    let id = caller.token()?;
    rotated(&app, &caller, id, uri.path(), &headers, body).await
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
pub async fn itself(State(app): State<App>, AnyCaller(caller): AnyCaller) -> Result<Response, Problem> {
    as_it_is(&app, &caller, caller.token()?).await
}

async fn rotated(
    app: &App,
    caller: &Caller,
    id: TokenId,
    path: &str,
    headers: &HeaderMap,
    body: Json<RotateBody>,
) -> Result<Response, Problem> {
    let key = idempotency(caller, "POST", path, headers, &body.bytes)?;
    let RotateBody { expires_at, overlap } = body.value;
    let overlap = overlap.map_or(Ok(Overlap::UntilUsed), OverlapBody::checked)?;
    // The plaintext that was the present one when this request came.
    let seen = own(app, caller.user, id).await?;
    let (plaintext, hint) = app.mint(Kind::Personal);
    let action = Action::Rotate(Rotate {
        id,
        generation: seen.token.generation,
        if_match: if_match(headers),
        digest: plaintext.digest(),
        hint,
        expires_at: nullable_instant(expires_at)?,
        overlap,
    });
    let reply = app.writer.write(caller.command(action), key).await?;
    if reply.outcome == Outcome::Repeated {
        return Ok(not_repeated(app, own(app, caller.user, id).await?));
    }
    // Nothing is read any more: what was committed is answered, whatever becomes of the database now.
    let token = reply.token.ok_or_else(Problem::internal)?;
    let tag = tag(&token);
    let mut record = Record::new(Listed { token, ..seen }, app.clock.now());
    record.plaintext = Some(plaintext.into_shown());
    Ok(shown(StatusCode::OK, &record, &tag))
}
