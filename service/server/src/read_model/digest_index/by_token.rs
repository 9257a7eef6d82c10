//! Which digests a token has in the index. The applier's alone, under one lock.

use super::seed::Seed;
use super::shard::Shard;
use super::{SHARDS, read};
use counterfoil_domain::ids::TokenId;
use counterfoil_domain::plaintext::Digest;
use hashbrown::HashTable;
use std::collections::HashMap;
use std::sync::RwLock;

/// Where a record lies: its place in a shard, and the shard, in one word.
#[derive(Clone, Copy)]
pub(crate) struct Place(u32);

impl Place {
    /// The place `at` of a shard. 2³² records in all, a 128th of them in a shard, where a table has
    /// room for one less.
    pub(crate) fn new(shard: usize, at: u32) -> Self {
        Self(at * SHARDS as u32 + shard as u32)
    }

    fn shard(self) -> usize {
        self.0 as usize % SHARDS
    }

    fn at(self) -> u32 {
        self.0 / SHARDS as u32
    }
}

/// See the module. The id is not kept here: it is in the record that a place leads to.
#[derive(Default)]
pub(crate) struct ByToken {
    present: HashTable<Place>,
    /// The earlier digest of the tokens that were rotated.
    earlier: HashMap<TokenId, Digest>,
}

impl ByToken {
    /// The digests under which a token is in the index.
    pub(crate) fn digests(&self, seed: &Seed, shards: &[RwLock<Shard>], id: TokenId) -> Vec<Digest> {
        let found = self.present.find(seed.of_id(id), |place| id_at(shards, *place) == id);
        let present = found.map(|place| read(&shards[place.shard()]).at(place.at()).digest);
        present.into_iter().chain(self.earlier.get(&id).copied()).collect()
    }

    /// Notes where a token's present digest lies, and what its earlier one is. Both are in the shards already, and the old
    /// ones are there still.
    pub(crate) fn put(
        &mut self,
        seed: &Seed,
        shards: &[RwLock<Shard>],
        id: TokenId,
        place: Place,
        earlier: Option<Digest>,
    ) {
        let hash = seed.of_id(id);
        match self.present.find_mut(hash, |place| id_at(shards, *place) == id) {
            Some(old) => *old = place,
            None => {
                let rehash = |place: &Place| seed.of_id(id_at(shards, *place));
                self.present.insert_unique(hash, place, rehash);
            }
        }
        match earlier {
            Some(digest) => drop(self.earlier.insert(id, digest)),
            None => drop(self.earlier.remove(&id)),
        }
    }

    /// Makes room for so many tokens in all.
    pub(crate) fn reserve(&mut self, seed: &Seed, shards: &[RwLock<Shard>], tokens: usize) {
        let more = tokens.saturating_sub(self.present.len());
        self.present.reserve(more, |place| seed.of_id(id_at(shards, *place)));
    }

    /// Forgets a token whose records are in the shards still.
    pub(crate) fn remove(&mut self, seed: &Seed, shards: &[RwLock<Shard>], id: TokenId) {
        if let Ok(entry) = self.present.find_entry(seed.of_id(id), |place| id_at(shards, *place) == id) {
            entry.remove();
        }
        self.earlier.remove(&id);
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.present.allocation_size()
            + self.earlier.capacity() * (size_of::<(TokenId, Digest)>() + 1) * 8 / 7
    }
}

fn id_at(shards: &[RwLock<Shard>], place: Place) -> TokenId {
    read(&shards[place.shard()]).at(place.at()).id
}
