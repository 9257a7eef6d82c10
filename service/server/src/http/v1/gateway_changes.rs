//! `/v1/gateways`: registering, changing and removing resource servers.

use super::conditions::{idempotency, if_match};
use super::fields::{InstantText, nullable, present};
use super::gateways::{GatewayRecord, gateway_id, own, shown_as, tag, written};
use super::record::{Record, value};
use super::token_changes::WithReason;
use super::tokens::shown;
use crate::app::App;
use crate::event_log::batch::Outcome;
use crate::http::body::Json;
use crate::http::callers::GatewayManager;
use crate::http::document::names::IntrospectedKind;
use crate::http::document::params::{Conditional, GatewayPath, Idempotent};
use crate::http::problem::Problem;
use crate::http::public::at;
use crate::read_model::gateways;
use crate::read_model::lists::Listed;
use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse, Response};
use counterfoil_domain::command::{Action, Answer};
use counterfoil_domain::gateway::Gateway;
use counterfoil_domain::gateway_commands::{ChangeGateway, NewGatewayToken, RegisterGateway};
use counterfoil_domain::ids::{EnvironmentId, GatewayId, TokenId};
use counterfoil_domain::plaintext::{Plaintext, contains_a_plaintext};
use counterfoil_domain::token::Kind;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Longest name, in characters.
const LONGEST_NAME: usize = 200;

/// A gateway to register.
#[derive(Deserialize, ToSchema)]
#[schema(as = RegisterGateway, example = json!({ "name": "edge" }))]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// Its name.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*[^\\u0000-\\u001f\\u007f-\\u009f\\s][^\\u0000-\\u001f\\u007f-\\u009f]*$",
        example = "edge"
    )]
    name: String,
    /// The kinds of token that are not inactive to it; absent: `personal` and `caller`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<IntrospectedKind>, required = false, min_items = 1)]
    kinds: Option<Vec<String>>,
    /// If given, only caller keys of this environment are not inactive to it.
    #[serde(default)]
    #[schema(value_type = Option<Uuid>)]
    environment_id: Option<EnvironmentId>,
    /// From when on its first token is inactive; absent: never.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<InstantText>,
}

/// Registers a gateway with its first token.
///
/// It authenticates with the `client_id` and the `client_secret` of the answer.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    post,
    path = "/v1/gateways",
    tag = "Gateways",
    operation_id = "register_gateway",
    security(("bearer" = ["write"]), ("session" = ["write"])),
    params(Idempotent),
    request_body = Register,
    responses(
        (status = 201, description = "It is registered. The secret is not shown again.", body = GatewayRecord, headers(
            ("ETag" = String, description = "The version that `If-Match` takes."),
            ("Location" = String, description = "The gateway's address.")
        ), links(
            ("get" = (operation_id = "get_gateway", parameters(("id" = "$response.body#/id")))),
            ("change" = (operation_id = "change_gateway", parameters(("id" = "$response.body#/id"), ("header.If-Match" = "$response.header.ETag")))),
            ("tokens" = (operation_id = "list_gateway_tokens", parameters(("id" = "$response.body#/id")))),
            ("issue" = (operation_id = "issue_gateway_token", parameters(("id" = "$response.body#/id")))),
            ("revoke" = (operation_id = "revoke_gateway_token", parameters(("id" = "$response.body#/id"), ("token" = "$response.body#/token/id")))),
            ("remove" = (operation_id = "remove_gateway", parameters(("id" = "$response.body#/id")))),
        )),
        (status = 200, description = "The request was made before, and nothing was done now.", body = GatewayRecord, headers(
            ("ETag" = String, description = "The version that `If-Match` takes."),
            ("Link" = String, description = "Where to issue another token, unless the gateway was removed since.")
        )),
    ),
    extensions(("x-refuses" = json!(["invalid"]))),
)]
pub async fn register(
    State(app): State<App>,
    GatewayManager(caller): GatewayManager,
    uri: OriginalUri,
    headers: HeaderMap,
    body: Json<Register>,
) -> Result<Response, Problem> {
    let key = idempotency(&caller, "POST", uri.path(), &headers, &body.bytes)?;
    let Register { name, kinds, environment_id, expires_at } = body.value;
    let name = checked_name(name)?;
    let (token, secret) = new_token(&app, expires_at)?;
    let action = Action::RegisterGateway(RegisterGateway {
        id: GatewayId(app.clock.uuid()),
        name: value(&app, name.clone()),
        kinds: kinds.map_or_else(|| Ok([Kind::Personal, Kind::Caller].into()), checked_kinds)?,
        environment: environment_id,
        token,
    });
    let reply = app.writer.write(caller.command(action), key).await?;
    let Answer::Gateway(id, token_id) = reply.answer else { return Err(Problem::internal()) };
    let now = app.clock.now();
    let (gateway, name, token) = match (reply.outcome, reply.gateway, reply.token) {
        (Outcome::Happened, Some(gateway), Some(token)) => (gateway, name, Some(Listed::new(token, None))),
        _ => {
            let (gateway, name) = written(&app, &caller, id).await?;
            let token = match token_id {
                Some(token) => gateways::token(&app.pool, id, token).await,
                None => Ok(None),
            };
            (gateway, name, token.map_err(|error| Problem::from(error).after_a_write())?)
        }
    };
    let mut record = GatewayRecord::new(&gateway, name);
    record.token = token.map(|listed| Record::new(listed, now));
    let repeated = reply.outcome == Outcome::Repeated;
    record.client_secret = Some(if repeated { "not_repeated".into() } else { secret.into_shown() });
    let status = if repeated { StatusCode::OK } else { StatusCode::CREATED };
    let mut response = shown(status, &record, &tag(&gateway));
    if repeated {
        link_to_issue(&app, &gateway, &mut response);
    } else if let Ok(location) = HeaderValue::from_str(&at(&app, &format!("/v1/gateways/{id}"))) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Says how to get a secret after all, in the answer to a repeated request. For a gateway that was removed there is no
/// way.
pub(super) fn link_to_issue(app: &App, gateway: &Gateway, response: &mut Response) {
    let issue = at(app, &format!("/v1/gateways/{}/tokens", gateway.id));
    if gateway.removed.is_none()
        && let Ok(link) = HeaderValue::from_str(&format!("<{issue}>; rel=\"issue\""))
    {
        response.headers_mut().insert(header::LINK, link);
    }
}

/// A gateway token, ready made, with its plaintext.
pub(super) fn new_token(
    app: &App,
    expires_at: Option<InstantText>,
) -> Result<(NewGatewayToken, Plaintext), Problem> {
    let expires_at = expires_at.map(|text| text.instant("expires_at")).transpose()?;
    let (secret, hint) = app.mint(Kind::Gateway);
    let id = TokenId(app.clock.uuid());
    Ok((NewGatewayToken { id, digest: secret.digest(), hint, expires_at }, secret))
}

/// What changes. What is absent stays.
#[derive(Deserialize, ToSchema)]
#[schema(as = ChangeGateway, example = json!({ "name": "edge, new" }))]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Its new name.
    #[serde(default, deserialize_with = "present")]
    #[schema(
        value_type = String,
        required = false,
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*[^\\u0000-\\u001f\\u007f-\\u009f\\s][^\\u0000-\\u001f\\u007f-\\u009f]*$"
    )]
    name: Option<String>,
    /// The new kinds.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Vec<IntrospectedKind>, required = false, min_items = 1)]
    kinds: Option<Vec<String>>,
    /// The environment whose caller keys are all that is not inactive to it; null for none.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Uuid>)]
    environment_id: Option<Option<EnvironmentId>>,
}

