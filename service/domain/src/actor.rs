//! Who asks. The door that a request came in by has looked at its credential already; the writer asks again at
//! the command's place in the order, or a stolen token would outlive a delete-all in the queue.

use crate::ids::{GatewayId, SessionId, TokenId, UserId};
use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// Who asked for a command, as it stands in the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", try_from = "Written")]
pub enum Actor {
    /// The holder of a personal token, who acts as its user.
    Token {
        /// The token that was presented.
        token_id: TokenId,
        /// Which of its plaintexts.
        generation: u32,
        /// Its user.
        user_id: UserId,
    },
    /// A signed-in user.
    Session {
        /// The session that was presented.
        session_id: SessionId,
        /// Its user.
        user_id: UserId,
    },
    /// A resource server, by one of its gateway tokens.
    Gateway {
        /// The resource server.
        gateway_id: GatewayId,
        /// The gateway token that was presented.
        token_id: TokenId,
    },
    /// Whoever holds a token's plaintext, which is enough to end it (RFC 7009).
    Holder {
        /// The token that was presented.
        token_id: TokenId,
    },
    /// Somebody with the database, at the command line.
    Operator {
        /// The subcommand.
        command: String,
    },
    /// The service itself: the sweeper, and the end of an earlier plaintext at the first use of the next.
    System,
}

/// An actor as it is read. The fields of all kinds side by side: serde would keep what it reads of a tagged enum aside until
/// it knows the kind, and a log is millions of actors.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: Kind,
    #[serde(default, deserialize_with = "given")]
    token_id: Option<TokenId>,
    #[serde(default, deserialize_with = "given")]
    generation: Option<u32>,
    #[serde(default, deserialize_with = "given")]
    user_id: Option<UserId>,
    #[serde(default, deserialize_with = "given")]
    session_id: Option<SessionId>,
    #[serde(default, deserialize_with = "given")]
    gateway_id: Option<GatewayId>,
    #[serde(default, deserialize_with = "given")]
    command: Option<String>,
}

enum Kind {
    Token,
    Session,
    Gateway,
    Holder,
    Operator,
    System,
}

impl<'de> Deserialize<'de> for Kind {
    /// From a text only: where serde derives this, it takes an object, too.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Kind;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the kind of an actor")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Kind, E> {
                match name {
                    "token" => Ok(Kind::Token),
                    "session" => Ok(Kind::Session),
                    "gateway" => Ok(Kind::Gateway),
                    "holder" => Ok(Kind::Holder),
                    "operator" => Ok(Kind::Operator),
                    "system" => Ok(Kind::System),
                    other => Err(E::invalid_value(Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_str(Name)
    }
}

/// A field that is there has a value.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl TryFrom<Written> for Actor {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written { kind, token_id, generation, user_id, session_id, gateway_id, command } = written;
        match (kind, token_id, generation, user_id, session_id, gateway_id, command) {
            (Kind::Token, Some(token_id), Some(generation), Some(user_id), None, None, None) => {
                Ok(Self::Token { token_id, generation, user_id })
            }
            (Kind::Session, None, None, Some(user_id), Some(session_id), None, None) => {
                Ok(Self::Session { session_id, user_id })
            }
            (Kind::Gateway, Some(token_id), None, None, None, Some(gateway_id), None) => {
                Ok(Self::Gateway { gateway_id, token_id })
            }
            (Kind::Holder, Some(token_id), None, None, None, None, None) => Ok(Self::Holder { token_id }),
            (Kind::Operator, None, None, None, None, None, Some(command)) => Ok(Self::Operator { command }),
            (Kind::System, None, None, None, None, None, None) => Ok(Self::System),
            _ => Err("an actor has the fields of its kind, and no others"),
        }
    }
}

impl Actor {
    /// The user that this actor acts as.
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::Token { user_id, .. } | Self::Session { user_id, .. } => Some(*user_id),
            _ => None,
        }
    }

    /// The token that was presented.
    pub fn token(&self) -> Option<TokenId> {
        match self {
            Self::Token { token_id, .. } | Self::Gateway { token_id, .. } | Self::Holder { token_id } => {
                Some(*token_id)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use uuid::Uuid;

    #[test]
    fn an_actor_is_read_as_it_was_written_and_nothing_else_is() {
        let id = |n| Uuid::from_u128(n);
        let (token_id, user_id) = (TokenId(id(1)), UserId(id(2)));
        let (session_id, gateway_id) = (SessionId(id(3)), GatewayId(id(4)));
        for actor in [
            Actor::Token { token_id, generation: 7, user_id },
            Actor::Session { session_id, user_id },
            Actor::Gateway { gateway_id, token_id },
            Actor::Holder { token_id },
            Actor::Operator { command: "init".into() },
            Actor::System,
        ] {
            let written = serde_json::to_value(&actor).unwrap();
            let read = |value: &Value| serde_json::from_value::<Actor>(value.clone());
            assert_eq!(read(&written).unwrap(), actor);
            let fields = written.as_object().unwrap();
            let (mut object, mut number) = (written.clone(), written.clone());
            object["kind"] = json!({ fields["kind"].as_str().unwrap(): null });
            number["kind"] = json!(0);
            assert!(read(&object).is_err() && read(&number).is_err(), "{actor:?}");
            for name in
                ["kind", "token_id", "generation", "user_id", "session_id", "gateway_id", "command", "other"]
            {
                let mut changed = written.clone();
                let value = if name == "generation" { json!(1) } else { json!(id(9)) };
                if fields.contains_key(name) {
                    changed[name] = Value::Null;
                    assert!(read(&changed).is_err(), "{changed}");
                    changed.as_object_mut().unwrap().remove(name);
                } else {
                    changed[name] = value;
                }
                assert!(read(&changed).is_err(), "{changed}");
            }
        }
    }
}
