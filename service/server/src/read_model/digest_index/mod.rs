//! The digest index: every lookup of a presented token is answered from here, in memory.
//!
//! **Who may call at once.** Readers from any thread. One writer, the applier, which alone calls the `put_…`
//! functions. Whoever writes uses down takes them.
//!
//! **What is in it.** One record for every standing token's present plaintext, and one for its earlier plaintext,
//! if it was rotated: after the overlap that one stays as a tombstone, so that its use can be counted. A disabled token is there
//! with its flag, so that its inactivity is known and not guessed. Ended tokens are not.
//!
//! **Order of changes.** A token's new digest is inserted before its old one is removed, so no plaintext that works
//! is ever absent in between. Records lie in 128 shards with a lock each, so that a growing table holds up a 128th of
//! the lookups for about a millisecond.

mod ahead;
mod by_token;
mod directory;
mod gather;
mod seed;
mod shard;
mod table;
mod uses;
mod view;

pub use directory::Directory;
pub use gather::Gathered;
pub use view::{Client, Introspected, Presented, Sought, Use};

use super::client_uses::ClientUses;
use by_token::{ByToken, Place};
use counterfoil_domain::gateway::Gateway;
use counterfoil_domain::organization::Organization;
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::{Owner, Token};
use counterfoil_domain::user::User;
use gather::Gathering;
use seed::Seed;
use shard::{Marks, Record, Shard};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

const SHARDS: usize = 128;

/// See the module.
pub struct DigestIndex {
    seed: Seed,
    shards: Vec<RwLock<Shard>>,
    directory: RwLock<Directory>,
    /// The applier's alone. Locked before any shard.
    by_token: Mutex<ByToken>,
    /// Uses of what is gone, and how far whoever writes uses has come.
    gathering: Mutex<Gathering>,
    /// Uses of gateway tokens.
    pub(super) client_uses: ClientUses,
}

pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    // A panic under the lock leaves whole records behind: each is written in one move.
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DigestIndex {
    /// An empty index with a random seed.
    pub fn new(seed: [u64; 2]) -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Self {
            seed: Seed(seed),
            shards,
            directory: RwLock::default(),
            by_token: Mutex::default(),
            gathering: Mutex::default(),
            client_uses: ClientUses::default(),
        }
    }

    fn shard_of(hash: u64) -> usize {
        hash as usize % SHARDS
    }

    /// Makes room for so many tokens in all: a table that grows while it is filled is moved time and again. The applier's.
    pub fn reserve(&self, tokens: usize) {
        lock(&self.by_token).reserve(&self.seed, &self.shards, tokens);
        self.shards.iter().for_each(|shard| write(shard).reserve(&self.seed, tokens / SHARDS));
    }

    /// Puts a token as it is now, or takes it away if it has ended. The applier's.
    pub fn put_token(&self, token: &Token) {
        let mut by_token = lock(&self.by_token);
        let before = by_token.digests(&self.seed, &self.shards, token.id);
        let kept = self.records_of(token);
        let places: Vec<Place> = kept.iter().map(|record| self.put(*record)).collect();
        match places.first() {
            Some(present) => {
                let earlier = kept.get(1).map(|record| record.digest);
                by_token.put(&self.seed, &self.shards, token.id, *present, earlier);
            }
            None => by_token.remove(&self.seed, &self.shards, token.id),
        }
        for digest in before.iter().filter(|old| kept.iter().all(|record| record.digest != **old)) {
            let hash = self.seed.of_digest(digest);
            let uses = write(&self.shards[Self::shard_of(hash)]).remove(&self.seed, hash, digest);
            lock(&self.gathering).left.extend(uses);
        }
    }

    fn put(&self, record: Record) -> Place {
        let hash = self.seed.of_digest(&record.digest);
        let shard = Self::shard_of(hash);
        Place::new(shard, write(&self.shards[shard]).put(&self.seed, hash, record))
    }

    /// The records that a token is to have, the present plaintext's first.
    fn records_of(&self, token: &Token) -> Vec<Record> {
        if !token.stands() {
            if let Owner::Gateway(id) = token.owner {
                write(&self.directory).drop_uses(id, token.id);
            }
            return Vec::new();
        }
        let mut directory = write(&self.directory);
        let owner = match token.owner {
            Owner::User(id) => directory.user_number(id),
            Owner::Gateway(id) => {
                directory.keep_uses(id, token.id, &self.client_uses);
                directory.gateway_number(id)
            }
        };
        let profile = directory.profile_number(token.kind, token.home, &token.scopes);
        let earlier = token.previous.as_ref();
        let awaits_first_use =
            earlier.is_some_and(|previous| previous.until_used && previous.ended.is_none());
        let present = Record {
            digest: token.digest,
            id: token.id,
            ends_at: token.expires_at.map_or(i64::MAX, Timestamp::micros),
            since: token.since,
            issued_at: u32::try_from(token.issued_at.unix_seconds()).unwrap_or(u32::MAX),
            owner,
            profile,
            marks: Marks::new(token.generation, token.disabled, awaits_first_use),
        };
        let mut records = vec![present];
        records.extend(earlier.map(|previous| Record {
            digest: previous.digest,
            ends_at: match previous.ended {
                None => present.ends_at.min(previous.ends_at.micros()),
                Some(_) => i64::MIN,
            },
            marks: Marks::new(previous.generation, token.disabled, false).earlier(),
            ..present
        }));
        records
    }

    /// Puts a user as it is now. The applier's.
    pub fn put_user(&self, user: &User, email: &str) {
        write(&self.directory).put_user(user, email);
    }

    /// Puts an organization as it is now. The applier's.
    pub fn put_organization(&self, organization: &Organization) {
        write(&self.directory).put_organization(organization);
    }

    /// Puts a gateway as it is now. The applier's.
    pub fn put_gateway(&self, gateway: &Gateway) {
        write(&self.directory).put_gateway(gateway);
    }

    /// The record under a digest, copied out. The comparison of all 32 bytes is in constant time.
    fn record(&self, digest: &Digest) -> Option<Record> {
        let hash = self.seed.of_digest(digest);
        read(&self.shards[Self::shard_of(hash)]).get(hash, digest)
    }

    /// How many digests it holds.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).len()).sum()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that are allocated for it, everything interned included.
    pub fn memory_bytes(&self) -> usize {
        let shards: usize = self.shards.iter().map(|shard| read(shard).memory_bytes()).sum();
        shards + lock(&self.by_token).memory_bytes() + read(&self.directory).memory_bytes()
    }
}

#[cfg(test)]
mod tests;
