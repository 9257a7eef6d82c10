//! The entities in PostgreSQL: loaded for the writer, the applier and the verifier by the same functions, and
//! stored by the writer alone. A row is one folded entity, and what is read back equals what was stored.

pub mod beside;
pub mod changed;
pub mod claims;
mod instant;
pub mod load;
pub mod operator_requests;
mod owners;
pub mod rows;
pub mod standing;
pub mod store;
pub(crate) mod token_copy;
pub mod token_row;

pub(crate) use instant::{StoredInstant, to_sql};

/// A row that no fold can have written: the table was changed by hand, or by a newer version.
#[derive(Debug, thiserror::Error)]
#[error("a row of {table} cannot be read: {what}")]
pub struct Unreadable {
    /// The table.
    pub table: &'static str,
    /// What is wrong.
    pub what: String,
}

/// Why loading failed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The database did not answer, or refused.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// A row makes no sense.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}
