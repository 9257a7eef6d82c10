//! The named steps of the write path, and a way to break each in a test.

use std::sync::Arc;

/// A step of the write path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// BEGIN, and the append lock.
    Lock,
    /// Loading what the commands name.
    Load,
    /// Inserting the events.
    Events,
    /// Storing the changed entities and their claims.
    Entities,
    /// Storing what stands beside the log.
    Beside,
    /// COMMIT.
    Commit,
}

impl Step {
    /// Every step in order.
    pub const ALL: [Self; 6] =
        [Self::Lock, Self::Load, Self::Events, Self::Entities, Self::Beside, Self::Commit];
}

/// How a test breaks a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It did not happen, and the connection is gone.
    Before,
    /// It happened, but we were told that it failed, and the connection is gone.
    After,
}

/// Asked at every step; `None` everywhere but in tests.
pub type Faults = Arc<dyn Fn(Step) -> Option<Fault> + Send + Sync>;
