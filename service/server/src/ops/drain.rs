//! How the service stops: not ready, then no new connections, then the end.

use std::sync::Arc;
use tokio::sync::watch;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It serves.
    Serving,
    /// It serves, and `/readyz` says 503, so that balancers look elsewhere.
    Leaving,
    /// No new connections, idle ones are closed, requests under way are answered, streams end at a whole line.
    Draining,
}

/// The stage of one service. Clones share it.
#[derive(Clone, Debug)]
pub struct Drain(Arc<watch::Sender<Stage>>);

impl Default for Drain {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Stage::Serving)))
    }
}

impl Drain {
    /// Goes on to a stage. There is no way back.
    pub fn reach(&self, stage: Stage) {
        self.0.send_if_modified(|now| std::mem::replace(now, stage.max(*now)) != *now);
    }

    /// Whether the service is about to stop.
    pub fn is_leaving(&self) -> bool {
        *self.0.borrow() >= Stage::Leaving
    }

    /// Waits until a stage is reached. What streams for long ends when [`Stage::Draining`] is.
    pub async fn reached(&self, stage: Stage) {
        // The sender is alive as long as `self`.
        let _ = self.0.subscribe().wait_for(|now| *now >= stage).await;
    }
}
