//! `/v1/user/tokens`: issue, get, delete all.

use super::conditions::idempotency;
use super::fields::{InstantText, checked_note, checked_reason, checked_scopes, present, token_id};
use super::record::{Record, StateName, own, tag, value};
use crate::app::App;
use crate::event_log::batch::Outcome;
use crate::http::body::Json;
use crate::http::caller::Caller;
use crate::http::document::names::Scope;
use crate::http::document::params::{Idempotent, TokenPath};
use crate::http::document::schemas::RevokedCount;
use crate::http::problem::Problem;
use crate::http::public::at;
use crate::read_model::lists::Listed;
use axum::body::Body;
use axum::extract::{OriginalUri, Path, State};
use axum::response::Response;
use counterfoil_domain::command::{Action, Answer};
use counterfoil_domain::ids::TokenId;
use counterfoil_domain::token::Kind;
use counterfoil_domain::token::issue::IssuePersonal;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;

/// A token to issue.
#[derive(Deserialize, ToSchema)]
#[schema(as = IssueToken, example = json!({ "note": "ci", "scopes": ["read"] }))]
#[serde(deny_unknown_fields)]
pub struct Issue {
    /// What it is for, in the holder's own words.
    #[serde(default)]
    #[schema(max_length = 200, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$", example = "ci")]
    note: Option<String>,
    /// From when on it is inactive; absent: never.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<InstantText>,
    /// What it may do; absent: what its maker may.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<Scope>, required = false, min_items = 1, max_items = 32)]
    scopes: Option<Vec<String>>,
}

