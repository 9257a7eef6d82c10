//! The digest index: every lookup of a presented token is answered from here, in memory.
//!
//! **Who may call at once.** Readers from any thread. One writer, the applier, which alone calls the `put_…`
//! functions.
//!
//! **What is in it.** One record for every digest that works: a standing token's present plaintext, and during an
//! overlap its earlier one. A disabled token is there with its flag, so that its inactivity is known and not
//! guessed. Ended tokens are not.
//!
//! **Order of changes.** A token's new digest is inserted before its old one is removed, so no plaintext that works
//! is ever absent in between. Records lie in 64 shards with a lock each, so that a growing table holds up a 64th of
//! the lookups for less than a millisecond.

mod directory;
mod shard;
mod view;

pub use directory::Directory;
pub use view::{Client, Introspected, Presented, Use};

use counterfoil_domain::gateway::Gateway;
use counterfoil_domain::ids::TokenId;
use counterfoil_domain::organization::Organization;
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::{Owner, Token};
use counterfoil_domain::user::User;
use shard::{Record, Shard};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

const SHARDS: usize = 64;

/// See the module.
pub struct DigestIndex {
    seed: [u64; 2],
    shards: Vec<RwLock<Shard>>,
    directory: RwLock<Directory>,
    /// Which digests a token has here. The applier's alone.
    digests_of: Mutex<HashMap<TokenId, Held>>,
}

/// The digests of one token: the present one, and the earlier one while it works.
#[derive(Clone, Copy)]
struct Held {
    present: Digest,
    earlier: Option<Digest>,
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
    /// An empty index. The seed is random, since importers choose digests and must not choose their places.
    pub fn new(seed: [u64; 2]) -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Self { seed, shards, directory: RwLock::default(), digests_of: Mutex::default() }
    }

    /// The place of a digest: its own bits are random already, unless somebody chose them, which the seed spoils.
    fn hash(&self, digest: &Digest) -> u64 {
        let half =
            |at: usize| digest.0[at..at + 8].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let folded = |a: u64, b: u64| {
            let wide = u128::from(a) * u128::from(b);
            (wide >> 64) as u64 ^ wide as u64
        };
        let first = folded(half(0) ^ self.seed[0], half(8) ^ self.seed[1]);
        folded(first ^ half(16) ^ self.seed[1], half(24) ^ self.seed[0] | 1)
    }

    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        &self.shards[hash as usize % SHARDS]
    }

    /// Puts a token as it is now, or takes it away if it has ended. The applier's.
    pub fn put_token(&self, token: &Token) {
        let mut digests_of = lock(&self.digests_of);
        let before = digests_of.get(&token.id).copied();
        let kept = self.records_of(token);
        for (digest, record) in &kept {
            let hash = self.hash(digest);
            write(self.shard(hash)).put(hash, *record);
        }
        let old = before.iter().flat_map(|held| [Some(held.present), held.earlier]).flatten();
        for digest in old.filter(|old| kept.iter().all(|(digest, _)| digest != old)) {
            let hash = self.hash(&digest);
            write(self.shard(hash)).remove(hash, &digest);
        }
        match kept.as_slice() {
            [] => drop(digests_of.remove(&token.id)),
            [(present, _), rest @ ..] => {
                let held = Held { present: *present, earlier: rest.first().map(|(digest, _)| *digest) };
                digests_of.insert(token.id, held);
            }
        }
    }

    /// The records that a token is to have, the present plaintext's first.
    fn records_of(&self, token: &Token) -> Vec<(Digest, Record)> {
        if !token.stands() {
            return Vec::new();
        }
        let mut directory = write(&self.directory);
        let owner = match token.owner {
            Owner::User(id) => directory.user_number(id),
            Owner::Gateway(id) => directory.gateway_number(id),
        };
        let profile = directory.profile_number(token.kind, token.home, &token.scopes);
        let earlier = token.previous.as_ref().filter(|previous| previous.ended.is_none());
        let present = Record {
            digest: token.digest,
            id: token.id,
            ends_at: token.expires_at.map_or(i64::MAX, Timestamp::micros),
            since: token.since,
            issued_at: token.issued_at.unix_seconds(),
            owner,
            profile,
            generation: token.generation,
            disabled: token.disabled,
            awaits_first_use: earlier.is_some_and(|previous| previous.until_used),
        };
        let mut records = vec![(token.digest, present)];
        records.extend(earlier.map(|previous| {
            let ends_at = present.ends_at.min(previous.ends_at.micros());
            let (digest, generation) = (previous.digest, previous.generation);
            (digest, Record { digest, ends_at, generation, awaits_first_use: false, ..present })
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
        let hash = self.hash(digest);
        read(self.shard(hash)).get(hash, digest)
    }

    /// How many digests work.
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
        let held = lock(&self.digests_of).capacity() * (size_of::<(TokenId, Held)>() + 1) * 8 / 7;
        shards + held + read(&self.directory).memory_bytes()
    }
}
