//! The clocks, judged: the node's own, PostgreSQL's and the log's. Nothing ends for good, and little is written, by clocks
//! that contradict each other.

use super::append::Head;
use crate::clock::Clock;
use counterfoil_domain::ids::Seq;
use counterfoil_domain::state;
use counterfoil_domain::timestamp::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// Two clocks agree if they differ by at most this, in microseconds.
pub(crate) const TOLERANCE: u64 = 2_000_000;

/// The node's clock and the database's, judged. The node's is read before the database is asked for its own, and once it
/// has answered: however long that took, two clocks that agree lie so.
pub fn clocks((asked, node): (Timestamp, Timestamp), steady: Steady, head: &Head) -> state::Clock {
    let lies_between = asked <= head.now && head.now <= node;
    let agree = lies_between || asked.distance(head.now).min(node.distance(head.now)) <= TOLERANCE;
    let log_is_ahead = head.decided_at > head.now.min(node).plus_seconds(2);
    let trusted = agree && steady.is_steady() && !log_is_ahead;
    state::Clock { database: head.now, node, trusted, ends_after: steady.ends_after }
}

/// The instant that the next event is recorded at. Of clocks that are not trusted, the one that lies least ahead: what
/// is recorded in the future would keep the log ahead of every clock until then.
pub(super) fn decided_at(clock: &state::Clock, steady: Steady, head: &Head) -> Timestamp {
    let now = if clock.trusted { clock.database } else { steady.not_after(clock.earliest()) };
    head.decided_at.max(now)
}

/// Whether the wall clock has behaved, and where it would be if it had.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    /// Set where it jumped: the instant by the lowest of what it said within the last minute.
    jumped: Option<Timestamp>,
    /// See [`state::Clock::ends_after`].
    ends_after: Seq,
}

impl Steady {
    /// A clock that was not watched: whoever decides one batch only takes it as it is, and ends nothing by it.
    pub const UNWATCHED: Self = Self { jumped: None, ends_after: Seq::MAX };

    /// Whether the wall clock has kept within two seconds of the time since boot for a minute.
    pub fn is_steady(self) -> bool {
        self.jumped.is_none()
    }

    /// `now`, or what is known to lie before it if the clock has jumped.
    pub fn not_after(self, now: Timestamp) -> Timestamp {
        self.jumped.map_or(now, |lowest| lowest.min(now))
    }
}

/// Since when the clocks are watched. Whoever starts while the machine's clock is wrong, as it is before the network has
/// put it right, sees no jump: for the first moments, what was issued before that is denied by the clock, and not ended.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// By the time since boot.
    pub since: Duration,
    /// The head of the log then.
    pub head: Seq,
}

/// How long clocks are watched before what is older than the watch is ended by them.
pub const WATCHED: Duration = Duration::from_secs(10);

impl Watch {
    /// See [`state::Clock::ends_after`].
    pub fn ends_after(self, clock: &Clock) -> Seq {
        if clock.boottime() >= self.since + WATCHED { 0 } else { self.head }
    }
}

/// Notices a wall clock that jumps: its distance from the time since boot is constant while it behaves.
pub struct SteadyClock {
    watch: Watch,
    samples: VecDeque<(Duration, i64)>,
}

impl SteadyClock {
    /// Begins to look.
    pub fn new(watch: Watch) -> Self {
        Self { watch, samples: VecDeque::new() }
    }

    /// Takes a sample. It must be asked for often, while nothing is written too: a jump shows only between samples.
    pub fn check(&mut self, clock: &Clock) -> Steady {
        let (boot, offset) = read(clock);
        // A sample is kept as old as it was last true, so that a jump is remembered for the whole minute. The last one is
        // compared with however old it is: a clock may come back wrong from a pause of the whole machine.
        let jumps = match self.samples.back_mut() {
            Some((at, last)) => {
                *at = boot;
                last.abs_diff(offset) > 100_000
            }
            None => true,
        };
        if jumps {
            self.samples.push_back((boot, offset));
        }
        while self.samples.front().is_some_and(|(at, _)| *at + Duration::from_secs(60) < boot) {
            self.samples.pop_front();
        }
        let (low, high) =
            self.samples.iter().fold((i64::MAX, i64::MIN), |(low, high), (_, o)| (low.min(*o), high.max(*o)));
        let lowest = Timestamp::from_micros(boot.as_micros() as i64 + low);
        let jumped = (high - low > 2_000_000).then_some(lowest);
        Steady { jumped, ends_after: self.watch.ends_after(clock) }
    }
}

