//! Whether this node may answer "active": only for a second after it last proved that it holds the serving lock and
//! has applied everything that was committed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long a proof is good for, from the moment before it was asked for.
pub const GOOD_FOR: Duration = Duration::from_secs(1);
/// How long a node that got the serving lock waits before it answers anything: by then nobody else still answers
/// by a proof of its own.
pub const FENCE: Duration = Duration::from_millis(1100);

/// The time until which "active" may be answered, on the clock that goes on while a machine sleeps.
#[derive(Default)]
pub struct Freshness {
    until_nanos: AtomicU64,
    /// Whether the clocks contradict each other: then only what narrows is written.
    clocks_disagree: AtomicBool,
}

impl Freshness {
    /// A proof that was asked for at `sent` (time since boot) has succeeded.
    pub fn proved(&self, sent: Duration) {
        self.until_nanos.fetch_max((sent + GOOD_FOR).as_nanos() as u64, Ordering::Release);
    }

    /// The serving lock was lost, or may have been: nothing is fresh until the next proof.
    pub fn lost(&self) {
        self.until_nanos.store(0, Ordering::Release);
    }

    /// Notes what the writer found of the clocks. True if that is news.
    pub fn note_clocks(&self, agree: bool) -> bool {
        self.clocks_disagree.swap(!agree, Ordering::Relaxed) == agree
    }

    /// Whether the node's clock, the database's and the log's agreed when the writer looked last.
    pub fn clocks_agree(&self) -> bool {
        !self.clocks_disagree.load(Ordering::Relaxed)
    }

    /// Whether "active" may be answered at `now` (time since boot).
    pub fn holds(&self, now: Duration) -> bool {
        (now.as_nanos() as u64) < self.until_nanos.load(Ordering::Acquire)
    }
}
