//! Long runs show that they go on, and say at the end how quick they were.

use super::say;
use counterfoil::event_log::verify::Progress;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How many events in how long.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Measured {
    events: u64,
    seconds: f64,
    events_per_second: u64,
}

impl Measured {
    /// The same time for another number of events.
    pub(crate) fn of(self, events: u64) -> Self {
        let events_per_second = (events as f64 / self.seconds.max(1e-6)) as u64;
        Self { events, seconds: self.seconds, events_per_second }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events in {:.1} s, {} a second", self.events, self.seconds, self.events_per_second)
    }
}

/// How often a long run says how far it is.
const EVERY: Duration = Duration::from_secs(2);

/// Runs something long, and says on standard error now and then how far it is.
pub(crate) async fn shown<T, E, F: Future<Output = Result<T, E>>>(
    done: &str,
    work: impl FnOnce(Arc<Progress>) -> F,
) -> Result<(T, Measured), E> {
    let progress = Arc::new(Progress::default());
    let start = Instant::now();
    let mut work = std::pin::pin!(work(progress.clone()));
    let mut ticks = tokio::time::interval(EVERY);
    ticks.tick().await;
    let result = loop {
        tokio::select! {
            result = work.as_mut() => break result?,
            _ = ticks.tick() => say(&so_far(done, &progress)),
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    Ok((result, Measured { events: 0, seconds, events_per_second: 0 }))
}

fn so_far(done: &str, progress: &Progress) -> String {
    let [events, all, rows] =
        [&progress.events, &progress.all, &progress.rows].map(|count| count.load(Ordering::Relaxed));
    match (all, rows) {
        (0, _) => format!("{done} {events} events"),
        (_, 0) => format!("{done} {events} of {all} events"),
        _ => format!("{done} {events} of {all} events, and {rows} rows"),
    }
}
