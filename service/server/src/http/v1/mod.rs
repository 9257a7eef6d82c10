//! The native API.

pub mod events;
pub mod record;
pub mod token_changes;
pub mod tokens;
