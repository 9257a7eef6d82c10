//! Gateways and their tokens, as `/v1/gateways` lists them.

use super::lists::{self, Listed};
use super::tables::{LoadError, rows};
use counterfoil_domain::gateway::Gateway;
use counterfoil_domain::ids::{GatewayId, OrganizationId, TokenId};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, Row};
use uuid::Uuid;

/// A gateway with its name.
pub type Named = (Gateway, String);

const NAME: &str = "(SELECT value FROM personal_values v WHERE v.id = name_id)";

fn named(row: &PgRow) -> Result<Named, LoadError> {
    Ok((rows::gateway(row)?, row.try_get::<Option<String>, _>(8)?.unwrap_or_default()))
}

/// A gateway of an organization, unless it was removed.
///
/// # Errors
/// The database's.
pub async fn one(
    pool: &PgPool,
    organization: OrganizationId,
    id: GatewayId,
) -> Result<Option<Named>, LoadError> {
    let found = removed_or_not(pool, organization, id).await?;
    Ok(found.filter(|(gateway, _)| gateway.removed.is_none()))
}

/// A gateway of an organization, for an answer to what was done to it before: it may be removed since.
///
/// # Errors
/// The database's.
pub async fn removed_or_not(
    pool: &PgPool,
    organization: OrganizationId,
    id: GatewayId,
) -> Result<Option<Named>, LoadError> {
    let sql =
        format!("SELECT {}, {NAME} FROM gateways WHERE id = $1 AND organization_id = $2", rows::GATEWAY);
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.0).bind(organization.0).fetch_optional(pool).await?;
    row.as_ref().map(named).transpose()
}

/// A page of an organization's gateways, the newest first.
///
/// # Errors
/// The database's.
pub async fn page(
    pool: &PgPool,
    organization: OrganizationId,
    before: Option<GatewayId>,
    limit: usize,
) -> Result<Vec<Named>, LoadError> {
    let sql = format!(
        "SELECT {}, {NAME} FROM gateways WHERE organization_id = $1 AND id < $2 AND removed IS NULL
         ORDER BY id DESC LIMIT $3",
        rows::GATEWAY
    );
    let before = before.map_or(Uuid::max(), |id| id.0);
    let found = sqlx::query(AssertSqlSafe(sql))
        .bind(organization.0)
        .bind(before)
        .bind(limit as i64)
        .fetch_all(pool)
        .await?;
    found.iter().map(named).collect()
}

/// One token of a gateway.
///
/// # Errors
/// The database's.
pub async fn token(pool: &PgPool, gateway: GatewayId, id: TokenId) -> Result<Option<Listed>, LoadError> {
    let sql = format!("{} WHERE id = $2", lists::listed("gateway_id"));
    let row = sqlx::query(AssertSqlSafe(sql)).bind(gateway.0).bind(id.0).fetch_optional(pool).await?;
    row.as_ref().map(lists::read).transpose()
}

/// A page of a gateway's tokens, the newest first, ended ones included.
///
/// # Errors
/// The database's.
pub async fn tokens(
    pool: &PgPool,
    gateway: GatewayId,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<Listed>, LoadError> {
    let sql =
        format!("{} WHERE issued_seq < $2 ORDER BY issued_seq DESC LIMIT $3", lists::listed("gateway_id"));
    let before = before.map_or(i64::MAX, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
    let found = sqlx::query(AssertSqlSafe(sql))
        .bind(gateway.0)
        .bind(before)
        .bind(limit as i64)
        .fetch_all(pool)
        .await?;
    found.iter().map(lists::read).collect()
}
