//! PostgreSQL: the private cluster, roles and migrations, and how the service connects.

pub mod connect;
pub mod migrate;
pub mod private;
