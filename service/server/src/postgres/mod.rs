//! PostgreSQL: the private cluster, connections and what start-up asserts about them.

pub mod private;
