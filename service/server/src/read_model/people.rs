//! Users as sign-in and `GET /v1/user` need them.

use super::tables::{LoadError, load, rows, to_sql};
use counterfoil_domain::command::SecretText;
use counterfoil_domain::ids::{OrganizationId, UserId};
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::user::User;
use sqlx::{AssertSqlSafe, PgPool, Row};
use std::collections::HashMap;
use uuid::Uuid;

/// A user with the hash of its password, if it has one.
pub struct WithPassword {
    /// The user, without what stands of it.
    pub user: User,
    /// The hash, as a PHC string.
    pub hash: Option<SecretText>,
}

/// The user who signs in by an address, folded as `sign_in_names` has it.
///
/// # Errors
/// The database's.
pub async fn by_address(pool: &PgPool, key: &str) -> Result<Option<WithPassword>, LoadError> {
    let sql = format!(
        "SELECT {}, hash FROM sign_in_names n JOIN users u ON u.id = n.user_id
            LEFT JOIN password_hashes h ON h.user_id = u.id WHERE n.key = $1",
        rows::USER
    );
    let row = sqlx::query(AssertSqlSafe(sql)).bind(key).fetch_optional(pool).await?;
    row.as_ref().map(with_password).transpose()
}

/// A user by id.
///
/// # Errors
/// The database's.
pub async fn by_id(pool: &PgPool, id: UserId) -> Result<Option<WithPassword>, LoadError> {
    let sql = format!(
        "SELECT {}, hash FROM users u LEFT JOIN password_hashes h ON h.user_id = u.id WHERE u.id = $1",
        rows::USER
    );
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.0).fetch_optional(pool).await?;
    row.as_ref().map(with_password).transpose()
}

fn with_password(row: &sqlx::postgres::PgRow) -> Result<WithPassword, LoadError> {
    Ok(WithPassword { user: rows::user(row)?, hash: row.try_get::<Option<String>, _>(6)?.map(SecretText) })
}

/// A user's e-mail address; empty once it was erased.
///
/// # Errors
/// The database's.
pub async fn address(pool: &PgPool, user: &User) -> Result<String, LoadError> {
    let mut connection = pool.acquire().await?;
    let id = user.email.id.0;
    Ok(load::texts(&mut connection, &[id]).await?.remove(&id).unwrap_or_default())
}

/// The names of organizations.
///
/// # Errors
/// The database's.
pub async fn organization_names(
    pool: &PgPool,
    ids: &[OrganizationId],
) -> Result<HashMap<OrganizationId, String>, LoadError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let sql = "SELECT o.id, v.value FROM organizations o JOIN personal_values v ON v.id = o.name_id
        WHERE o.id = ANY($1)";
    let rows = sqlx::query(sql).bind(&ids).fetch_all(pool).await?;
    rows.iter().map(|row| Ok((OrganizationId(row.try_get(0)?), row.try_get(1)?))).collect()
}

/// How many of a user's personal tokens stand at an instant: what has expired counts no more, recorded or not.
///
/// # Errors
/// The database's.
pub async fn standing_tokens(pool: &PgPool, user: UserId, now: Timestamp) -> Result<i64, LoadError> {
    let sql = "SELECT count(*) FROM claimed_slots
        WHERE user_id = $1 AND era = COALESCE((SELECT max(era) FROM slot_eras WHERE user_id = $1), 0)
          AND (expires_at IS NULL OR expires_at > $2)";
    Ok(sqlx::query_scalar(sql).bind(user.0).bind(to_sql(now)).fetch_one(pool).await?)
}

/// The first organization that was made, with its name.
///
/// # Errors
/// The database's.
pub async fn first_organization(pool: &PgPool) -> Result<Option<(OrganizationId, String)>, LoadError> {
    let sql = "SELECT o.id, v.value FROM organizations o JOIN personal_values v ON v.id = o.name_id
        ORDER BY o.id LIMIT 1";
    let row = sqlx::query(sql).fetch_optional(pool).await?;
    row.map(|row| Ok((OrganizationId(row.try_get(0)?), row.try_get(1)?))).transpose()
}

/// The e-mail address of the first user who was made: the owner whom `init` made. None if it was erased.
///
/// # Errors
/// The database's.
pub async fn first_address(pool: &PgPool) -> Result<Option<String>, LoadError> {
    let sql =
        "SELECT v.value FROM users u LEFT JOIN personal_values v ON v.id = u.email_id ORDER BY u.id LIMIT 1";
    Ok(sqlx::query_scalar::<_, Option<String>>(sql).fetch_optional(pool).await?.flatten())
}
