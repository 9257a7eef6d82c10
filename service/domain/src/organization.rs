//! Organizations, their environments and who is in them.

use crate::ids::{EnvironmentId, OrganizationId, Seq, UserId};
use crate::role::Role;
use crate::value::ValueRef;
use serde::{Deserialize, Serialize};

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// A random positive number below 2^63, for clients that parse ids as integers.
    pub number: i64,
    /// Its name.
    pub name: ValueRef,
    /// The last event that ended all tokens here at once; 0 if none. What was issued before it is dead.
    pub revoked_all: Seq,
    /// The last event that changed this record.
    pub seq: Seq,
}

/// A named part of an organization that gateways attach to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// Its id.
    pub id: EnvironmentId,
    /// A random positive number below 2^63, for clients that parse ids as integers.
    pub number: i64,
    /// The organization that it is part of.
    pub organization: OrganizationId,
    /// Its name.
    pub name: ValueRef,
    /// The last event that changed this record.
    pub seq: Seq,
}

/// A user's place in an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Membership {
    /// The role; `None` for a former member.
    pub role: Option<Role>,
    /// The last event that removed this user from the organization; 0 if none. Tokens from before it do not
    /// count here, even if the user comes back.
    pub removed: Seq,
}

/// `organization.created`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganizationCreated {
    /// The new organization.
    pub id: OrganizationId,
    /// See [`Organization::number`].
    pub number: i64,
    /// Its name.
    pub name: ValueRef,
}

/// `environment.created`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentCreated {
    /// The new environment.
    pub id: EnvironmentId,
    /// See [`Environment::number`].
    pub number: i64,
    /// Its name.
    pub name: ValueRef,
}

/// `member.added`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberAdded {
    /// Who.
    pub user_id: UserId,
    /// A random positive number below 2^63, for clients that parse ids as integers.
    pub number: i64,
    /// As what.
    pub role: Role,
}
