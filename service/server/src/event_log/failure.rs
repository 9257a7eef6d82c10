//! What becomes of a batch that fails: whether anything of it happened, whose fault it is, and whether to try again.

use super::batch::Committed;
use super::session::SessionError;
use crate::read_model::applier::ApplyError;
use crate::read_model::freshness::Doubt;
use crate::read_model::tables::LoadError;
use counterfoil_domain::fold::FoldError;
use std::error::Error;

/// Why a command was not done, or may not have been, though nothing is wrong with it: it may be asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// Nothing was done: this node can prove nothing, so it writes nothing.
    InDoubt(Doubt),
    /// Nothing was done: the database has no room, or other trouble of its own.
    NotStored,
    /// Nothing was done: too many commands wait.
    TooMany,
    /// It may have been done, or may still be: the database did not say in time.
    Unknown,
}

/// Why a batch was not committed, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// There was no session to run it on.
    #[error(transparent)]
    NoSession(SessionError),
    /// The session cannot keep promises any more, so nothing was decided on it.
    #[error(transparent)]
    Unfit(SessionError),
    /// What others had appended could not be applied, so nothing was decided.
    #[error("the index could not be brought up to the log: {0}")]
    Behind(#[source] ApplyError),
    /// Nothing of it happened.
    #[error("{0}")]
    Definite(#[source] Box<dyn Error + Send + Sync>),
    /// The connection was lost before COMMIT was sent: nothing of it happened.
    #[error("the connection was lost before the commit: {0}")]
    Lost(#[source] sqlx::Error),
    /// The connection was lost at COMMIT, and the log does not have it: nothing of it happened.
    #[error("the commit did not arrive: {0}")]
    NotThere(#[source] sqlx::Error),
    /// The connection was lost at COMMIT: these records are in the log, or none of them.
    #[error("the outcome of a commit is unknown: {source}")]
    Unknown {
        /// The driver's error.
        source: sqlx::Error,
        /// What the log holds if it was committed.
        committed: Box<Committed>,
    },
}

impl BatchError {
    /// What it means for the callers, where it is no command's fault.
    pub fn not_now(&self) -> NotNow {
        match self {
            Self::NoSession(error) | Self::Unfit(error) => NotNow::InDoubt(error.doubt()),
            Self::Behind(error) => NotNow::InDoubt(error.doubt()),
            Self::Definite(_) => NotNow::NotStored,
            Self::Lost(error) | Self::NotThere(error) => NotNow::InDoubt(doubt(error)),
            Self::Unknown { .. } => NotNow::Unknown,
        }
    }
}

/// What an error that ended a session says of the database.
pub fn doubt(error: &sqlx::Error) -> Doubt {
    match error {
        sqlx::Error::Database(error) if error.code().is_some_and(|code| code.starts_with("57P")) => {
            Doubt::Recovering
        }
        _ => Doubt::Unreachable,
    }
}

impl From<LoadError> for BatchError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Database(error) => error.into(),
            LoadError::Unreadable(error) => Self::Definite(Box::new(error)),
        }
    }
}

impl From<ApplyError> for BatchError {
    fn from(error: ApplyError) -> Self {
        match error.into_lost() {
            Ok(error) => Self::Lost(error),
            Err(error) => Self::Behind(error),
        }
    }
}

impl From<sqlx::Error> for BatchError {
    fn from(error: sqlx::Error) -> Self {
        if connection_is_gone(&error) { Self::Lost(error) } else { Self::Definite(Box::new(error)) }
    }
}

impl From<FoldError> for BatchError {
    fn from(error: FoldError) -> Self {
        Self::Definite(Box::new(error))
    }
}

impl From<serde_json::Error> for BatchError {
    fn from(error: serde_json::Error) -> Self {
        Self::Definite(Box::new(error))
    }
}

/// Whether an error means that the session is over. Codes, not texts: class 57 is the server's end of sessions.
pub fn connection_is_gone(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| code.starts_with("57P") || code.starts_with("08") || code == "25P03"),
        // The driver's own doubts about one statement: the session goes on, and the command is at fault.
        sqlx::Error::RowNotFound
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::InvalidArgument(_)
        | sqlx::Error::TypeNotFound { .. } => false,
        _ => true,
    }
}

/// Whether a definite error is the database's trouble and not a command's fault: no room (class 53), a failing disk
/// (58), a rollback that may be tried again (40), a canceled statement, a lock that was not got, a standby.
pub fn may_pass(error: &(dyn Error + 'static)) -> bool {
    let Some(sqlx::Error::Database(error)) = error.downcast_ref::<sqlx::Error>() else { return false };
    error.code().is_some_and(|code| {
        ["53", "58", "40"].iter().any(|class| code.starts_with(class))
            || ["57014", "55P03", "25006"].contains(&&*code)
    })
}
