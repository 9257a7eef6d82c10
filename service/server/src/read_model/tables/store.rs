//! Storing: each changed entity once, in its last state, one statement a table.

use super::rows::{kinds_column, memberships_to_json};
use super::to_sql;
use super::token_row::{how_ended_name, owner_columns, previous_to_json};
use counterfoil_domain::gateway::Gateway;
use counterfoil_domain::organization::{Environment, Organization};
use counterfoil_domain::token::Token;
use counterfoil_domain::user::User;
use sqlx::PgConnection;

/// Stores tokens.
///
/// # Errors
/// The database's.
pub async fn tokens(connection: &mut PgConnection, tokens: &[&Token]) -> Result<(), sqlx::Error> {
    if tokens.is_empty() {
        return Ok(());
    }
    sqlx::query(UPSERT_TOKENS)
        .bind(each(tokens, |t| t.id.0))
        .bind(each(tokens, |t| t.kind.name()))
        .bind(each(tokens, |t| owner_columns(t.owner).0))
        .bind(each(tokens, |t| owner_columns(t.owner).1))
        .bind(each(tokens, |t| t.home.0))
        .bind(each(tokens, |t| t.digest.0.to_vec()))
        .bind(each(tokens, |t| t.hint.as_str()))
        .bind(each(tokens, |t| t.generation as i32))
        .bind(each(tokens, |t| t.scopes.to_string()))
        .bind(each(tokens, |t| t.expires_at.map(to_sql)))
        .bind(each(tokens, |t| t.note.map(|note| note.id.0)))
        .bind(each(tokens, |t| t.note.map(|note| note.commitment.0.to_vec())))
        .bind(each(tokens, |t| t.issued_by.map(|id| id.0)))
        .bind(each(tokens, |t| t.since as i64))
        .bind(each(tokens, |t| to_sql(t.issued_at)))
        .bind(each(tokens, |t| t.issued_seq as i64))
        .bind(each(tokens, |t| t.disabled))
        .bind(each(tokens, |t| t.slot.map(|slot| slot as i16)))
        .bind(each(tokens, |t| t.previous.as_deref().map(previous_to_json)))
        .bind(each(tokens, |t| t.ended.map(|ended| ended.seq as i64)))
        .bind(each(tokens, |t| t.ended.map(|ended| to_sql(ended.at))))
        .bind(each(tokens, |t| t.ended.map(|ended| how_ended_name(ended.how))))
        .bind(each(tokens, |t| t.seq as i64))
        .execute(connection)
        .await
        .map(drop)
}

/// Only what an event can change is updated.
const UPSERT_TOKENS: &str = "
    INSERT INTO tokens (id, kind, user_id, gateway_id, home, digest, hint, generation, scopes, expires_at, note_id,
        note_commitment, issued_by, since, issued_at, issued_seq, disabled, slot, previous, ended_seq, ended_at,
        ended_how, seq)
    SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::uuid[], $6::bytea[], $7::text[], $8::int[],
        $9::text[], $10::timestamptz[], $11::uuid[], $12::bytea[], $13::uuid[], $14::bigint[], $15::timestamptz[],
        $16::bigint[], $17::bool[], $18::smallint[], $19::text[], $20::bigint[], $21::timestamptz[], $22::text[],
        $23::bigint[])
    ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, hint = excluded.hint, generation = excluded.generation,
        scopes = excluded.scopes, expires_at = excluded.expires_at, note_id = excluded.note_id,
        note_commitment = excluded.note_commitment, disabled = excluded.disabled, slot = excluded.slot,
        previous = excluded.previous, ended_seq = excluded.ended_seq, ended_at = excluded.ended_at,
        ended_how = excluded.ended_how, seq = excluded.seq";

/// One column of many rows.
pub(crate) fn each<'a, T, C>(rows: &[&'a T], column: impl Fn(&'a T) -> C) -> Vec<C> {
    rows.iter().map(|row| column(row)).collect()
}

/// Stores users.
///
/// # Errors
/// The database's.
pub async fn users(connection: &mut PgConnection, users: &[&User]) -> Result<(), sqlx::Error> {
    if users.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO users (id, email_id, email_commitment, memberships, password_set, seq)
        SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::bytea[], $4::text[], $5::bigint[], $6::bigint[])
        ON CONFLICT (id) DO UPDATE SET email_id = excluded.email_id, email_commitment = excluded.email_commitment,
            memberships = excluded.memberships, password_set = excluded.password_set, seq = excluded.seq";
    sqlx::query(sql)
        .bind(each(users, |u| u.id.0))
        .bind(each(users, |u| u.email.id.0))
        .bind(each(users, |u| u.email.commitment.0.to_vec()))
        .bind(each(users, |u| memberships_to_json(&u.memberships)))
        .bind(each(users, |u| u.password_set as i64))
        .bind(each(users, |u| u.seq as i64))
        .execute(connection)
        .await
        .map(drop)
}

/// Stores gateways.
///
/// # Errors
/// The database's.
pub async fn gateways(connection: &mut PgConnection, gateways: &[&Gateway]) -> Result<(), sqlx::Error> {
    if gateways.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO gateways (id, organization_id, name_id, name_commitment, kinds, environment_id, removed, seq)
        SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::bytea[], $5::text[], $6::uuid[], $7::bigint[], $8::bigint[])
        ON CONFLICT (id) DO UPDATE SET name_id = excluded.name_id, name_commitment = excluded.name_commitment,
            kinds = excluded.kinds, environment_id = excluded.environment_id, removed = excluded.removed, seq = excluded.seq";
    sqlx::query(sql)
        .bind(each(gateways, |g| g.id.0))
        .bind(each(gateways, |g| g.organization.0))
        .bind(each(gateways, |g| g.name.id.0))
        .bind(each(gateways, |g| g.name.commitment.0.to_vec()))
        .bind(each(gateways, |g| kinds_column(&g.kinds)))
        .bind(each(gateways, |g| g.environment.map(|id| id.0)))
        .bind(each(gateways, |g| g.removed.map(|seq| seq as i64)))
        .bind(each(gateways, |g| g.seq as i64))
        .execute(connection)
        .await
        .map(drop)
}

/// Stores organizations.
///
/// # Errors
/// The database's.
pub async fn organizations(
    connection: &mut PgConnection,
    organizations: &[&Organization],
) -> Result<(), sqlx::Error> {
    for o in organizations {
        let sql = "INSERT INTO organizations (id, number, name_id, name_commitment, revoked_all, seq)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (id) DO UPDATE SET name_id = excluded.name_id, name_commitment = excluded.name_commitment,
                revoked_all = excluded.revoked_all, seq = excluded.seq";
        sqlx::query(sql)
            .bind(o.id.0)
            .bind(o.number)
            .bind(o.name.id.0)
            .bind(o.name.commitment.0.to_vec())
            .bind(o.revoked_all as i64)
            .bind(o.seq as i64)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Stores environments.
///
/// # Errors
/// The database's.
pub async fn environments(
    connection: &mut PgConnection,
    environments: &[&Environment],
) -> Result<(), sqlx::Error> {
    for e in environments {
        let sql = "INSERT INTO environments (id, number, organization_id, name_id, name_commitment, seq)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (id) DO UPDATE SET name_id = excluded.name_id, name_commitment = excluded.name_commitment,
                seq = excluded.seq";
        sqlx::query(sql)
            .bind(e.id.0)
            .bind(e.number)
            .bind(e.organization.0)
            .bind(e.name.id.0)
            .bind(e.name.commitment.0.to_vec())
            .bind(e.seq as i64)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
