//! A server that dies while it is in use is started again.

use super::locks::Lock;
use super::server::Server;
use super::{GATE, log};
use crate::ops::recurring::Recurring;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often it is looked whether the server runs: two small files are read.
const LOOK: Duration = Duration::from_millis(100);

/// The longest pause between two tries: what was in the way, such as a full volume, may be gone at any time.
const MOST: Duration = Duration::from_secs(1);

/// Watches until the server is given up. `homes` are the directories whose gates are held for a start.
pub(crate) async fn watch(server: Arc<Server>, homes: Vec<PathBuf>) {
    let mut bounded = Instant::now();
    let mut pause = LOOK;
    let mut troubles = Recurring::new();
    while !server.leaving.load(Ordering::Acquire) {
        sleep(pause.min(LOOK)).await;
        if server.running().is_some() {
            pause = LOOK;
        } else if bounded.elapsed() >= pause {
            pause = match again(&server, &homes, &mut troubles).await {
                Ok(()) => LOOK,
                Err(error) => {
                    if let Some(untold) = troubles.failed("it cannot be started", Instant::now()) {
                        tracing::error!(%error, untold, "the private PostgreSQL is down");
                    }
                    (pause * 2).clamp(Duration::from_millis(500), MOST)
                }
            };
            bounded = Instant::now();
        }
        if bounded.elapsed() > Duration::from_secs(60) {
            log::bound(&server.cluster);
            bounded = Instant::now();
        }
    }
}

async fn again(
    server: &Server,
    homes: &[PathBuf],
    troubles: &mut Recurring<&'static str>,
) -> Result<(), super::PrivateError> {
    let say = |sentence: &str| tracing::warn!("{sentence}");
    let mut gates = Vec::new();
    for home in homes {
        gates.push(Lock::exclusive(&home.join(GATE), &say).await?);
    }
    // Somebody else may have started it, or given it up, while the gate was waited for.
    if server.running().is_some() || server.leaving.load(Ordering::Acquire) {
        return Ok(());
    }
    if let Some(untold) = troubles.failed("it has ended", Instant::now()) {
        tracing::error!(untold, "the private PostgreSQL has ended; starting it again");
    }
    server.start(&say).await
}
