//! Whether this node may answer "active": only for a second after it last proved that it holds the serving lock and
//! has applied everything that was committed. Where it may not, it says why.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// How long a proof is good for, from the moment before it was asked for.
pub const GOOD_FOR: Duration = Duration::from_secs(1);
/// How long a node that got the serving lock waits before it answers anything: by then nobody else still answers
/// by a proof of its own.
pub const FENCE: Duration = Duration::from_millis(1100);

/// Why nothing can be called active, and nothing written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Nothing has been proved yet.
    Starting,
    /// The database does not answer.
    Unreachable,
    /// The database says that it starts, recovers or stops.
    Recovering,
    /// The database is a standby, or has settings under which no promise could be kept.
    Unfit,
    /// Another service holds the serving lock.
    AnotherServes,
    /// The database answers, and the index cannot be brought up to the log.
    Behind,
    /// The log is not the one that was applied.
    AnotherLog,
}

impl Doubt {
    /// All of them, in this order.
    pub const ALL: [Self; 7] = [
        Self::Starting,
        Self::Unreachable,
        Self::Recovering,
        Self::Unfit,
        Self::AnotherServes,
        Self::Behind,
        Self::AnotherLog,
    ];
}

/// The time until which "active" may be answered, on the clock that goes on while a machine sleeps.
#[derive(Default)]
pub struct Freshness {
    until_nanos: AtomicU64,
    /// A place in [`Doubt::ALL`]: why there will be no proof, or why there was none when the last one has run out.
    doubt: AtomicU8,
    /// Whether the clocks contradict each other: then only what narrows is written.
    clocks_disagree: AtomicBool,
}

impl Freshness {
    /// A proof that was asked for at `sent` (time since boot) has succeeded. If no other follows it, that is because
    /// the database does not answer.
    pub fn proved(&self, sent: Duration) {
        self.doubt.store(Doubt::Unreachable as u8, Ordering::Relaxed);
        self.until_nanos.fetch_max((sent + GOOD_FOR).as_nanos() as u64, Ordering::Release);
    }

    /// The serving lock was lost, or may have been, or the index is behind: nothing is fresh until the next proof.
    pub fn lost(&self, doubt: Doubt) {
        self.doubt.store(doubt as u8, Ordering::Relaxed);
        self.until_nanos.store(0, Ordering::Release);
    }

    /// Why nothing is fresh, where [`Self::holds`] says so.
    pub fn doubt(&self) -> Doubt {
        let place = usize::from(self.doubt.load(Ordering::Relaxed));
        Doubt::ALL.get(place).copied().unwrap_or(Doubt::Starting)
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
