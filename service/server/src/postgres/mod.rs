//! PostgreSQL: the private cluster, roles and migrations, and how the service connects.

pub mod connect;
pub mod copy;
pub(crate) mod given;
pub mod migrate;
mod patience;
pub(crate) mod pooler;
pub mod private;
pub mod roles;
pub mod settings;
pub(crate) mod version;
