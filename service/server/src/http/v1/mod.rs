//! The native API.

pub mod events;
pub mod gateway_changes;
pub mod gateway_tokens;
pub mod gateways;
pub mod password;
pub mod record;
pub mod session;
pub mod token_changes;
pub mod token_list;
pub mod tokens;
pub mod user;
