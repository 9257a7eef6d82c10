//! `GET /v1/user`: who am I?

use super::tokens::shown;
use crate::app::App;
use crate::http::caller::{Caller, Credential};
use crate::http::document::examples;
use crate::http::document::names::CredentialKind;
use crate::http::problem::Problem;
use crate::read_model::people;
use axum::extract::State;
use axum::response::Response;
use counterfoil_domain::ids::{OrganizationId, Seq, UserId};
use counterfoil_domain::role::Role;
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::user::User;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserRecord {
    /// Its id.
    #[schema(value_type = Uuid)]
    pub id: UserId,
    /// Its e-mail address.
    pub email: String,
}

/// A user's place in an organization.
#[derive(Debug, Serialize, ToSchema)]
pub struct Membership {
    /// The organization's id.
    #[schema(value_type = Uuid)]
    pub id: OrganizationId,
    /// Its name.
    pub name: String,
    /// The user's role there.
    pub role: RoleName,
}

/// What a member may do.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Role)]
pub enum RoleName {
    /// Everything.
    Owner,
    /// Manages people, gateways and keys.
    Admin,
    /// Manages what is its own.
    Member,
    /// Reads everything, changes only what is its own.
    Auditor,
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Owner => Self::Owner,
            Role::Admin => Self::Admin,
            Role::Member => Self::Member,
            Role::Auditor => Self::Auditor,
        }
    }
}

/// How many of a user's tokens stand.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenCount {
    /// Issued, not revoked, not expired.
    #[schema(minimum = 0)]
    pub standing: i64,
    /// The most that may at a time.
    pub limit: usize,
}

/// What was presented.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Credential)]
pub struct CredentialRecord {
    /// A token or a session.
    #[schema(value_type = CredentialKind)]
    pub kind: &'static str,
    /// The token's or the session's id.
    pub id: Uuid,
    /// What it may do.
    pub scopes: Vec<String>,
    /// From when on a session counts no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false)]
    pub expires_at: Option<Timestamp>,
}

/// The answer of `GET /v1/user`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = examples::who_am_i)]
pub struct WhoAmI {
    /// The user's id.
    #[schema(value_type = Uuid)]
    pub id: UserId,
    /// The user's e-mail address.
    pub email: String,
    /// Where this request acts.
    #[schema(value_type = Uuid)]
    pub organization_id: OrganizationId,
    /// Where the user is a member, as far as the credential counts there.
    pub organizations: Vec<Membership>,
    /// The user's tokens.
    pub tokens: TokenCount,
    /// What was presented.
    pub credential: CredentialRecord,
}

/// Says who is asking, by which credential and where.
///
/// It also says how many tokens the user may still issue, and in which organizations the credential counts.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    get,
    path = "/v1/user",
    tag = "User",
    operation_id = "who_am_i",
    security(("bearer" = ["read"]), ("session" = ["read"])),
    responses((status = 200, description = "Who it is.", body = WhoAmI)),
)]
pub async fn who_am_i(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let found = people::by_id(&app.pool, caller.user).await?.ok_or_else(Problem::unauthenticated)?;
    let (kind, id, expires_at) = match caller.credential {
        Credential::Token { id, .. } => ("token", id.0, None),
        Credential::Session { id, expires_at } => ("session", id.0, Some(expires_at)),
    };
    let scopes = caller.scopes.iter().map(String::from).collect();
    let document = WhoAmI {
        id: caller.user,
        email: people::address(&app.pool, &found.user).await?,
        organization_id: caller.organization,
        organizations: memberships(&app, &found.user, caller.since).await?,
        tokens: TokenCount {
            standing: people::standing_tokens(&app.pool, caller.user, app.clock.now()).await?,
            limit: app.limits.tokens_per_user,
        },
        credential: CredentialRecord { kind, id, scopes, expires_at },
    };
    Ok(shown(StatusCode::OK, &document, ""))
}

/// Where a user is a member, as far as authority from `since` counts there.
///
/// # Errors
/// 503 while the database cannot be reached.
pub(super) async fn memberships(app: &App, user: &User, since: Seq) -> Result<Vec<Membership>, Problem> {
    let roles: Vec<(OrganizationId, Role)> = user
        .memberships
        .keys()
        .filter_map(|id| app.index.role(user.id, *id, since).map(|role| (*id, role)))
        .collect();
    let ids: Vec<OrganizationId> = roles.iter().map(|(id, _)| *id).collect();
    let mut names = people::organization_names(&app.pool, &ids).await?;
    let named = |(id, role)| Membership {
        id,
        name: names.remove(&id).unwrap_or_default(),
        role: RoleName::from(role),
    };
    Ok(roles.into_iter().map(named).collect())
}
