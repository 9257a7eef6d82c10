//! Rate limits, kept where the key is known: a credential's after it was authenticated, an address's after it failed.
//!
//! Where a credential is needed, only failures count against an address, so that a neighbour behind the same address
//! cannot hold up a good token. Where none is, every request does: there is nothing else to count by.

use crate::config::Limits;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::Request;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
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

/// Whether a limit has as many keys as it may: whoever makes keys up must not fill the memory with them.
#[derive(Default)]
struct Bound {
    checks: AtomicU32,
    reached: AtomicBool,
}

impl Bound {
    /// Counts a check, and says whether the bound is reached. From then on all keys of the limit share one bucket, those
    /// that are kept too, until enough of them rest and are forgotten.
    fn is_reached<K: Hash + Eq + Clone>(&self, limiter: &DefaultKeyedRateLimiter<K>) -> bool {
        if self.checks.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK) {
            let most = MOST_KEYS - LOOK as usize;
            if limiter.len() >= most {
                evict(limiter);
            }
            self.reached.store(limiter.len() >= most, Ordering::Relaxed);
        }
        self.reached.load(Ordering::Relaxed)
    }
}

/// Forgets the keys whose allowance is whole again.
fn evict<K: Hash + Eq + Clone>(limiter: &DefaultKeyedRateLimiter<K>) {
    limiter.retain_recent();
    limiter.shrink_to_fit();
}

/// A limit for each of many keys.
struct Keyed<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    bound: Bound,
    /// What all keys share once there are too many.
    shared: DefaultDirectRateLimiter,
}

impl<K: Hash + Eq + Clone> Keyed<K> {
    fn new(quota: Quota) -> Self {
        let (limiter, shared) = (RateLimiter::keyed(quota), RateLimiter::direct(quota));
        Self { limiter, bound: Bound::default(), shared }
    }

    /// Takes one from a key's allowance, or says how long to wait.
    fn check(&self, key: &K) -> Result<(), Duration> {
        let reached = self.bound.is_reached(&self.limiter);
        let checked = if reached { self.shared.check() } else { self.limiter.check_key(key) };
        checked.map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
    }
}

/// Finds the client's address, for the doors that need no credential. Clones share the bound.
#[derive(Clone, Default)]
pub struct ByClientAddress(Arc<Strangers>);

#[derive(Default)]
struct Strangers {
    bound: Bound,
    /// The layer's own limiter, which is made after this.
    limiter: OnceLock<Arc<DefaultKeyedRateLimiter<IpAddr>>>,
}

impl KeyExtractor for ByClientAddress {
    type Key = IpAddr;

    fn extract<T>(&self, request: &Request<T>) -> Result<IpAddr, GovernorError> {
        /// No client has this address: it stands for all of them.
        const EVERYBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let address = request.extensions().get::<ClientAddress>().ok_or(GovernorError::UnableToExtractKey)?;
        let Strangers { bound, limiter } = &*self.0;
        let reached = limiter.get().is_some_and(|limiter| bound.is_reached(limiter));
        Ok(if reached { EVERYBODY } else { address.bucket() })
    }
}

/// How often a token may be ended by whoever holds it, per second and at once. Once is enough, and a few more are for
/// those who were not answered.
const ENDINGS: (NonZeroU32, NonZeroU32) = (NonZeroU32::MIN, NonZeroU32::MIN.saturating_add(4));

/// All limits of one service.
pub struct Rates {
    credentials: Keyed<Uuid>,
    endings: Keyed<(Uuid, u32)>,
    failures: Keyed<IpAddr>,
    /// What the layer in front of the doors without a credential works with.
    pub strangers: Arc<GovernorConfig<ByClientAddress, NoOpMiddleware>>,
}

impl Rates {
    /// The configured limits.
    pub fn new(limits: &Limits) -> Self {
        let quota = |rate: NonZeroU32, burst| Quota::per_second(rate).allow_burst(burst);
        let period = Duration::from_secs(1) / limits.strangers_per_second.get();
        let by_address = ByClientAddress::default();
        let strangers = GovernorConfigBuilder::default()
            .key_extractor(by_address.clone())
            .period(period)
            .burst_size(limits.strangers_burst.get())
            .finish()
            .unwrap_or_else(|| unreachable!("neither the period nor the burst is zero"));
        by_address.0.limiter.get_or_init(|| strangers.limiter().clone());
        Self {
            credentials: Keyed::new(quota(limits.credential_per_second, limits.credential_burst)),
            endings: Keyed::new(quota(ENDINGS.0, ENDINGS.1)),
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

    /// Counts an attempt to end a token by one of its plaintexts, told by its number. It is apart from the credential's
    /// other requests, and from an earlier plaintext that ends nothing any more: a thief who asks as often as that may
    /// cannot keep the holder from ending what was stolen.
    ///
    /// # Errors
    /// How long to wait.
    pub fn ending(&self, token: Uuid, generation: u32) -> Result<(), Duration> {
        self.endings.check(&(token, generation))
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
        evict(&self.credentials.limiter);
        evict(&self.endings.limiter);
        evict(&self.failures.limiter);
        evict(self.strangers.limiter());
    }

    /// How many keys are kept.
    pub fn keys(&self) -> usize {
        let tokens = self.credentials.limiter.len() + self.endings.limiter.len();
        tokens + self.failures.limiter.len() + self.strangers.limiter().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use futures_util::FutureExt;
    use http::Response;
    use std::convert::Infallible;
    use tower::{Layer, Service, service_fn};
    use tower_governor::GovernorLayer;

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
    fn each_plaintext_of_a_token_has_its_own_attempts_to_end_it() {
        let (rates, token) = (Rates::new(&Limits::default()), Uuid::nil());
        let attempts = |generation| (0..50).filter(|_| rates.ending(token, generation).is_ok()).count();
        assert!((5..=6).contains(&attempts(1)));
        assert!(attempts(2) >= 5 && rates.credential(token).is_ok());
    }

    /// Gives a limit more keys than it may have, within the second in which none of them rests.
    fn assert_bounded(limit: &str, check: impl Fn(&Rates, u32)) {
        let slow = NonZeroU32::MIN;
        let limits = Limits {
            credential_per_second: slow,
            failures_per_second: slow,
            strangers_per_second: slow,
            ..Limits::default()
        };
        let rates = Rates::new(&limits);
        (0..150_000).for_each(|number| check(&rates, number));
        assert!(rates.keys() <= MOST_KEYS, "{limit}: {}", rates.keys());
    }

    #[test]
    fn keys_are_bounded() {
        let address = |number: u32| ClientAddress(IpAddr::V4(number.into()));
        assert_bounded("credential", |rates, number| {
            let _ = rates.credential(Uuid::from_u128(number.into()));
        });
        assert_bounded("ending", |rates, number| {
            let _ = rates.ending(Uuid::from_u128(number.into()), 1);
        });
        assert_bounded("failure", |rates, number| {
            let _ = rates.failure(address(number));
        });
        assert_bounded("stranger", |rates, number| {
            let answer = async |_| Ok::<_, Infallible>(Response::new(Body::empty()));
            let mut door = GovernorLayer::new(rates.strangers.clone()).layer(service_fn(answer));
            let mut request = Request::new(());
            request.extensions_mut().insert(address(number));
            assert!(door.call(request).now_or_never().is_some());
        });
    }
}
