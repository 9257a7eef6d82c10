//! Who asks. The door that a request came in by has looked at its credential already; the writer asks again at
//! the command's place in the order, or a stolen token would outlive a delete-all in the queue.

use crate::ids::{GatewayId, SessionId, TokenId, UserId};
use serde::{Deserialize, Serialize};

/// Who asked for a command, as it stands in the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
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
