//! When a token was last used, through which gateway, and how often.
//!
//! A use is a request that the token was good enough for: an introspection that was answered "active", or a call to
//! this service whose credential and scope were accepted. What fails is none, at every door. The use of a plaintext
//! after its end is counted apart: somebody still has the old key.
//!
//! **Lossy by design.** Uses are added up in memory and written every two seconds, at a clean stop once more; a crash
//! loses the last of them. Introspections, the most of all uses, are noted in the records of the index, where one word is
//! written that was read a moment before. The others, and what finds no room there, are noted here: a lock of a 64th of the
//! table is held for a map access. A flush writes a bounded number of tokens, so when hundreds of thousands of different
//! ones are used within minutes, some are written minutes late; a bounded number waits here, and what comes on top is
//! not counted (`counterfoil_uses_not_counted_total`).
//!
//! **Never backwards.** A later use is never overwritten by an earlier one, whoever writes it first. Only an instant
//! that lies in the future by the database's clock is put right: a clock was wrong then.

mod store;

use super::digest_index::{DigestIndex, Gathered};
use crate::postgres::connect::in_time;
use counterfoil_domain::ids::{GatewayId, TokenId};
use counterfoil_domain::timestamp::Timestamp;
use sqlx::PgPool;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How often what was noted is written.
pub const EVERY: Duration = Duration::from_secs(2);
const SHARDS: usize = 64;
/// Tokens that may wait in one shard. The uses of what comes on top are not counted.
const WAITING: usize = 4096;
/// A flush goes on to another shard while it has fewer tokens than this.
const FLUSH: usize = 2000;

/// Which plaintext of a token was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// One that works.
    Working,
    /// An earlier one, after its end.
    Ended,
}

/// Uses of one plaintext: the last, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tally {
    at: Timestamp,
    by: Option<GatewayId>,
    count: u32,
}

impl Tally {
    /// Adds uses. Of one instant, the one that was noted first is the last use: any would do.
    fn add(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        if other.at > self.at {
            (self.at, self.by) = (other.at, other.by);
        }
    }
}

/// Hashes a token's id by its last eight bytes: they are random, and this service made them.
#[derive(Default)]
struct ById(u64);

impl Hasher for ById {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk::<8>() {
            // Spreads them over the high bits, two of which are the same in every UUID.
            self.0 = u64::from_be_bytes(*last).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type ByToken = HashMap<TokenId, Tally, BuildHasherDefault<ById>>;

#[derive(Default)]
struct Shard {
    working: ByToken,
    ended: ByToken,
}

impl Shard {
    /// Whether there was room.
    fn add(&mut self, used: Used, token: TokenId, tally: Tally) -> bool {
        let map = match used {
            Used::Working => &mut self.working,
            Used::Ended => &mut self.ended,
        };
        if let Some(known) = map.get_mut(&token) {
            known.add(tally);
            return true;
        }
        let room = map.len() < WAITING;
        if room {
            map.insert(token, tally);
        }
        room
    }
}

/// Uses that were not written yet.
pub struct Usage {
    shards: [Mutex<Shard>; SHARDS],
    /// The shard at which the next flush begins. Whoever flushes moves it.
    next: AtomicUsize,
    /// First uses of new plaintexts that the writer was told of and has not answered yet. Few at a time.
    first: Mutex<HashSet<(TokenId, u32)>>,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            next: AtomicUsize::new(0),
            first: Mutex::default(),
        }
    }
}

/// Tokens with their uses, to be written.
type Taken = BTreeMap<TokenId, (Option<Tally>, Option<Tally>)>;

