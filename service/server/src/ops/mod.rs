//! Operations: logs, metrics, health, lifecycle, doctor.

pub mod metrics;
pub mod telemetry;
