//! The read models: everything that is derived from the event log.

pub mod digest_index;
pub mod tables;
