//! Failures to sign in: so many a minute from one address, and so many for one account. Successes are free, so that
//! an office behind one address is not locked out of its own Monday.
//!
//! The account is what was typed, known or not, so that the limit does not tell which accounts there are.

use crate::ops::rates::ClientAddress;
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter, clock::DefaultClock};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Who failed. Accounts are kept as digests: no list of addresses lies about in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    Account([u8; 32]),
}

/// From where, and for which account somebody signs in.
#[derive(Clone, Copy)]
pub struct Attempt([Key; 2]);

impl Attempt {
    /// The address counts whole, in IPv6 by its /64, which is what one household gets. The account is its folded
    /// e-mail address.
    pub fn new(address: ClientAddress, account: &str) -> Self {
        Self([Key::Address(address.bucket()), Key::Account(Sha256::digest(account).into())])
    }
}

/// See the module. Times are times since boot.
pub struct Failures {
    counts: RateLimiter<Key, HashMapStateStore<Key>, DefaultClock, StateInformationMiddleware>,
    /// Until when a key is refused. Failures are counted after the fact, so the count alone would let every attempt
    /// be looked at first.
    refused: Mutex<HashMap<Key, Duration>>,
    /// How long it takes until one more failure is free.
    pause: Duration,
}

/// So many keys may be counted before old ones are looked for. Failures cost a password hash each, so a minute has
/// no more than some thousands.
const TIDY: usize = 1000;

impl Failures {
    /// So many failures a minute.
    pub fn new(a_minute: NonZero<u32>) -> Self {
        let counts = RateLimiter::hashmap(Quota::per_minute(a_minute)).with_middleware();
        Self { counts, refused: Mutex::default(), pause: Duration::from_secs(60) / a_minute.get() }
    }

    /// Whether an attempt may be looked at.
    ///
    /// # Errors
    /// How long it is refused.
    pub fn check(&self, attempt: &Attempt, now: Duration) -> Result<(), Duration> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let until = attempt.0.iter().filter_map(|key| refused.get(key)).max();
        match until.and_then(|until| until.checked_sub(now)).filter(|left| !left.is_zero()) {
            Some(left) => Err(left),
            None => Ok(()),
        }
    }

    /// Counts a failure.
    pub fn failed(&self, attempt: &Attempt, now: Duration) {
        if self.counts.len() > TIDY {
            self.counts.retain_recent();
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.retain(|_, until| *until > now);
        for key in attempt.0 {
            let more = self.counts.check_key(&key).map(|state| state.remaining_burst_capacity());
            if more.unwrap_or(0) == 0 {
                refused.insert(key, now + self.pause);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn attempt(address: &str, account: &str) -> Attempt {
        Attempt::new(ClientAddress(address.parse().unwrap()), account)
    }

    #[test]
    fn the_eleventh_is_refused_for_the_account_and_from_the_address() {
        let failures = Failures::new(NonZero::new(10).unwrap());
        for n in 0..10 {
            assert_eq!(failures.check(&attempt("192.0.2.1", "a@example.com"), NOW), Ok(()), "{n}");
            failures.failed(&attempt("192.0.2.1", "a@example.com"), NOW);
        }
        for (address, account, refused) in [
            ("192.0.2.1", "a@example.com", true),
            ("192.0.2.2", "a@example.com", true),
            ("192.0.2.1", "b@example.com", true),
            ("::ffff:192.0.2.1", "b@example.com", true),
            ("192.0.2.2", "b@example.com", false),
        ] {
            assert_eq!(
                failures.check(&attempt(address, account), NOW).is_err(),
                refused,
                "{address} {account}"
            );
        }
        // One more is free after a tenth of a minute.
        let later = NOW + Duration::from_secs(6);
        assert_eq!(failures.check(&attempt("192.0.2.1", "a@example.com"), later), Ok(()));
    }

    #[test]
    fn a_household_is_one_address() {
        let failures = Failures::new(NonZero::<u32>::MIN);
        failures.failed(&attempt("2001:db8:1:2::1", "a"), NOW);
        assert!(failures.check(&attempt("2001:db8:1:2:ffff::1", "b"), NOW).is_err());
        assert!(failures.check(&attempt("2001:db8:1:3::1", "b"), NOW).is_ok());
    }
}
