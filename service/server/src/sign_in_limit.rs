//! Failures to sign in, so many a minute: enough for an owner who mistypes, too few to guess a password by, and no way
//! to keep an owner out. Successes are free, so that an office behind one address is not locked out of its own Monday.
//!
//! | who tries | its failures count against |
//! |---|---|
//! | a stranger | its address, and the account as strangers try it from everywhere |
//! | whoever comes from where the account has signed in lately | the account at that address |
//! | whoever changes the password in a session | the session |
//! | whoever changes it with a token | the user's tokens together, for one can make others |
//!
//! All have one rate. Strangers together have a tenfold burst for one account, so a single address, however long it goes
//! on, leaves room for others; in the long run they all guess no faster than one. Many addresses can use the burst up, and
//! hold up each other and an owner who comes from a new place; an owner at a known one, or in a session, goes on.
//! Whoever shares an address with somebody can notice that they sign in from there, and may hold them up there.
//! Places are kept in memory: after a restart all are strangers, and nobody has failed yet.
//!
//! The account is what was typed, known or not, so that the limit does not tell which accounts there are.

use crate::ops::rates::ClientAddress;
use crate::passwords::Turn;
use counterfoil_domain::ids::{SessionId, UserId};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// An account, as the digest of its folded e-mail address: no list of addresses lies about in memory.
type Account = [u8; 32];

/// What a failure counts against. An address counts whole, in IPv6 by its /64, which is what one household gets.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    Strangers(Account),
    Place(Account, IpAddr),
    Session(SessionId),
    TokensOf(UserId),
}

/// An attempt at a password.
#[derive(Clone, Copy)]
pub struct Attempt {
    /// What its failure will count against.
    keys: [Option<Key>; 2],
    /// Whose turn it waits for.
    pub turn: Turn,
}

impl Attempt {
    /// By whoever holds a session of a user's.
    pub fn in_session(id: SessionId, user: UserId) -> Self {
        Self { keys: [Some(Key::Session(id)), None], turn: Turn::User(user) }
    }

    /// By whoever holds one of a user's tokens.
    pub fn with_token_of(user: UserId) -> Self {
        Self { keys: [Some(Key::TokensOf(user)), None], turn: Turn::User(user) }
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().flatten()
    }
}

type Counts<C> = RateLimiter<Key, HashMapStateStore<Key>, C, StateInformationMiddleware>;

/// See the module. Times are times since boot.
pub struct Failures<C: Clock = DefaultClock> {
    counts: Counts<C>,
    /// The same for what strangers do, with the larger burst.
    strangers: Counts<C>,
    /// Failures are counted after the fact, so the counts alone would let every attempt be looked at first.
    standings: Mutex<HashMap<Key, Standing>>,
    /// Where accounts have signed in, and when: the last place first.
    places: Mutex<HashMap<Account, Vec<(IpAddr, Duration)>>>,
    a_minute: u32,
    /// How long it takes until one more failure is free.
    pause: Duration,
}

/// How a key stands.
#[derive(Default)]
struct Standing {
    /// Until when it is refused.
    refused: Duration,
    /// How many more failures were left to it after the last one; all, if there was none.
    left: Option<u32>,
    /// When that was.
    counted: Duration,
    /// Attempts that are being looked at: each may fail.
    under_way: u32,
}

/// An attempt that is being looked at, until this is dropped.
pub struct UnderWay<'a> {
    standings: &'a Mutex<HashMap<Key, Standing>>,
    attempt: Attempt,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut standings = lock(self.standings);
        for key in self.attempt.keys() {
            if let Some(standing) = standings.get_mut(key) {
                standing.under_way = standing.under_way.saturating_sub(1);
            }
        }
    }
}

/// How many failures of strangers for one account may come at once, in those of one address.
const BURST: u32 = 10;
/// So many keys may be counted before old ones are looked for. Failures cost a password hash each, so a minute has
/// no more than some thousands.
const TIDY: usize = 1000;
/// After so long without a failure everything is left to a key again: the largest burst, at the rate of all.
const RECENT: Duration = Duration::from_secs(60 * BURST as u64);
/// Places that are remembered of an account, and for how long.
const PLACES: usize = 8;
const LATELY: Duration = Duration::from_secs(30 * 24 * 3600);
/// Accounts whose places are remembered. The places of those on top stay strange.
const ACCOUNTS: usize = 100_000;

impl Failures {
    /// So many failures a minute.
    pub fn new(a_minute: NonZero<u32>) -> Self {
        Self::by(a_minute, &DefaultClock::default())
    }
}

