//! The read models: everything that is derived from the event log.

pub mod applier;
mod client_uses;
pub mod digest_index;
pub mod freshness;
pub mod gateways;
pub mod lists;
pub mod people;
pub mod sessions;
pub mod tables;
pub mod usage;