/// Changes a gateway's registration.
///
/// What is so already is answered alike, and changes nothing.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    patch,
    path = "/v1/gateways/{id}",
    tag = "Gateways",
    operation_id = "change_gateway",
    security(("bearer" = ["write"]), ("session" = ["write"])),
    params(GatewayPath, Conditional),
    request_body = Option<Change>,
    responses(
        (status = 200, description = "The gateway as it is now.", body = GatewayRecord, headers(("ETag" = String, description = "The version that `If-Match` takes."))),
    ),
    extensions(("x-refuses" = json!(["invalid"]))),
)]
pub async fn change(
    State(app): State<App>,
    GatewayManager(caller): GatewayManager,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<Change>,
) -> Result<Response, Problem> {
    let id = gateway_id(&id)?;
    let Change { name, kinds, environment_id } = body.value;
    let name = name.map(checked_name).transpose()?.map(|name| value(&app, name));
    let action = Action::ChangeGateway(ChangeGateway {
        id,
        if_match: if_match(&headers),
        name: name.clone(),
        kinds: kinds.map(checked_kinds).transpose()?,
        environment: environment_id,
    });
    let seen = own(&app, &caller, id).await?;
    let reply = app.writer.write(caller.command(action), None).await?;
    let gateway = reply.gateway.ok_or_else(Problem::internal)?;
    let name = match name.filter(|name| name.id == gateway.name.id) {
        Some(name) => name.text,
        None if seen.0.name.id == gateway.name.id => seen.1,
        // Somebody else gave it another name meanwhile.
        None => written(&app, &caller, id).await?.1,
    };
    Ok(shown_as(&gateway, name))
}

/// Removes a gateway. Its credentials are refused from then on. Again is fine.
///
/// Tokens that were introspected through it go on working. The reason stays in the log.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    delete,
    path = "/v1/gateways/{id}",
    tag = "Gateways",
    operation_id = "remove_gateway",
    security(("bearer" = ["write"]), ("session" = ["write"])),
    params(GatewayPath, Conditional),
    request_body(content = Option<WithReason>),
    responses((status = 204, description = "It is removed.")),
    extensions(("x-refuses" = json!(["invalid"]))),
)]
pub async fn remove(
    State(app): State<App>,
    GatewayManager(caller): GatewayManager,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Json<WithReason>,
) -> Result<Response, Problem> {
    let (id, if_match) = (gateway_id(&id)?, if_match(&headers));
    let action = Action::RemoveGateway { id, if_match, reason: body.value.checked()? };
    app.writer.write(caller.command(action), None).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A name: not blank, at most 200 characters, no control characters, and no token of ours pasted into it.
fn checked_name(name: String) -> Result<String, Problem> {
    let fits = (1..=LONGEST_NAME).contains(&name.chars().count())
        && !name.trim().is_empty()
        && !name.chars().any(char::is_control);
    if !fits {
        let detail = "A name has 1 to 200 characters, none of them a control character, and not only blanks.";
        return Err(Problem::invalid("name", detail));
    }
    if contains_a_plaintext(&name) {
        let detail = "The name contains a token. If it was shown to others, revoke it.";
        return Err(Problem::invalid("name", detail));
    }
    Ok(name)
}

/// Kinds of token. A gateway's own are inactive to every gateway, so they cannot be asked for.
fn checked_kinds(names: Vec<String>) -> Result<BTreeSet<Kind>, Problem> {
    let wrong =
        || Problem::invalid("kinds", "The kinds are personal, admin and caller, at least one of them.");
    let kind = |name: &String| Kind::from_name(name).filter(|kind| *kind != Kind::Gateway);
    let kinds: BTreeSet<Kind> =
        names.iter().map(|name| kind(name).ok_or_else(wrong)).collect::<Result<_, _>>()?;
    if kinds.is_empty() { Err(wrong()) } else { Ok(kinds) }
}