impl<C: Clock + Clone> Failures<C> {
    fn by(a_minute: NonZero<u32>, clock: &C) -> Self {
        let quota = Quota::per_minute(a_minute);
        let burst = a_minute.saturating_mul(NonZero::<u32>::MIN.saturating_add(BURST - 1));
        let counts = |quota| RateLimiter::new(quota, HashMapStateStore::default(), clock.clone());
        Self {
            counts: counts(quota),
            strangers: counts(quota.allow_burst(burst)),
            standings: Mutex::default(),
            places: Mutex::default(),
            a_minute: a_minute.get(),
            pause: Duration::from_secs(60) / a_minute.get(),
        }
    }

    /// An attempt to sign in.
    pub fn attempt(&self, address: ClientAddress, account: &str, now: Duration) -> Attempt {
        let (address, account) = (address.bucket(), Sha256::digest(account).into());
        let places = lock(&self.places);
        let place = places.get(&account).and_then(|known| known.iter().find(|(known, _)| *known == address));
        if place.is_some_and(|(_, at)| now < *at + LATELY) {
            Attempt { keys: [Some(Key::Place(account, address)), None], turn: Turn::Known(account) }
        } else {
            let keys = [Some(Key::Address(address)), Some(Key::Strangers(account))];
            Attempt { keys, turn: Turn::Strangers(account) }
        }
    }

    /// Whether an attempt may be looked at.
    ///
    /// # Errors
    /// How long it is refused.
    pub fn check(&self, attempt: &Attempt, now: Duration) -> Result<(), Duration> {
        refused(&lock(&self.standings), attempt, now)
    }

    /// Looks at an attempt, beside no more others than may fail: of many at once, on a machine with many cores, each would
    /// be looked at before the first is counted.
    ///
    /// # Errors
    /// How long it is refused.
    pub fn begin(&self, attempt: &Attempt, now: Duration) -> Result<UnderWay<'_>, Duration> {
        let mut standings = lock(&self.standings);
        refused(&standings, attempt, now)?;
        let is_full = |key: &Key| {
            let Some(known) = standings.get(key) else { return false };
            known.under_way >= known.left.unwrap_or_else(|| self.burst(key)).max(1)
        };
        if attempt.keys().any(is_full) {
            return Err(self.pause);
        }
        for key in attempt.keys() {
            standings.entry(*key).or_default().under_way += 1;
        }
        Ok(UnderWay { standings: &self.standings, attempt: *attempt })
    }

    /// How many failures are left to a key that has none.
    fn burst(&self, key: &Key) -> u32 {
        if matches!(key, Key::Strangers(_)) { self.a_minute.saturating_mul(BURST) } else { self.a_minute }
    }

    /// Counts a failure.
    pub fn failed(&self, attempt: &Attempt, now: Duration) {
        for counts in [&self.counts, &self.strangers] {
            if counts.len() > TIDY {
                counts.retain_recent();
            }
        }
        let mut standings = lock(&self.standings);
        if standings.len() > TIDY {
            standings.retain(|_, standing| standing.under_way > 0 || now < standing.counted + RECENT);
        }
        for key in attempt.keys() {
            let counts = if matches!(key, Key::Strangers(_)) { &self.strangers } else { &self.counts };
            let left = counts.check_key(key).map_or(0, |state| state.remaining_burst_capacity());
            let standing = standings.entry(*key).or_default();
            (standing.left, standing.counted) = (Some(left), now);
            if left == 0 {
                standing.refused = now + self.pause;
            }
        }
    }

    /// Remembers from where an account has signed in.
    pub fn succeeded(&self, address: ClientAddress, account: &str, now: Duration) {
        let (address, account) = (address.bucket(), Sha256::digest(account).into());
        let mut places = lock(&self.places);
        if places.len() >= ACCOUNTS && !places.contains_key(&account) {
            places.retain(|_, known| known.iter().any(|(_, at)| now < *at + LATELY));
            if places.len() >= ACCOUNTS {
                return;
            }
        }
        let known = places.entry(account).or_default();
        known.retain(|(known, _)| *known != address);
        known.insert(0, (address, now));
        known.truncate(PLACES);
    }
}

/// How long an attempt is refused, if it is.
fn refused(standings: &HashMap<Key, Standing>, attempt: &Attempt, now: Duration) -> Result<(), Duration> {
    let until = attempt.keys().filter_map(|key| standings.get(key)).map(|standing| standing.refused).max();
    match until.and_then(|until| until.checked_sub(now)).filter(|left| !left.is_zero()) {
        Some(left) => Err(left),
        None => Ok(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
