//! `/v1/gateways/{id}/tokens`: a gateway's credentials. Several work at once, so that they can be replaced one by one.

use super::conditions::{idempotency, if_match};
use super::fields::{InstantText, token_id};
use super::gateway_changes::{link_to_issue, new_token};
use super::gateways::{gateway_id, own, page_of};
use super::record::{Record, tag};
use super::token_changes::WithReason;
use super::tokens::shown;
use crate::app::App;
use crate::event_log::batch::Outcome;
use crate::http::body::Json;
use crate::http::callers::{GatewayManager, GatewayReader};
use crate::http::cursor::Belongs;
use crate::http::document::examples;
use crate::http::document::params::{Conditional, GatewayPath, GatewayTokenPath, Idempotent};
use crate::http::problem::Problem;
use crate::read_model::gateways;
use crate::read_model::lists::Listed;
use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse, Response};
use counterfoil_domain::command::{Action, Answer};
use counterfoil_domain::gateway_commands::IssueGatewayToken;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A page of a gateway's tokens.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = examples::gateway_token_page)]
pub struct GatewayTokenPage {
    /// The newest first, ended ones included.
    pub items: Vec<Record>,
    /// The `cursor` of the next page.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// Lists a gateway's tokens, the newest first.
///
/// Ended ones are listed too. Plaintexts are not shown.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    get,
    path = "/v1/gateways/{id}/tokens",
    tag = "Gateways",
    operation_id = "list_gateway_tokens",
    security(("bearer" = ["read"]), ("session" = ["read"])),
    params(
        GatewayPath,
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Things on a page; 50 by default."),
        ("cursor" = Option<String>, Query, max_length = 64, pattern = "^[A-Za-z0-9_-]+$", description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = GatewayTokenPage, links(
        ("next_page" = (operation_id = "list_gateway_tokens", parameters(("id" = "$request.path.id"), ("cursor" = "$response.body#/next_cursor")))),
    ))),
)]
pub async fn list(
    State(app): State<App>,
    GatewayReader(caller): GatewayReader,
    Path(id): Path<String>,
    uri: OriginalUri,
) -> Result<Response, Problem> {
    let id = gateway_id(&id)?;
    let belongs = Belongs::to("/v1/gateways/{id}/tokens").and(id.0.as_bytes());
    let (limit, before) = page_of(&uri, &belongs)?;
    own(&app, &caller, id).await?;
    let mut found = gateways::tokens(&app.pool, id, before.map(u64::from_be_bytes), limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor =
        found.last().filter(|_| more).map(|listed| belongs.seal(listed.token.issued_seq.to_be_bytes()));
    let now = app.clock.now();
    let items = found.into_iter().map(|listed| Record::new(listed, now)).collect();
    Ok(shown(StatusCode::OK, &GatewayTokenPage { items, next_cursor }, ""))
}

/// A gateway token to issue.
#[derive(Deserialize, ToSchema)]
#[schema(as = IssueGatewayToken, example = json!({ "expires_at": "2099-12-31T00:00:00Z" }))]
#[serde(deny_unknown_fields)]
pub struct Issue {
    /// From when on it is inactive; absent: never.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<InstantText>,
}

/// Issues another token for a gateway.
///
/// Several work at once, at most 10, so that they can be replaced one after the other.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    post,
    path = "/v1/gateways/{id}/tokens",
    tag = "Gateways",
    operation_id = "issue_gateway_token",
    security(("bearer" = ["write"]), ("session" = ["write"])),
    params(GatewayPath, Idempotent),
    request_body(content = Option<Issue>),
    responses(
        (status = 201, description = "It is issued. Its plaintext is not shown again.", body = Record, headers(("ETag" = String, description = "The version that `If-Match` takes.")), links(
            ("revoke" = (operation_id = "revoke_gateway_token", parameters(("id" = "$request.path.id"), ("token" = "$response.body#/id")))),
        )),
        (status = 200, description = "The request was made before, and nothing was done now.", body = Record, headers(
            ("ETag" = String, description = "The version that `If-Match` takes."),
            ("Link" = String, description = "Where to issue another token, unless the gateway was removed since.")
        )),
    ),
    extensions(("x-refuses" = json!(["token-limit", "invalid"]))),
)]
pub async fn issue(
    State(app): State<App>,
    GatewayManager(caller): GatewayManager,
    Path(id): Path<String>,
    uri: OriginalUri,
    headers: HeaderMap,
    body: Json<Issue>,
) -> Result<Response, Problem> {
    let gateway = gateway_id(&id)?;
    let key = idempotency(&caller, "POST", uri.path(), &headers, &body.bytes)?;
    let (token, secret) = new_token(&app, body.value.expires_at)?;
    let action = Action::IssueGatewayToken(IssueGatewayToken { gateway, token });
    let reply = app.writer.write(caller.command(action), key).await?;
    let Answer::Gateway(_, Some(id)) = reply.answer else { return Err(Problem::internal()) };
    let listed = match reply.token {
        Some(token) if reply.outcome == Outcome::Happened => Listed::new(token, None),
        _ => {
            let read = gateways::token(&app.pool, gateway, id).await;
            read.map_err(|error| Problem::from(error).after_a_write())?.ok_or_else(Problem::not_found)?
        }
    };
    let tag = tag(&listed.token);
    let mut record = Record::new(listed, app.clock.now());
    if reply.outcome == Outcome::Repeated {
        record.plaintext = Some("not_repeated".into());
        let mut response = shown(StatusCode::OK, &record, &tag);
        if let Some(gateway) = &reply.gateway {
            link_to_issue(&app, gateway, &mut response);
        }
        return Ok(response);
    }
    record.plaintext = Some(secret.into_shown());
    Ok(shown(StatusCode::CREATED, &record, &tag))
}

/// Revokes one of a gateway's tokens. Again is fine.
///
/// From the answer on, the gateway is refused with it. The reason stays in the log.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    delete,
    path = "/v1/gateways/{id}/tokens/{token}",
    tag = "Gateways",
    operation_id = "revoke_gateway_token",
    security(("bearer" = ["write"]), ("session" = ["write"])),
    params(GatewayTokenPath, Conditional),
    request_body(content = Option<WithReason>),
    responses((status = 204, description = "It is revoked.")),
    extensions(("x-refuses" = json!(["invalid"]))),
)]
pub async fn revoke(
    State(app): State<App>,
    GatewayManager(caller): GatewayManager,
    Path((gateway, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Json<WithReason>,
) -> Result<Response, Problem> {
    let (gateway, id, reason) = (gateway_id(&gateway)?, token_id(&id)?, body.value.checked()?);
    let action = Action::RevokeGatewayToken { gateway, id, if_match: if_match(&headers), reason };
    app.writer.write(caller.command(action), None).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
