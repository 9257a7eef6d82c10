//! Gateways: resource servers that may introspect tokens.

use crate::ids::{EnvironmentId, GatewayId, OrganizationId, Seq, TokenId};
use crate::token::{Kind, Reason};
use crate::value::ValueRef;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeSet;

/// How many tokens of one gateway may stand at a time: enough to rotate a fleet step by step.
pub const STANDING_TOKENS: usize = 10;

/// A registered resource server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gateway {
    /// Its id, which its client id is made of.
    pub id: GatewayId,
    /// The organization whose tokens it may introspect.
    pub organization: OrganizationId,
    /// Its name.
    pub name: ValueRef,
    /// The kinds of token that are not inactive to it.
    pub kinds: BTreeSet<Kind>,
    /// If set, only caller keys of this environment are not inactive to it.
    pub environment: Option<EnvironmentId>,
    /// Its standing gateway tokens.
    #[serde(skip)]
    pub standing: BTreeSet<TokenId>,
    /// The event that removed it.
    pub removed: Option<Seq>,
    /// The last event that changed this record.
    pub seq: Seq,
}

impl Gateway {
    /// Whether tokens of a kind can be anything but inactive to it.
    pub fn sees(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind) && (self.environment.is_none() || kind == Kind::Caller)
    }
}

/// `gateway.registered`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayRegistered {
    /// The new gateway.
    pub id: GatewayId,
    /// Its name.
    pub name: ValueRef,
    /// See [`Gateway::kinds`].
    pub kinds: BTreeSet<Kind>,
    /// See [`Gateway::environment`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentId>,
}

/// `gateway.changed`. What is absent stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayChanged {
    /// Which gateway.
    pub id: GatewayId,
    /// The new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<ValueRef>,
    /// The new kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<BTreeSet<Kind>>,
    /// The new environment; null for none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "nullable")]
    pub environment: Option<Option<EnvironmentId>>,
}

/// Null is something that was said, and not an absence.
fn nullable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<EnvironmentId>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// `gateway.removed`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayRemoved {
    /// Which gateway.
    pub id: GatewayId,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}
