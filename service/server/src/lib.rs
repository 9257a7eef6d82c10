//! Counterfoil: an event-sourced, multi-tenant token service. `ARCHITECTURE.md` leads through the house.

pub mod app;
pub mod clock;
pub mod config;
pub mod event_log;
pub mod http;
pub mod init;
pub mod operator;
pub mod ops;
pub mod passwords;
pub mod postgres;
pub mod read_model;
pub mod sign_in_limit;