/// The time since boot, and the wall clock's distance from it. Read again where the system was elsewhere in between: that
/// would look like a jump.
fn read(clock: &Clock) -> (Duration, i64) {
    loop {
        let (boot, wall) = (clock.boottime(), clock.now());
        if clock.boottime() - boot < Duration::from_millis(50) {
            return (boot, wall.micros() - boot.as_micros() as i64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterfoil_domain::plaintext::Digest;

    #[test]
    fn clocks_that_agree_do_so_however_long_the_answer_took() {
        let at = |seconds: i64| Timestamp::from_micros(1_000_000_000_000_000 + seconds * 1_000_000);
        let steady = Steady { jumped: None, ends_after: 0 };
        for (database, trusted) in [(-3, false), (-2, true), (1, true), (4, true), (7, true), (8, false)] {
            let head =
                Head { seq: 0, chain: Digest([0; 32]), decided_at: at(-10), now: at(database), is_fit: true };
            assert_eq!(clocks((at(0), at(5)), steady, &head).trusted, trusted, "{database}");
        }
    }

    const HOUR: i64 = 3_600_000_000;

    fn watched() -> (Clock, SteadyClock) {
        let clock = Clock::system();
        let watch = Watch { since: clock.boottime(), head: 7 };
        (clock, SteadyClock::new(watch))
    }

    #[test]
    fn what_is_older_than_the_watch_ends_once_it_was_long_enough() {
        let (clock, mut steady) = watched();
        for (passed, ends_after) in [(0, 7), (9, 7), (2, 0)] {
            clock.pass(Duration::from_secs(passed));
            assert_eq!(steady.check(&clock).ends_after, ends_after);
        }
    }

    #[test]
    fn a_jump_within_a_long_pause_is_a_jump() {
        let (clock, mut steady) = watched();
        assert!(steady.check(&clock).is_steady());
        clock.pass(Duration::from_secs(3600));
        clock.set_offset(HOUR);
        for passed in [0, 30, 29] {
            clock.pass(Duration::from_secs(passed));
            assert!(!steady.check(&clock).is_steady());
        }
        clock.pass(Duration::from_secs(2));
        assert!(steady.check(&clock).is_steady());
    }

    #[test]
    fn a_jump_is_remembered_for_a_minute() {
        for hour in [HOUR, -HOUR, 2_500_000] {
            let (clock, mut steady) = watched();
            assert!(steady.check(&clock).is_steady());
            clock.set_offset(hour);
            assert!(!steady.check(&clock).is_steady());
            for _ in 0..59 {
                clock.pass(Duration::from_secs(1));
                assert!(!steady.check(&clock).is_steady());
            }
            clock.pass(Duration::from_secs(2));
            assert!(steady.check(&clock).is_steady());
        }
    }

    #[test]
    fn what_drifts_or_stands_still_for_long_has_not_jumped() {
        let (clock, mut steady) = watched();
        for second in 0..600 {
            clock.set_offset(second * 1_000);
            clock.pass(Duration::from_secs(1));
            assert!(steady.check(&clock).is_steady());
        }
        clock.pass(Duration::from_secs(7 * 24 * 3600));
        assert!(steady.check(&clock).is_steady());
    }

    #[test]
    fn after_a_jump_the_time_before_it_goes_on() {
        let (clock, mut steady) = watched();
        steady.check(&clock);
        clock.set_offset(HOUR);
        clock.pass(Duration::from_secs(10));
        let jumped = clock.now();
        let judged = steady.check(&clock).not_after(jumped);
        assert!(judged.distance(jumped.plus_seconds(-3600)) < 1_000_000, "{judged}");
    }
}
