//! What an operator sees and sets: metrics, logs, rate limits, the drain.

pub mod drain;
pub mod metrics;
pub mod rates;
pub mod telemetry;
