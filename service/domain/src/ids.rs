//! Identifiers. Each is a UUIDv7 made by the server and a type of its own, so that a user's id cannot be
//! handed over where a token's is expected.

use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// An event's position in the log: 1, 2, 3 … without gaps. 0 stands for "before the first event".
pub type Seq = u64;

/// The text is not an id in its hyphenated form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form 01234567-89ab-7def-8123-456789abcdef")]
pub struct NotAnId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            /// As in a path: whatever is no id there is none in a body or an event.
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(crate::read_str(Self::from_str))
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            /// Only the hyphenated form is an id: one thing has one length in a URL.
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let hyphenated = (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten();
                hyphenated.map(Self).ok_or(NotAnId)
            }
        }
    };
}

id!(
    /// The tenant.
    OrganizationId
);
id!(
    /// A human account. Users are global; they belong to organizations by membership.
    UserId
);
id!(
    /// A token's stored record; published as `jti`. Survives rotation.
    TokenId
);
id!(
    /// A registered resource server. Its client id is `gw_` and the 32 hex digits of this id.
    GatewayId
);
id!(
    /// A named part of an organization that gateways attach to.
    EnvironmentId
);
id!(
    /// A signed-in browser or program. Not part of the event log.
    SessionId
);
id!(
    /// A value of the store of personal values, to which an event commits without containing it.
    ValueId
);

impl GatewayId {
    /// The OAuth 2.0 client id: `gw_` and 32 hex digits, free of characters that a client might encode.
    pub fn client_id(self) -> String {
        format!("gw_{}", self.0.simple())
    }

    /// Reads a client id. `None` for anything that is not exactly of its form.
    pub fn from_client_id(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("gw_")?;
        let canonical = hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if canonical { Uuid::try_parse(hex).ok().map(Self) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = "0197c9a0-0000-7000-8000-000000000001";
        assert_eq!(id.parse::<TokenId>().unwrap().to_string(), id);
        for other in [
            "0197c9a000007000800000000000000 1",
            "0197c9a0000070008000000000000001",
            "",
            "{x}",
            "{0197c9a0-0000-7000-8000-000000000001}",
            "urn:uuid:0197c9a0-0000-7000-8000-000000000001",
        ] {
            assert!(other.parse::<TokenId>().is_err(), "{other}");
            let text = serde_json::Value::from(other);
            assert!(serde_json::from_value::<TokenId>(text).is_err(), "{other}");
        }
        assert_eq!(serde_json::from_value::<TokenId>(id.into()).unwrap(), id.parse().unwrap());
    }

    #[test]
    fn a_client_id_goes_there_and_back() {
        let id = GatewayId(Uuid::from_u128(0x0197_c9a0_0000_7000_8000_0000_0000_00ab));
        assert_eq!(GatewayId::from_client_id(&id.client_id()), Some(id));
        assert_eq!(GatewayId::from_client_id(&id.client_id().to_uppercase()), None);
        assert_eq!(GatewayId::from_client_id("gw_"), None);
    }
}
