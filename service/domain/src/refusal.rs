//! Why a command is refused. Which status code that is, the server chooses in `http/problem/refusals.rs`.

use crate::ids::OrganizationId;
use crate::timestamp::Timestamp;

/// A command that was refused. Nothing of it happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The credential that the command came with has ended, at the command's place in the order.
    #[error("the credential is not valid")]
    Unauthenticated,
    /// The credential lacks a scope.
    #[error("this needs the scope {0:?}")]
    InsufficientScope(&'static str),
    /// The role does not allow it.
    #[error("your role in this organization does not allow this")]
    Forbidden,
    /// What the command is about is not there, or not the actor's: the two cannot be told apart.
    #[error("there is no such thing")]
    NotFound,
    /// As many tokens stand as may.
    #[error("{limit} tokens stand already, the most that may at a time: revoke one to issue another")]
    LimitReached {
        /// The limit.
        limit: usize,
    },
    /// What was asked for would be stronger than what asks for it.
    #[error("a token cannot give more scopes than it has itself")]
    Stronger,
    /// A scope that the organization does not know.
    #[error("unknown scope {0:?}")]
    UnknownScope(String),
    /// A change that would widen.
    #[error("{0} can only be narrowed")]
    Widens(&'static str),
    /// An expiry that has passed.
    #[error("{at} has passed")]
    ExpiryInPast {
        /// The expiry that was asked for.
        at: Timestamp,
    },
    /// The token has ended: expired or revoked.
    #[error("the token has ended and stays as it is: issue another")]
    Ended,
    /// The token was rotated meanwhile.
    #[error("the token was rotated meanwhile: read it again, and rotate what it is now")]
    RotatedMeanwhile,
    /// `If-Match` names another version.
    #[error("it was changed meanwhile: read it again, and repeat this with the ETag that it has now")]
    ChangedMeanwhile,
    /// An overlap above [`crate::token::rotate::LONGEST_OVERLAP`].
    #[error("an overlap is at most {0} seconds")]
    OverlapTooLong(u32),
    /// The e-mail address is another account's.
    #[error("an account has this address already")]
    AddressTaken,
    /// The present password that was given is not the present one.
    #[error("that is not the present password")]
    WrongPassword,
    /// An environment that the organization does not have.
    #[error("there is no such environment")]
    UnknownEnvironment,
    /// The organization exists already; `init` makes one only.
    #[error("an organization exists already")]
    AlreadyInitialized(Option<OrganizationId>),
    /// The clocks disagree: only what narrows is decided until they agree again.
    #[error("the clocks of this node and of the database disagree")]
    ClockUntrusted,
}