impl Usage {
    fn shard(&self, token: TokenId) -> MutexGuard<'_, Shard> {
        // The first random byte of the last eight; a table's own places come from the others.
        lock(&self.shards[token.0.as_bytes()[9] as usize % SHARDS])
    }

    /// Notes one use, if there is room for it. Called on the request path.
    pub fn note(&self, used: Used, token: TokenId, by: Option<GatewayId>, at: Timestamp) -> bool {
        self.shard(token).add(used, token, Tally { at, by, count: 1 })
    }

    /// Whether a use is the one that the writer is to be told of: one of many is enough.
    pub fn is_first(&self, token: TokenId, generation: u32) -> bool {
        lock(&self.first).insert((token, generation))
    }

    /// The writer has answered about the first use.
    pub fn asked(&self, token: TokenId, generation: u32) {
        lock(&self.first).remove(&(token, generation));
    }

    /// Takes whole shards, from the one after the last taken, until there are enough tokens.
    fn take(&self, enough: usize) -> Taken {
        let mut taken = Taken::new();
        for _ in 0..SHARDS {
            if taken.len() >= enough {
                break;
            }
            let at = self.next.fetch_add(1, Ordering::Relaxed) % SHARDS;
            let Shard { working, ended } = std::mem::take(&mut *lock(&self.shards[at]));
            for (token, tally) in working {
                taken.entry(token).or_default().0 = Some(tally);
            }
            for (token, tally) in ended {
                taken.entry(token).or_default().1 = Some(tally);
            }
        }
        taken
    }

    /// Takes what a flush writes: half of it from here, the rest from the index, so that neither waits for the other.
    fn gather(&self, index: &DigestIndex) -> Taken {
        let mut taken = self.take(FLUSH / 2);
        let of_tokens = index.take_uses(FLUSH.saturating_sub(taken.len()));
        for Gathered { token, at, by, count } in of_tokens.into_iter().chain(index.client_uses.collect()) {
            let tally = Tally { at, by: Some(by), count };
            match &mut taken.entry(token).or_default().0 {
                Some(known) => known.add(tally),
                none => *none = Some(tally),
            }
        }
        taken
    }

    /// Writes what is noted, every two seconds until `stop` is gone, and then the rest.
    pub async fn keep_written(
        self: Arc<Self>,
        index: Arc<DigestIndex>,
        pool: PgPool,
        mut stop: watch::Receiver<()>,
    ) {
        // What could not be written is tried again before anything else is taken.
        let mut taken = Taken::new();
        let mut failing = false;
        loop {
            let stopped = tokio::select! {
                _ = stop.changed() => true,
                () = tokio::time::sleep(EVERY) => false,
            };
            loop {
                if taken.is_empty() {
                    taken = self.gather(&index);
                }
                let more = !taken.is_empty() && written(&pool, &taken, &mut failing).await;
                if more {
                    taken.clear();
                }
                if !(stopped && more) {
                    break;
                }
            }
            if stopped {
                return;
            }
        }
    }
}

/// Writes, and tells of an outage once, not every two seconds. Says whether it is written.
async fn written(pool: &PgPool, taken: &Taken, failing: &mut bool) -> bool {
    let written = in_time(store::write(pool, taken)).await;
    if let Err(error) = &written
        && !*failing
    {
        tracing::warn!(%error, "uses of tokens could not be written; they are kept and tried again");
    }
    *failing = written.is_err();
    written.is_ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic under the lock leaves counts behind, which are whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn uses_add_up_and_the_latest_counts_whatever_the_order() {
        let usage = Usage::default();
        let (token, first, second) =
            (TokenId(Uuid::from_u128(1)), GatewayId(Uuid::from_u128(2)), GatewayId(Uuid::from_u128(3)));
        usage.note(Used::Working, token, Some(second), at(20));
        usage.note(Used::Working, token, Some(first), at(10));
        usage.note(Used::Ended, token, Some(first), at(30));
        let taken = usage.take(usize::MAX);
        let working = Tally { at: at(20), by: Some(second), count: 2 };
        let ended = Tally { at: at(30), by: Some(first), count: 1 };
        assert_eq!(taken, Taken::from([(token, (Some(working), Some(ended)))]));
        assert!(usage.take(usize::MAX).is_empty());
    }

    /// Ids that differ where random ones do.
    fn spread(n: u128) -> Uuid {
        Uuid::from_u128(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    }

    #[test]
    fn what_waits_is_bounded_and_nothing_waits_for_ever() {
        let usage = Usage::default();
        let noted = (0..400_000).filter(|n| usage.note(Used::Working, TokenId(spread(*n)), None, at(1)));
        assert_eq!(noted.count(), SHARDS * WAITING);
        let (mut rounds, mut written) = (0, 0);
        loop {
            let taken = usage.take(FLUSH);
            if taken.is_empty() {
                break;
            }
            assert!(taken.len() < FLUSH + 2 * WAITING);
            (rounds, written) = (rounds + 1, written + taken.len());
        }
        assert_eq!(written, SHARDS * WAITING);
        assert!(rounds <= SHARDS);
    }
}
