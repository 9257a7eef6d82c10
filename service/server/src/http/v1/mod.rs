//! The native API.

pub mod events;
pub mod record;
pub mod token_changes;
pub mod token_list;
pub mod tokens;
