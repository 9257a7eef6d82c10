//! Failures that go on: the log is told once, and then how many there were.

use std::time::Duration;
use tokio::time::Instant;

/// How often the log is told of failures of one kind, at most.
const EVERY: Duration = Duration::from_secs(10);

/// See the module. One for each thing that can fail again and again; `K` says in which way.
#[derive(Debug)]
pub struct Recurring<K> {
    /// When the present ten seconds began.
    since: Option<Instant>,
    /// What was told within them.
    told: Vec<K>,
    /// How many failures were not told.
    untold: u64,
    /// Whether the log has it that something fails.
    failing: bool,
}

impl<K> Default for Recurring<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> Recurring<K> {
    /// Nothing has failed.
    pub const fn new() -> Self {
        Self { since: None, told: Vec::new(), untold: 0, failing: false }
    }

    /// Notes that it went well. `Some` if that is news for the log: how many failures it was not told of.
    pub fn over(&mut self) -> Option<u64> {
        std::mem::take(&mut self.failing).then(|| std::mem::take(&mut self.untold))
    }
}

impl<K: PartialEq> Recurring<K> {
    /// Notes a failure. `Some` if the log is to be told of this one: how many before it were not told.
    pub fn failed(&mut self, kind: K, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now - since >= EVERY) {
            (self.since, self.told) = (Some(now), Vec::new());
        }
        if self.told.contains(&kind) {
            self.untold += 1;
            return None;
        }
        self.told.push(kind);
        self.failing = true;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_in_ten_seconds_with_the_number_of_the_others() {
        let (mut failures, begun) = (Recurring::new(), Instant::now());
        let told: Vec<_> = (0..250)
            .filter_map(|tenth| failures.failed((), begun + Duration::from_millis(tenth * 100)))
            .collect();
        assert_eq!(told, [0, 99, 99]);
        assert_eq!((failures.over(), failures.over()), (Some(49), None));
    }

    #[test]
    fn another_way_to_fail_is_told_at_once() {
        let (mut failures, now) = (Recurring::new(), Instant::now());
        let told = ["silent", "silent", "refused", "silent"].map(|kind| failures.failed(kind, now));
        assert_eq!(told, [Some(0), None, Some(1), None]);
    }

    #[test]
    fn what_comes_and_goes_is_no_storm() {
        let (mut failures, begun) = (Recurring::new(), Instant::now());
        let mut lines = 0;
        for tenth in 0..100 {
            lines += usize::from(failures.failed((), begun + Duration::from_millis(tenth * 100)).is_some());
            lines += usize::from(failures.over().is_some());
        }
        assert_eq!(lines, 2);
    }
}
