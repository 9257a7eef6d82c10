//! What an operator sees and sets: metrics, logs, rate limits, the drain, and what `doctor` finds.

pub mod doctor;
pub mod drain;
pub mod feeds;
pub mod memory;
pub mod metrics;
pub mod rates;
pub mod recurring;
pub mod telemetry;
