//! Counterfoil: an event-sourced, multi-tenant token service. `ARCHITECTURE.md` leads through the house.

pub mod config;
pub mod postgres;
pub mod http;
pub mod ops;
