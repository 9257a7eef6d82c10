//! Uses of gateway tokens: every introspection is one.
//!
//! The busiest route does not pay for a table of them: a gateway token's use is counted beside its gateway in the index,
//! where it is looked at anyway, and not in its own record, where counts are too small for it. The task that writes uses
//! down collects them ([`super::usage`]), and is as lossy. A token that has ended is collected once more: its last use is
//! what one wants to know of it.

use super::digest_index::Gathered;
use counterfoil_domain::ids::{GatewayId, TokenId};
use counterfoil_domain::timestamp::Timestamp;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The uses of one gateway token since they were collected last.
#[derive(Debug)]
pub(crate) struct ClientUse {
    /// Which token.
    pub(crate) token: TokenId,
    gateway: GatewayId,
    /// When it was used last.
    at: AtomicI64,
    count: AtomicU32,
}

impl ClientUse {
    /// Notes one use. Of two at once, the later instant may lose: they differ by less than anybody sees.
    pub(crate) fn note(&self, at: Timestamp) {
        if self.at.load(Ordering::Relaxed) < at.micros() {
            self.at.store(at.micros(), Ordering::Relaxed);
        }
        // After the instant, so that what is collected has one.
        self.count.fetch_add(1, Ordering::Release);
    }
}

/// Every gateway token's uses.
#[derive(Default)]
pub(crate) struct ClientUses(Mutex<Vec<Arc<ClientUse>>>);

impl ClientUses {
    /// The place where a token's uses are counted, as long as somebody keeps it.
    pub(crate) fn of(&self, token: TokenId, gateway: GatewayId) -> Arc<ClientUse> {
        let (at, count) = (AtomicI64::new(i64::MIN), AtomicU32::new(0));
        let place = Arc::new(ClientUse { token, gateway, at, count });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(place.clone());
        place
    }

    /// Collects what was noted. What nobody keeps any more is collected for the last time.
    pub(crate) fn collect(&self) -> Vec<Gathered> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut collected = Vec::new();
        places.retain(|place| {
            let kept = Arc::strong_count(place) > 1;
            let count = place.count.swap(0, Ordering::Acquire);
            if count > 0 {
                let at = Timestamp::from_micros(place.at.load(Ordering::Relaxed));
                collected.push(Gathered { token: place.token, at, by: place.gateway, count });
            }
            kept
        });
        collected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn what_nobody_keeps_is_collected_once_more() {
        let (uses, at) = (ClientUses::default(), Timestamp::from_micros);
        let (token, gateway) = (TokenId(Uuid::from_u128(1)), GatewayId(Uuid::from_u128(2)));
        let place = uses.of(token, gateway);
        place.note(at(20));
        place.note(at(10));
        let gathered = |at, count| [Gathered { token, at, by: gateway, count }];
        assert_eq!(uses.collect(), gathered(at(20), 2));
        assert_eq!(uses.collect(), []);
        place.note(at(30));
        drop(place);
        assert_eq!(uses.collect(), gathered(at(30), 1));
        assert!(uses.0.lock().unwrap().is_empty());
    }
}
