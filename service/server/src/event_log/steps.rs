//! The named steps of the write path, and a way to break each in a test.

use super::failure::BatchError;
use crate::read_model::tables::LoadError;
use std::sync::Arc;
use std::time::Duration;

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

/// Runs a step, within bounds, or breaks it for a test.
pub(super) async fn step<T>(
    faults: Option<&Faults>,
    step: Step,
    work: impl Future<Output = Result<T, LoadError>>,
) -> Result<T, BatchError> {
    let broken =
        || BatchError::Lost(sqlx::Error::Io(std::io::Error::other(format!("{step:?} was broken by a test"))));
    let fault = faults.and_then(|faults| faults(step));
    if fault == Some(Fault::Before) {
        return Err(broken());
    }
    let done = in_time(work).await?;
    if fault == Some(Fault::After) { Err(broken()) } else { Ok(done) }
}

/// How long one step may take. A connection that went silent is lost: the server's keepalives end its side, and nothing
/// else would end ours.
const STEP: Duration = Duration::from_secs(10);

/// Runs what is part of a step, within bounds.
pub(super) async fn in_time<T>(work: impl Future<Output = Result<T, LoadError>>) -> Result<T, BatchError> {
    match tokio::time::timeout(STEP, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(BatchError::Lost(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))),
    }
}
