//! Uses of a plaintext, noted in its record: whoever looked it up has that at hand, and needs no second table that is as
//! large as the index.

use counterfoil_domain::timestamp::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering};

/// Uses that were not written yet, in one word: the last one's instant in milliseconds since 2020 (41 bits), through which
/// gateway (12), and how many (11). What does not fit is noted elsewhere.
#[derive(Default)]
pub(crate) struct Uses(AtomicU64);

const COUNT: u32 = 11;
const BY: u32 = 12;
const MOST: u64 = (1 << COUNT) - 1;
/// 2020-01-01, in milliseconds since 1970.
const EPOCH: i64 = 1_577_836_800_000;

/// How a use was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// Before it, there was none.
    First,
    /// Beside others.
    Again,
    /// It was not: there is no room for it.
    NoRoom,
}

/// Uses that are taken to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The last.
    pub(crate) at: Timestamp,
    /// The number of the gateway that it came through.
    pub(crate) by: u32,
    pub(crate) count: u32,
}

impl Uses {
    /// Notes a use through a gateway, by its number.
    pub(crate) fn note(&self, at: Timestamp, by: u32) -> Noted {
        let millis = u64::try_from(at.micros().div_euclid(1000) - EPOCH).unwrap_or(u64::MAX);
        if millis >> (64 - COUNT - BY) != 0 || by >> BY != 0 {
            return Noted::NoRoom;
        }
        let last = millis << BY | u64::from(by);
        let mut old = self.0.load(Ordering::Relaxed);
        loop {
            let count = old & MOST;
            if count == MOST {
                return Noted::NoRoom;
            }
            // Of one instant, any would do as the last.
            let new = (old >> COUNT).max(last) << COUNT | (count + 1);
            match self.0.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return if count == 0 { Noted::First } else { Noted::Again },
                Err(other) => old = other,
            }
        }
    }

    /// Takes what was noted, if anything was.
    pub(crate) fn take(&self) -> Option<Tally> {
        let taken = self.0.swap(0, Ordering::AcqRel);
        let millis = (taken >> (COUNT + BY)) as i64;
        (taken != 0).then(|| Tally {
            at: Timestamp::from_micros((millis + EPOCH) * 1000),
            by: (taken >> COUNT) as u32 & ((1 << BY) - 1),
            count: (taken & MOST) as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros((EPOCH + millis) * 1000)
    }

    #[test]
    fn uses_add_up_and_the_latest_counts_whatever_the_order() {
        let uses = Uses::default();
        assert_eq!(uses.take(), None);
        assert_eq!(uses.note(at(20), 7), Noted::First);
        assert_eq!(uses.note(at(10), 8), Noted::Again);
        assert_eq!(uses.take(), Some(Tally { at: at(20), by: 7, count: 2 }));
        assert_eq!(uses.take(), None);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        let uses = Uses::default();
        let last = at((1 << 41) - 1);
        for (at, by) in [(at(-1), 0), (at(1 << 41), 0), (at(0), 1 << 12)] {
            assert_eq!(uses.note(at, by), Noted::NoRoom);
        }
        assert_eq!(uses.take(), None);
        (0..MOST).for_each(|_| assert_ne!(uses.note(last, (1 << 12) - 1), Noted::NoRoom));
        assert_eq!(uses.note(last, 0), Noted::NoRoom);
        assert_eq!(uses.take(), Some(Tally { at: last, by: (1 << 12) - 1, count: MOST as u32 }));
    }
}
