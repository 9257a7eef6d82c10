//! Rate limits, kept where the key is known: a credential's after it was authenticated, an address's after it failed.
//!
//! Only failures count against an address, so that a neighbour behind the same address cannot hold up a good token.

use crate::config::Limits;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::Request;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tower_governor::GovernorError;
use tower_governor::governor::{GovernorConfig, GovernorConfigBuilder};
use tower_governor::key_extractor::KeyExtractor;
use uuid::Uuid;

/// Keys that one limit keeps at most.
pub const MOST_KEYS: usize = 100_000;
/// Checks between two looks at how many keys there are: so many may be added meanwhile.
const LOOK: u32 = 256;

/// The client's address, as far as proxies are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// What limits count: the address, or the /64 of an IPv6 one, of which one client has them all.
    pub fn bucket(self) -> IpAddr {
        match self.0.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            four => four,
        }
    }
}

/// A limit for each of many keys.
struct Keyed<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    /// What comes under new keys once there are too many: they share one bucket.
    beyond: DefaultDirectRateLimiter,
    checks: AtomicU32,
    full: AtomicBool,
}

impl<K: Hash + Eq + Clone> Keyed<K> {
    fn new(quota: Quota) -> Self {
        let limiter = RateLimiter::keyed(quota);
        let beyond = RateLimiter::direct(quota);
        Self { limiter, beyond, checks: AtomicU32::new(0), full: AtomicBool::new(false) }
    }

    /// Takes one from a key's allowance, or says how long to wait.
    fn check(&self, key: &K) -> Result<(), Duration> {
        if self.checks.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK) {
            self.look();
        }
        let checked =
            if self.full.load(Ordering::Relaxed) { self.beyond.check() } else { self.limiter.check_key(key) };
        checked.map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
    }

    fn look(&self) {
        let most = MOST_KEYS - LOOK as usize;
        if self.limiter.len() >= most {
            self.evict();
        }
        self.full.store(self.limiter.len() >= most, Ordering::Relaxed);
    }

    /// Forgets the keys whose allowance is whole again.
    fn evict(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

/// Finds the client's address, for the doors that need no credential.
#[derive(Clone, Copy, Debug)]
pub struct ByClientAddress;

impl KeyExtractor for ByClientAddress {
    type Key = IpAddr;

    fn extract<T>(&self, request: &Request<T>) -> Result<IpAddr, GovernorError> {
        let address = request.extensions().get::<ClientAddress>().ok_or(GovernorError::UnableToExtractKey)?;
        Ok(address.bucket())
    }
}

/// All limits of one service.
pub struct Rates {
    credentials: Keyed<Uuid>,
    failures: Keyed<IpAddr>,
    /// What the layer in front of the doors without a credential works with.
    pub strangers: Arc<GovernorConfig<ByClientAddress, NoOpMiddleware>>,
}

impl Rates {
    /// The configured limits.
    pub fn new(limits: &Limits) -> Self {
        let quota = |rate: NonZeroU32, burst| Quota::per_second(rate).allow_burst(burst);
        let period = Duration::from_secs(1) / limits.strangers_per_second.get();
        let strangers = GovernorConfigBuilder::default()
            .key_extractor(ByClientAddress)
            .period(period)
            .burst_size(limits.strangers_burst.get())
            .finish()
            .unwrap_or_else(|| unreachable!("neither the period nor the burst is zero"));
        Self {
            credentials: Keyed::new(quota(limits.credential_per_second, limits.credential_burst)),
            failures: Keyed::new(quota(limits.failures_per_second, limits.failures_burst)),
            strangers: Arc::new(strangers),
        }
    }

    /// Counts a request of a working credential.
    ///
    /// # Errors
    /// How long to wait.
    pub fn credential(&self, token: Uuid) -> Result<(), Duration> {
        self.credentials.check(&token)
    }

    /// Counts a failed authentication from an address.
    ///
    /// # Errors
    /// How long to wait.
    pub fn failure(&self, address: ClientAddress) -> Result<(), Duration> {
        self.failures.check(&address.bucket())
    }

    /// Forgets the keys that rest. Called each minute.
    pub fn evict(&self) {
        self.credentials.evict();
        self.failures.evict();
        let strangers = self.strangers.limiter();
        strangers.retain_recent();
        strangers.shrink_to_fit();
    }

    /// How many keys are kept.
    pub fn keys(&self) -> usize {
        self.credentials.limiter.len() + self.failures.limiter.len() + self.strangers.limiter().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> ClientAddress {
        ClientAddress(text.parse().unwrap())
    }

    #[test]
    fn one_sixty_four_is_one_client() {
        assert_eq!(address("2001:db8:1:2:3::4").bucket(), address("2001:db8:1:2::9").bucket());
        assert_ne!(address("2001:db8:1:2::9").bucket(), address("2001:db8:1:3::9").bucket());
        assert_eq!(address("::ffff:192.0.2.1").bucket(), address("192.0.2.1").bucket());
        assert_ne!(address("192.0.2.1").bucket(), address("192.0.2.2").bucket());
    }

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let rates = Rates::new(&Limits::default());
        let allowed = (0..200).filter(|_| rates.failure(address("192.0.2.1")).is_ok()).count();
        assert!((100..=110).contains(&allowed), "{allowed}");
        assert!(rates.failure(address("192.0.2.2")).is_ok());
        let wait = rates.failure(address("192.0.2.1")).err();
        assert!(wait.is_some_and(|wait| wait <= Duration::from_millis(51)), "{wait:?}");
    }

    #[test]
    fn keys_are_bounded() {
        let rates = Rates::new(&Limits::default());
        for number in 0..150_000u32 {
            let _ = rates.failure(ClientAddress(IpAddr::V4(number.into())));
        }
        assert!(rates.keys() <= MOST_KEYS, "{}", rates.keys());
    }
}
