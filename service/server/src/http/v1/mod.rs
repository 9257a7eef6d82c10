//! The native API.

pub mod conditions;
pub mod events;
pub mod fields;
pub mod gateway_changes;
pub mod gateway_tokens;
pub mod gateways;
pub mod password;
pub mod record;
pub mod session;
pub mod token_changes;
pub mod token_list;
pub mod token_rotation;
pub mod tokens;
pub mod user;
