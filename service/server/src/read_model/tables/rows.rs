//! Organizations, environments, users and gateways as rows.

use super::token_row::{digest, value_ref};
use super::{LoadError, Unreadable};
use counterfoil_domain::gateway::Gateway;
use counterfoil_domain::ids::{EnvironmentId, GatewayId, OrganizationId, UserId, ValueId};
use counterfoil_domain::organization::{Environment, Membership, Organization};
use counterfoil_domain::role::Role;
use counterfoil_domain::token::Kind;
use counterfoil_domain::user::User;
use counterfoil_domain::value::ValueRef;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::postgres::PgRow;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

fn reference(row: &PgRow, id: usize, commitment: usize) -> Result<ValueRef, LoadError> {
    let (id, commitment): (Uuid, &[u8]) = (row.try_get(id)?, row.try_get(commitment)?);
    Ok(ValueRef { id: ValueId(id), commitment: digest(commitment)? })
}

/// The columns of [`organization`].
pub const ORGANIZATION: &str = "id, number, name_id, name_commitment, revoked_all, seq";

/// Reads an organization.
///
/// # Errors
/// A row that no fold can have written.
pub fn organization(row: &PgRow) -> Result<Organization, LoadError> {
    Ok(Organization {
        id: OrganizationId(row.try_get(0)?),
        number: row.try_get(1)?,
        name: reference(row, 2, 3)?,
        revoked_all: row.try_get::<i64, _>(4)? as u64,
        seq: row.try_get::<i64, _>(5)? as u64,
    })
}

/// The columns of [`environment`].
pub const ENVIRONMENT: &str = "id, number, organization_id, name_id, name_commitment, seq";

/// Reads an environment.
///
/// # Errors
/// A row that no fold can have written.
pub fn environment(row: &PgRow) -> Result<Environment, LoadError> {
    Ok(Environment {
        id: EnvironmentId(row.try_get(0)?),
        number: row.try_get(1)?,
        organization: OrganizationId(row.try_get(2)?),
        name: reference(row, 3, 4)?,
        seq: row.try_get::<i64, _>(5)? as u64,
    })
}

/// The columns of [`user`].
pub const USER: &str = "id, email_id, email_commitment, memberships, password_set, seq";

/// Reads a user, without what stands of it.
///
/// # Errors
/// A row that no fold can have written.
pub fn user(row: &PgRow) -> Result<User, LoadError> {
    Ok(User {
        id: UserId(row.try_get(0)?),
        email: reference(row, 1, 2)?,
        memberships: memberships_from_json(row.try_get(3)?)?,
        password_set: row.try_get::<i64, _>(4)? as u64,
        standing: BTreeMap::new(),
        seq: row.try_get::<i64, _>(5)? as u64,
    })
}

/// The columns of [`gateway`].
pub const GATEWAY: &str =
    "id, organization_id, name_id, name_commitment, kinds, environment_id, removed, seq";

/// Reads a gateway, without what stands of it.
///
/// # Errors
/// A row that no fold can have written.
pub fn gateway(row: &PgRow) -> Result<Gateway, LoadError> {
    Ok(Gateway {
        id: GatewayId(row.try_get(0)?),
        organization: OrganizationId(row.try_get(1)?),
        name: value_ref(row.try_get(2)?, row.try_get(3)?)?.ok_or_else(|| bad("gateways", "name"))?,
        kinds: kinds(row.try_get(4)?)?,
        environment: row.try_get::<Option<Uuid>, _>(5)?.map(EnvironmentId),
        standing: BTreeSet::new(),
        removed: row.try_get::<Option<i64>, _>(6)?.map(|seq| seq as u64),
        seq: row.try_get::<i64, _>(7)? as u64,
    })
}

fn bad(table: &'static str, what: &str) -> Unreadable {
    Unreadable { table, what: what.into() }
}

fn kinds(text: &str) -> Result<BTreeSet<Kind>, Unreadable> {
    text.split(' ')
        .filter(|name| !name.is_empty())
        .map(|name| Kind::from_name(name).ok_or_else(|| bad("gateways", "kinds")))
        .collect()
}

/// Kinds as their column.
pub(crate) fn kinds_column(kinds: &BTreeSet<Kind>) -> String {
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" ")
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MembershipJson {
    role: Option<Role>,
    removed: u64,
}

fn memberships_from_json(text: &str) -> Result<BTreeMap<OrganizationId, Membership>, Unreadable> {
    let json: BTreeMap<OrganizationId, MembershipJson> =
        serde_json::from_str(text).map_err(|_| bad("users", "memberships"))?;
    Ok(json.into_iter().map(|(id, m)| (id, Membership { role: m.role, removed: m.removed })).collect())
}

/// Memberships as the JSON of their column.
pub(crate) fn memberships_to_json(memberships: &BTreeMap<OrganizationId, Membership>) -> String {
    let json: BTreeMap<_, _> = memberships
        .iter()
        .map(|(id, m)| (*id, MembershipJson { role: m.role, removed: m.removed }))
        .collect();
    serde_json::to_string(&json).unwrap_or_default()
}
