//! Tokens: the entity, its events, and how they fold into it. The commands stand beside: [`issue`], [`change`],
//! [`rotate`], [`end`].

pub mod change;
pub mod end;
pub mod events;
pub mod issue;
pub mod rotate;

pub use events::*;

use crate::ids::{GatewayId, OrganizationId, Seq, TokenId, UserId};
use crate::plaintext::Digest;
use crate::scope::Scopes;
use crate::timestamp::Timestamp;
use crate::value::ValueRef;
use serde::{Deserialize, Serialize};

/// What a token is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Acts as a user.
    Personal,
    /// Acts for an organization.
    Admin,
    /// Calls models on a gateway.
    Caller,
    /// Lets a gateway introspect and verify.
    Gateway,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Personal, Self::Admin, Self::Caller, Self::Gateway];

    /// The wire name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Personal => "personal",
            Self::Admin => "admin",
            Self::Caller => "caller",
            Self::Gateway => "gateway",
        }
    }

    /// Reads a wire name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Whose a token is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case", deny_unknown_fields)]
pub enum Owner {
    /// A user's personal token.
    User(UserId),
    /// A gateway's token.
    Gateway(GatewayId),
}

/// A token's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Its id, which rotation keeps.
    pub id: TokenId,
    /// What it is for.
    pub kind: Kind,
    /// Whose it is.
    pub owner: Owner,
    /// The organization in which it was issued: where it acts if a request names none.
    pub home: OrganizationId,
    /// The digest of the present plaintext.
    pub digest: Digest,
    /// The beginning of the present plaintext.
    pub hint: String,
    /// Which plaintext this is: 1 at issue, one more at each rotation.
    pub generation: u32,
    /// What it was narrowed to.
    pub scopes: Scopes,
    /// From when on it is inactive; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// The holder's own words.
    pub note: Option<ValueRef>,
    /// The token that issued this one, if one did.
    pub issued_by: Option<TokenId>,
    /// Makes wide marks inescapable: the position from which this token's authority stems. A token's own
    /// position if a session or the command line issued it, else that of the token that did.
    pub since: Seq,
    /// When it was issued, by the log.
    pub issued_at: Timestamp,
    /// The event that issued it.
    pub issued_seq: Seq,
    /// Switched off for now.
    pub disabled: bool,
    /// The slot of its user that it holds; gateway tokens hold none.
    pub slot: Option<u16>,
    /// The plaintext before this one, working beside it or kept so that its use can be counted. Boxed: few of a million
    /// tokens have one.
    pub previous: Option<Box<Previous>>,
    /// Ended for good.
    pub ended: Option<Ended>,
    /// The last event that changed this record.
    pub seq: Seq,
}

/// An earlier plaintext of a rotated token. At most one works beside the present one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Previous {
    /// Its digest.
    pub digest: Digest,
    /// Its beginning.
    pub hint: String,
    /// Which plaintext it was.
    pub generation: u32,
    /// When it ends by the clock.
    pub ends_at: Timestamp,
    /// Whether the first use of the present plaintext ends it.
    pub until_used: bool,
    /// The event that ended it before its time. It stays as a tombstone, so that its use can be shown.
    pub ended: Option<Seq>,
}

impl Previous {
    /// Whether it still works at `now`.
    pub fn works(&self, now: Timestamp) -> bool {
        self.ended.is_none() && now < self.ends_at
    }
}

/// How and when a token ended for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// The event that ended it.
    pub seq: Seq,
    /// When, by the log.
    pub at: Timestamp,
    /// Whether time ended it, or somebody did.
    pub how: HowEnded,
}

/// Whether time ended a token, or somebody did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HowEnded {
    /// Its expiry came.
    Expired,
    /// It was revoked: by itself, with all of its user's, or with its gateway.
    Revoked,
}

impl Token {
    /// Whether it counts: for limits, slots, digests and the index. Disabled tokens stand.
    pub fn stands(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether its expiry has come at `now`. The instant itself is expired.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }

    /// The state in words, as lists show it: expiry by the clock counts, recorded or not.
    pub fn state(&self, now: Timestamp) -> State {
        match self.ended {
            Some(Ended { how: HowEnded::Revoked, .. }) => State::Revoked,
            Some(Ended { how: HowEnded::Expired, .. }) => State::Expired,
            None if self.is_due(now) => State::Expired,
            None if self.disabled => State::Disabled,
            None => State::Live,
        }
    }

    /// The owner, if it is a user.
    pub fn user(&self) -> Option<UserId> {
        match self.owner {
            Owner::User(user) => Some(user),
            Owner::Gateway(_) => None,
        }
    }

    /// The organization that its events belong to: none for what is a user's own.
    pub fn event_organization(&self) -> Option<OrganizationId> {
        match self.owner {
            Owner::User(_) => None,
            Owner::Gateway(_) => Some(self.home),
        }
    }
}

/// A token's state as lists show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Standing and not disabled.
    Live,
    /// Switched off for now.
    Disabled,
    /// Its expiry came.
    Expired,
    /// Ended by somebody.
    Revoked,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Live, Self::Disabled, Self::Expired, Self::Revoked];

    /// The wire name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    /// Reads a wire name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}
