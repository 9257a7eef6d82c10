//! Users: accounts that tokens act for.

use crate::ids::{OrganizationId, Seq, TokenId, UserId};
use crate::organization::Membership;
use crate::timestamp::Timestamp;
use crate::value::ValueRef;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many personal tokens of one user may stand at a time, whichever door made them.
pub const STANDING_TOKENS: usize = 50;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its e-mail address.
    pub email: ValueRef,
    /// Where it is, and was, a member.
    pub memberships: BTreeMap<OrganizationId, Membership>,
    /// The last event that set the password; 0 if none. A sign-in that was checked against an earlier one fails.
    pub password_set: Seq,
    /// The standing personal tokens by the slot that each holds. A slot is a number below the limit, so that a
    /// 51st token has none to take, in the domain and in the database alike.
    #[serde(skip)]
    pub standing: BTreeMap<u16, StandingToken>,
    /// The last event that changed this record.
    pub seq: Seq,
}

/// What a user's record knows of a standing token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandingToken {
    /// The token.
    pub id: TokenId,
    /// Its expiry, by which the writer finds what is due.
    pub expires_at: Option<Timestamp>,
}

impl User {
    /// The lowest slot that no standing token holds.
    pub fn free_slot(&self) -> u16 {
        (0..)
            .zip(self.standing.keys())
            .find(|(slot, held)| slot != *held)
            .map_or(self.standing.len() as u16, |(slot, _)| slot)
    }

    /// The role in an organization, for a present member.
    pub fn role_in(&self, organization: OrganizationId) -> Option<crate::role::Role> {
        self.memberships.get(&organization).and_then(|membership| membership.role)
    }
}

/// `user.created`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserCreated {
    /// The new user.
    pub id: UserId,
    /// Its e-mail address.
    pub email: ValueRef,
}

/// `user.password_set`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordSet {
    /// Whose.
    pub user_id: UserId,
}