/// Issues a token.
///
/// It acts as the caller wherever the caller is a member. A token issues none that is stronger than itself. A user has at
/// most 50 standing tokens at a time.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    post,
    path = "/v1/user/tokens",
    tag = "Tokens",
    operation_id = "issue_token",
    security(("bearer" = ["write"]), ("session" = ["write"])),
    params(Idempotent),
    request_body = Option<Issue>,
    responses(
        (status = 201, description = "It is issued. Its plaintext is not shown again.", body = Record, headers(
            ("ETag" = String, description = "The version that `If-Match` takes."),
            ("Location" = String, description = "The token's address.")
        ), links(
            ("get" = (operation_id = "get_token", parameters(("id" = "$response.body#/id")))),
            ("change" = (operation_id = "change_token", parameters(("id" = "$response.body#/id"), ("header.If-Match" = "$response.header.ETag")))),
            ("rotate" = (operation_id = "rotate_token", parameters(("id" = "$response.body#/id")))),
            ("disable" = (operation_id = "disable_token", parameters(("id" = "$response.body#/id")))),
            ("enable" = (operation_id = "enable_token", parameters(("id" = "$response.body#/id")))),
            ("revoke" = (operation_id = "revoke_token", parameters(("id" = "$response.body#/id")))),
            ("introspect" = (operation_id = "introspect", request_body = json!({ "token": "$response.body#/plaintext" }))),
            ("end" = (operation_id = "revoke", request_body = json!({ "token": "$response.body#/plaintext" }))),
            ("history" = (operation_id = "list_events", parameters(("subject" = "$response.body#/id")))),
        )),
        (status = 200, description = "The request was made before, and nothing was done now.", body = Record, headers(
            ("ETag" = String, description = "The version that `If-Match` takes."),
            ("Link" = String, description = "How to get another plaintext.")
        )),
    ),
    extensions(("x-refuses" = json!(["token-limit", "stronger-than-caller", "invalid"]))),
)]
pub async fn issue(
    State(app): State<App>,
    caller: Caller,
    uri: OriginalUri,
    headers: HeaderMap,
    body: Json<Issue>,
) -> Result<Response, Problem> {
    let key = idempotency(&caller, "POST", uri.path(), &headers, &body.bytes)?;
    let Issue { note, expires_at, scopes } = body.value;
    let note = note.map(|text| checked_note(text).map(|text| value(&app, text))).transpose()?;
    let (plaintext, hint) = app.mint(Kind::Personal);
    let action = Action::IssuePersonal(IssuePersonal {
        id: TokenId(app.clock.uuid()),
        digest: plaintext.digest(),
        hint,
        scopes: scopes.map(checked_scopes).transpose()?,
        expires_at: expires_at.map(|text| text.instant("expires_at")).transpose()?,
        note: note.clone(),
    });
    let reply = app.writer.write(caller.command(action), key).await?;
    if let (Outcome::Repeated, Answer::Token(id)) = (reply.outcome, reply.answer) {
        return Ok(not_repeated(&app, own(&app, caller.user, id).await.map_err(Problem::after_a_write)?));
    }
    let token = reply.token.ok_or_else(Problem::internal)?;
    let (id, tag) = (token.id, tag(&token));
    let listed = Listed::new(token, note.map(|note| note.text));
    let mut record = Record::new(listed, app.clock.now());
    record.plaintext = Some(plaintext.into_shown());
    let mut response = shown(StatusCode::CREATED, &record, &tag);
    if let Ok(location) = HeaderValue::from_str(&at(&app, &format!("/v1/user/tokens/{id}"))) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// The answer to a repeated request: the record, and how to get a plaintext after all. For a token that has ended there is
/// no way.
pub(super) fn not_repeated(app: &App, listed: Listed) -> Response {
    let tag = tag(&listed.token);
    let mut record = Record::new(listed, app.clock.now());
    record.plaintext = Some("not_repeated".into());
    let mut response = shown(StatusCode::OK, &record, &tag);
    let rotate = at(app, &format!("/v1/user/tokens/{}/rotate", record.id));
    if !matches!(record.state, StateName::Expired | StateName::Revoked)
        && let Ok(link) = HeaderValue::from_str(&format!("<{rotate}>; rel=\"rotate\""))
    {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// A JSON answer that nobody keeps, with its entity tag unless that is empty.
pub(super) fn shown(status: StatusCode, document: &impl serde::Serialize, tag: &str) -> Response {
    let mut response = Response::new(Body::from(serde_json::to_vec(document).unwrap_or_default()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(tag) = HeaderValue::from_str(tag).ok().filter(|tag| !tag.is_empty()) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// Gets a token.
///
/// One that has ended is shown too, with its state.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    get,
    path = "/v1/user/tokens/{id}",
    tag = "Tokens",
    operation_id = "get_token",
    security(("bearer" = ["read"]), ("session" = ["read"])),
    params(TokenPath),
    responses((status = 200, description = "The token.", body = Record, headers(("ETag" = String, description = "The version that `If-Match` takes.")))),
)]
pub async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let listed = own(&app, caller.user, token_id(&id)?).await?;
    let tag = tag(&listed.token);
    Ok(shown(StatusCode::OK, &Record::new(listed, app.clock.now()), &tag))
}

/// Why, and what else.
#[derive(Deserialize, ToSchema)]
#[schema(as = RevokeAllTokens, example = json!({ "reason": "key_leaked", "sessions": true }))]
#[serde(deny_unknown_fields)]
pub struct DeleteAll {
    /// Why.
    #[serde(default)]
    #[schema(pattern = "^[a-z0-9_]{1,64}$", example = "key_leaked")]
    reason: Option<String>,
    /// Whether the user's sessions end too.
    #[serde(default)]
    sessions: bool,
}

/// Deletes all of the caller's tokens, the presented one included.
///
/// One event ends them all, at once and for good. Whoever may have to ask again sends a key, or the repetition would end
/// what was issued meanwhile. A token ends itself with the others, so that its own repetition is answered 401.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    delete,
    path = "/v1/user/tokens",
    tag = "Tokens",
    operation_id = "revoke_all_tokens",
    security(("bearer" = ["write"]), ("session" = ["write"])),
    params(Idempotent),
    request_body(content = Option<DeleteAll>),
    responses((status = 200, description = "They are revoked.", body = RevokedCount)),
    extensions(("x-refuses" = json!(["invalid"]))),
)]
pub async fn delete_all(
    State(app): State<App>,
    caller: Caller,
    uri: OriginalUri,
    headers: HeaderMap,
    body: Json<DeleteAll>,
) -> Result<Response, Problem> {
    let key = idempotency(&caller, "DELETE", uri.path(), &headers, &body.bytes)?;
    let DeleteAll { reason, sessions } = body.value;
    let action = Action::RevokeAll { reason: checked_reason(reason)?, sessions };
    let reply = app.writer.write(caller.command(action), key).await?;
    let Answer::Count(revoked) = reply.answer else { return Err(Problem::internal()) };
    Ok(shown(StatusCode::OK, &serde_json::json!({ "revoked": revoked }), ""))
}
