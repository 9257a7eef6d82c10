//! The entities that events fold into.

use crate::command::Write;
use crate::gateway::Gateway;
use crate::ids::{EnvironmentId, GatewayId, OrganizationId, Seq, SessionId, TokenId, UserId, ValueId};
use crate::organization::{Environment, Organization};
use crate::timestamp::Timestamp;
use crate::token::Token;
use crate::user::User;
use crate::value::Value;
use std::collections::HashMap;

/// What is known at a position of the log: everything after a replay, or what a batch of commands names. The two
/// are the same type, so that nothing can be folded in two ways.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The last event that was folded.
    pub head: Seq,
    /// Whether an organization exists. Loaded where a command asks for it, folded everywhere.
    pub initialized: bool,
    /// Tenants.
    pub organizations: HashMap<OrganizationId, Organization>,
    /// Parts of tenants.
    pub environments: HashMap<EnvironmentId, Environment>,
    /// Accounts.
    pub users: HashMap<UserId, User>,
    /// Resource servers.
    pub gateways: HashMap<GatewayId, Gateway>,
    /// Tokens, ended ones included. Boxed: there may be millions, and half of a large table is empty.
    pub tokens: HashMap<TokenId, Box<Token>>,
    /// Sessions that actors of this batch presented. Not folded: a session is no event.
    pub sessions: HashMap<SessionId, Session>,
    /// Whose an e-mail address is, folded, for the addresses that commands name. Not folded from events, which do not
    /// hold it.
    pub sign_in_names: HashMap<String, UserId>,
    /// Personal values that a command must be compared with. Not folded.
    pub values: HashMap<ValueId, Value>,
}

impl State {
    /// Takes in what a command stores beside the log, so that the next command of the batch sees it: a session that has
    /// just ended acts no more.
    pub fn write(&mut self, write: &Write) {
        match write {
            Write::Value { value, .. } => drop(self.values.insert(value.id, value.clone())),
            Write::SignInName { user, key } => drop(self.sign_in_names.insert(key.clone(), *user)),
            Write::PasswordHash { .. } => {}
            Write::OpenSession(open) => {
                let session = Session { user: open.user, expires_at: open.expires_at };
                self.sessions.insert(open.id, session);
            }
            Write::EndSession(id) => drop(self.sessions.remove(id)),
            Write::EndSessionsOf { user, except } => {
                self.sessions.retain(|id, session| session.user != *user || *except == Some(*id));
            }
        }
    }
}

/// A session as the store has it. An ended one is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Whose.
    pub user: UserId,
    /// From when on it counts no more.
    pub expires_at: Timestamp,
}

/// The clocks that a decision is made by. Ending for good needs both to agree; denying needs one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// PostgreSQL's, read in the transaction.
    pub database: Timestamp,
    /// The node's own.
    pub node: Timestamp,
    /// False while the two differ, one has jumped, or the log is ahead: then only what narrows is decided.
    pub trusted: bool,
    /// Only tokens that were issued after this event are ended for good. Zero once the clocks were watched for long
    /// enough: of a clock that was wrong before anybody looked, nobody knows.
    pub ends_after: Seq,
}

impl Clock {
    /// What has expired by either clock is denied.
    pub fn latest(&self) -> Timestamp {
        self.database.max(self.node)
    }

    /// Only what has expired by both clocks is ended for good.
    pub fn earliest(&self) -> Timestamp {
        self.database.min(self.node)
    }
}
