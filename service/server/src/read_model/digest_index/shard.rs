//! A 64th of the index: records of fixed size in chunks, and a table of their places by digest.

use counterfoil_domain::ids::{Seq, TokenId};
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::timestamp::Timestamp;
use hashbrown::HashTable;

/// What is known of a digest.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    pub(crate) digest: Digest,
    pub(crate) id: TokenId,
    /// Microseconds since the epoch; `i64::MAX` for never.
    pub(crate) ends_at: i64,
    pub(crate) since: Seq,
    /// Seconds since the epoch.
    pub(crate) issued_at: i64,
    /// The number of the user or gateway in the directory.
    pub(crate) owner: u32,
    /// The number of {kind, home, scopes} in the directory.
    pub(crate) profile: u32,
    pub(crate) generation: u32,
    pub(crate) disabled: bool,
    /// Whether the first use of this plaintext ends the one before it.
    pub(crate) awaits_first_use: bool,
}

impl Record {
    /// Whether the plaintext works at `now`, apart from what its owner's place says.
    pub(crate) fn works(&self, now: Timestamp) -> bool {
        !self.disabled && now.micros() < self.ends_at
    }
}

/// Records in a chunk: small, so that the last one wastes little.
const CHUNK: usize = 1024;

#[derive(Default)]
pub(crate) struct Shard {
    chunks: Vec<Vec<(u64, Record)>>,
    free: Vec<u32>,
    places: HashTable<u32>,
}

impl Shard {
    fn at(&self, place: u32) -> &(u64, Record) {
        &self.chunks[place as usize / CHUNK][place as usize % CHUNK]
    }

    fn find(&self, hash: u64, digest: &Digest) -> Option<u32> {
        self.places.find(hash, |place| self.at(*place).1.digest.same(digest)).copied()
    }

    pub(crate) fn get(&self, hash: u64, digest: &Digest) -> Option<Record> {
        self.find(hash, digest).map(|place| self.at(place).1)
    }

    pub(crate) fn put(&mut self, hash: u64, record: Record) {
        if let Some(place) = self.find(hash, &record.digest) {
            self.chunks[place as usize / CHUNK][place as usize % CHUNK] = (hash, record);
            return;
        }
        let place = self.store(hash, record);
        let chunks = &self.chunks;
        self.places
            .insert_unique(hash, place, |place| chunks[*place as usize / CHUNK][*place as usize % CHUNK].0);
    }

    fn store(&mut self, hash: u64, record: Record) -> u32 {
        if let Some(place) = self.free.pop() {
            self.chunks[place as usize / CHUNK][place as usize % CHUNK] = (hash, record);
            return place;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let full = (self.chunks.len() - 1) * CHUNK;
        let chunk = &mut self.chunks[full / CHUNK];
        chunk.push((hash, record));
        (full + chunk.len() - 1) as u32
    }

    pub(crate) fn remove(&mut self, hash: u64, digest: &Digest) {
        let chunks = &self.chunks;
        let same = |place: &u32| chunks[*place as usize / CHUNK][*place as usize % CHUNK].1.digest == *digest;
        if let Ok(entry) = self.places.find_entry(hash, same) {
            self.free.push(entry.remove().0);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let chunks: usize =
            self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<(u64, Record)>()).sum();
        chunks + self.free.capacity() * size_of::<u32>() + self.places.allocation_size()
    }
}
