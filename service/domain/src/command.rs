//! Commands: what is asked for, complete. A command carries everything that is random or secret ready made (ids,
//! digests, salts), so that deciding is a pure function.

use crate::actor::Actor;
use crate::event::Event;
use crate::gateway_commands::{ChangeGateway, IssueGatewayToken, RegisterGateway};
use crate::ids::{GatewayId, OrganizationId, SessionId, TokenId, UserId};
use crate::if_match::IfMatch;
use crate::members::AddMember;
use crate::people::{Bootstrap, OpenSession, SetPassword};
use crate::plaintext::Digest;
use crate::refusal::Refusal;
use crate::token::Reason;
use crate::token::change::ChangeToken;
use crate::token::issue::IssuePersonal;
use crate::token::rotate::Rotate;
use crate::value::Value;
use uuid::Uuid;

/// A command.
#[derive(Clone, Debug)]
pub struct Command {
    /// Who asks.
    pub actor: Actor,
    /// The request that it came in.
    pub request_id: Uuid,
    /// The organization in which it is asked.
    pub organization: OrganizationId,
    /// What is asked for.
    pub action: Action,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub enum Action {
    /// Issue a personal token for the actor.
    IssuePersonal(IssuePersonal),
    /// Rename or narrow a token.
    ChangeToken(ChangeToken),
    /// Give a token another plaintext.
    Rotate(Rotate),
    /// Switch a token off, to be switched on again.
    Disable {
        /// Which.
        id: TokenId,
        /// What the caller saw.
        if_match: IfMatch,
        /// Why.
        reason: Option<Reason>,
    },
    /// Switch a token on again.
    Enable {
        /// Which.
        id: TokenId,
        /// What the caller saw.
        if_match: IfMatch,
    },
    /// End a token for good.
    Revoke {
        /// Which.
        id: TokenId,
        /// What the caller saw.
        if_match: IfMatch,
        /// Why.
        reason: Option<Reason>,
    },
    /// End all of the actor's personal tokens.
    RevokeAll {
        /// Why.
        reason: Option<Reason>,
        /// Whether the actor's sessions end too.
        sessions: bool,
    },
    /// End the token of a presented plaintext (RFC 7009), by its holder or by a gateway.
    RevokeHeld {
        /// The token that the digest led to.
        id: TokenId,
        /// The digest of what was presented.
        digest: Digest,
    },
    /// The present plaintext was used: the earlier one of an `until_used` rotation ends.
    EndPrevious {
        /// Which token.
        id: TokenId,
        /// The number of the plaintext that was used.
        generation: u32,
    },
    /// Record the expiry of these tokens, as far as it has come.
    Sweep {
        /// Which.
        tokens: Vec<TokenId>,
    },
    /// Register a gateway with its first token.
    RegisterGateway(RegisterGateway),
    /// Change a gateway's registration.
    ChangeGateway(ChangeGateway),
    /// Remove a gateway and its tokens.
    RemoveGateway {
        /// Which.
        id: GatewayId,
        /// What the caller saw.
        if_match: IfMatch,
        /// Why.
        reason: Option<Reason>,
    },
    /// Issue another token for a gateway.
    IssueGatewayToken(IssueGatewayToken),
    /// Revoke one of a gateway's tokens.
    RevokeGatewayToken {
        /// Whose.
        gateway: GatewayId,
        /// Which.
        id: TokenId,
        /// What the caller saw.
        if_match: IfMatch,
        /// Why.
        reason: Option<Reason>,
    },
    /// Make the first organization, with its owner, its environment and its gateway.
    Bootstrap(Box<Bootstrap>),
    /// Make an account without a password, as a member.
    AddMember(AddMember),
    /// Set a user's password and end the user's sessions.
    SetPassword(SetPassword),
    /// Open a session, after a password was checked.
    OpenSession(OpenSession),
    /// End one session.
    EndSession {
        /// Which.
        id: SessionId,
    },
    /// End all of the actor's sessions.
    EndAllSessions,
}

impl Action {
    /// Whether it can only take away. What narrows goes first, and goes on while clocks cannot be trusted.
    pub fn narrows(&self) -> bool {
        match self {
            Self::Disable { .. }
            | Self::Revoke { .. }
            | Self::RevokeAll { .. }
            | Self::RevokeHeld { .. }
            | Self::EndPrevious { .. }
            | Self::RemoveGateway { .. }
            | Self::RevokeGatewayToken { .. }
            | Self::EndSession { .. }
            | Self::EndAllSessions => true,
            Self::ChangeToken(change) => change.note.is_none(),
            Self::IssuePersonal(_)
            | Self::Rotate(_)
            | Self::Enable { .. }
            | Self::Sweep { .. }
            | Self::RegisterGateway(_)
            | Self::ChangeGateway(_)
            | Self::IssueGatewayToken(_)
            | Self::Bootstrap(_)
            | Self::AddMember(_)
            | Self::SetPassword(_)
            | Self::OpenSession(_) => false,
        }
    }

    /// Whether it can wait for everything else: the sweeper's work.
    pub fn can_wait(&self) -> bool {
        matches!(self, Self::Sweep { .. })
    }
}

/// What a decision comes to.
#[derive(Debug)]
pub enum Decision {
    /// It happens.
    Happened(Effects, Answer),
    /// Nothing is left to do: asking twice is fine.
    AlreadySo(Answer),
}

/// The result of deciding one command.
pub type Decided = Result<Decision, Refusal>;

/// What happens, all in one transaction.
#[derive(Debug, Default)]
pub struct Effects {
    /// Events in order, each with the organization that it belongs to.
    pub events: Vec<(Option<OrganizationId>, Event)>,
    /// What is stored beside the log because it may be erased, or must be secret.
    pub writes: Vec<Write>,
}

impl Effects {
    /// One event.
    pub fn event(organization: Option<OrganizationId>, event: Event) -> Self {
        Self { events: vec![(organization, event)], writes: Vec::new() }
    }

    /// Adds an event.
    pub fn and(mut self, organization: Option<OrganizationId>, event: Event) -> Self {
        self.events.push((organization, event));
        self
    }

    /// Adds a write.
    pub fn write(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }

    /// Adds a personal value, if there is one.
    pub fn value(self, subject: Uuid, value: Option<&Value>) -> Self {
        match value {
            Some(value) => self.write(Write::Value { subject, value: value.clone() }),
            None => self,
        }
    }
}

/// A write beside the log.
#[derive(Clone, Debug)]
pub enum Write {
    /// A personal value.
    Value {
        /// Whom it is about: erased with that subject.
        subject: Uuid,
        /// The value.
        value: Value,
    },
    /// The address by which a user signs in, folded for comparison.
    SignInName {
        /// Whose.
        user: UserId,
        /// The folded address.
        key: String,
    },
    /// A password's hash, as a PHC string.
    PasswordHash {
        /// Whose.
        user: UserId,
        /// The hash.
        hash: SecretText,
    },
    /// A new session.
    OpenSession(OpenSession),
    /// One session ends.
    EndSession(SessionId),
    /// A user's sessions end.
    EndSessionsOf {
        /// Whose.
        user: UserId,
        /// The one that goes on.
        except: Option<SessionId>,
    },
}

/// Text that has no telling `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(pub String);

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// What a caller is told of a success. The entities themselves are read from the state after the fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing beyond the success.
    Done,
    /// The token as it is now.
    Token(TokenId),
    /// The gateway as it is now, with the token that was issued for it, if one was.
    Gateway(GatewayId, Option<TokenId>),
    /// How many tokens were ended.
    Count(usize),
}
