//! The native API.

pub mod record;
pub mod token_changes;
pub mod tokens;
