//! `/v1/gateways`: resource servers, as they are.

use super::record::Record;
use super::tokens::shown;
use crate::app::App;
use crate::http::caller::Caller;
use crate::http::callers::GatewayReader;
use crate::http::cursor::Belongs;
use crate::http::document::examples;
use crate::http::document::names::TokenKind;
use crate::http::document::params::GatewayPath;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::read_model::gateways;
use axum::extract::{OriginalUri, Path, State};
use axum::response::Response;
use counterfoil_domain::gateway::Gateway;
use counterfoil_domain::ids::{EnvironmentId, GatewayId};
use http::{StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// Records on a page unless told otherwise, and at most.
const PAGE: (usize, usize) = (50, 100);

/// A gateway as `/v1` shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Gateway, example = examples::gateway)]
pub struct GatewayRecord {
    /// Its id.
    #[schema(value_type = Uuid)]
    pub id: GatewayId,
    /// Its OAuth 2.0 client id.
    #[schema(pattern = "^gw_[0-9a-f]{32}$")]
    pub client_id: String,
    /// Its name.
    pub name: String,
    /// The kinds of token that are not inactive to it.
    #[schema(value_type = Vec<TokenKind>)]
    pub kinds: Vec<&'static str>,
    /// If set, only caller keys of this environment are not inactive to it.
    #[schema(value_type = Option<Uuid>, required)]
    pub environment_id: Option<EnvironmentId>,
    /// The plaintext of its first token, in the one answer that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = Password)]
    pub client_secret: Option<String>,
    /// Its first token, in the answer to its registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub token: Option<Record>,
}

impl GatewayRecord {
    pub(super) fn new(gateway: &Gateway, name: String) -> Self {
        Self {
            id: gateway.id,
            client_id: gateway.id.client_id(),
            name,
            kinds: gateway.kinds.iter().map(|kind| kind.name()).collect(),
            environment_id: gateway.environment,
            client_secret: None,
            token: None,
        }
    }
}

/// A page of gateways.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = examples::gateway_page)]
pub struct GatewayPage {
    /// The newest first.
    pub items: Vec<GatewayRecord>,
    /// The `cursor` of the next page.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// The entity tag of a gateway.
pub(super) fn tag(gateway: &Gateway) -> String {
    format!("\"{}\"", gateway.seq)
}

/// A gateway of the caller's organization with its name. Another organization's is not found.
///
/// # Errors
/// 404, or 503 while the database cannot be reached.
pub(super) async fn own(app: &App, caller: &Caller, id: GatewayId) -> Result<(Gateway, String), Problem> {
    gateways::one(&app.pool, caller.organization, id).await?.ok_or_else(Problem::not_found)
}

/// The same after a write, which is answered even if somebody removed the gateway meanwhile, or long since.
///
/// # Errors
/// 503 while the database cannot be reached: then it is not said that nothing was done.
pub(super) async fn written(app: &App, caller: &Caller, id: GatewayId) -> Result<(Gateway, String), Problem> {
    let read = gateways::removed_or_not(&app.pool, caller.organization, id).await;
    read.map_err(|error| Problem::from(error).after_a_write())?.ok_or_else(Problem::internal)
}

/// An id of a path. What is none is not found, like what is nobody's.
pub(super) fn gateway_id(text: &str) -> Result<GatewayId, Problem> {
    text.parse().map_err(|_| Problem::not_found())
}

/// Lists the organization's gateways, the newest first.
///
/// Owners, admins and auditors may. Secrets are not shown.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    get,
    path = "/v1/gateways",
    tag = "Gateways",
    operation_id = "list_gateways",
    security(("bearer" = ["read"]), ("session" = ["read"])),
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Things on a page; 50 by default."),
        ("cursor" = Option<String>, Query, max_length = 64, pattern = "^[A-Za-z0-9_-]+$", description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = GatewayPage, links(
        ("next_page" = (operation_id = "list_gateways", parameters(("cursor" = "$response.body#/next_cursor")))),
    ))),
)]
pub async fn list(
    State(app): State<App>,
    GatewayReader(caller): GatewayReader,
    uri: OriginalUri,
) -> Result<Response, Problem> {
    let belongs = Belongs::to("/v1/gateways").and(caller.organization.0.as_bytes());
    let (limit, before) = page_of(&uri, &belongs)?;
    let before = before.map(|place| GatewayId(Uuid::from_bytes(place)));
    let mut found = gateways::page(&app.pool, caller.organization, before, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor =
        found.last().filter(|_| more).map(|(gateway, _)| belongs.seal(*gateway.id.0.as_bytes()));
    let items = found.into_iter().map(|(gateway, name)| GatewayRecord::new(&gateway, name)).collect();
    Ok(shown(StatusCode::OK, &GatewayPage { items, next_cursor }, ""))
}

/// The parameters `limit` and `cursor` of a list.
pub(super) fn page_of<const N: usize>(
    uri: &Uri,
    belongs: &Belongs,
) -> Result<(usize, Option<[u8; N]>), Problem> {
    let query = Query::parse(uri, &["limit", "cursor"])?;
    let limit = query.limit(PAGE.0, PAGE.1)?;
    Ok((limit, query.get("cursor").map(|cursor| belongs.open(cursor)).transpose()?))
}

/// Gets a gateway.
///
/// Owners, admins and auditors may. Its secret is not shown.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    get,
    path = "/v1/gateways/{id}",
    tag = "Gateways",
    operation_id = "get_gateway",
    security(("bearer" = ["read"]), ("session" = ["read"])),
    params(GatewayPath),
    responses((status = 200, description = "The gateway.", body = GatewayRecord, headers(("ETag" = String, description = "The version that `If-Match` takes.")))),
)]
pub async fn get(
    State(app): State<App>,
    GatewayReader(caller): GatewayReader,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (gateway, name) = own(&app, &caller, gateway_id(&id)?).await?;
    Ok(shown_as(&gateway, name))
}

/// The answer: a gateway as it is.
pub(super) fn shown_as(gateway: &Gateway, name: String) -> Response {
    shown(StatusCode::OK, &GatewayRecord::new(gateway, name), &tag(gateway))
}
