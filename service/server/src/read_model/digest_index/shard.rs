//! A part of the index: records of fixed size in chunks, and a table of their places by digest.

use super::seed::Seed;
use counterfoil_domain::ids::{Seq, TokenId};
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::timestamp::Timestamp;
use hashbrown::HashTable;

/// What is known of a digest: 80 bytes, for there are millions.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    pub(crate) digest: Digest,
    pub(crate) id: TokenId,
    /// Microseconds since the epoch; `i64::MAX` for never.
    pub(crate) ends_at: i64,
    pub(crate) since: Seq,
    /// Seconds since the epoch, until 2106.
    pub(crate) issued_at: u32,
    /// The number of the user or gateway in the directory.
    pub(crate) owner: u32,
    /// The number of {kind, home, scopes} in the directory.
    pub(crate) profile: u32,
    pub(crate) marks: Marks,
}

/// Which of its token's plaintexts a record is for, with three flags, in one word.
#[derive(Clone, Copy)]
pub(crate) struct Marks(u32);

const DISABLED: u32 = 1 << 31;
const AWAITS_FIRST_USE: u32 = 1 << 30;
const EARLIER: u32 = 1 << 29;

impl Marks {
    pub(crate) fn new(generation: u32, disabled: bool, awaits_first_use: bool) -> Self {
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        Self(generation | flag(disabled, DISABLED) | flag(awaits_first_use, AWAITS_FIRST_USE))
    }

    /// Marks the plaintext as one before the present one.
    pub(crate) fn earlier(self) -> Self {
        Self(self.0 | EARLIER)
    }

    /// Which of the token's plaintexts this is.
    pub(crate) fn generation(self) -> u32 {
        self.0 & !(DISABLED | AWAITS_FIRST_USE | EARLIER)
    }

    fn is_earlier(self) -> bool {
        self.0 & EARLIER != 0
    }

    fn disabled(self) -> bool {
        self.0 & DISABLED != 0
    }

    /// Whether the first use of this plaintext ends the one before it.
    pub(crate) fn awaits_first_use(self) -> bool {
        self.0 & AWAITS_FIRST_USE != 0
    }
}

impl Record {
    /// Whether the plaintext works at `now`, apart from what its owner's place says.
    pub(crate) fn works(&self, now: Timestamp) -> bool {
        !self.marks.disabled() && now.micros() < self.ends_at
    }

    /// Whether this is an earlier plaintext of a standing token that works no more.
    pub(crate) fn has_ended(&self, now: Timestamp) -> bool {
        self.marks.is_earlier() && !self.works(now)
    }
}

/// Records in a chunk: small, so that the last one wastes little.
const CHUNK: usize = 256;

/// See the module.
#[derive(Default)]
pub(crate) struct Shard {
    chunks: Vec<Vec<Record>>,
    free: Vec<u32>,
    places: HashTable<u32>,
}

impl Shard {
    /// The record at a place that is taken.
    pub(crate) fn at(&self, place: u32) -> &Record {
        &self.chunks[place as usize / CHUNK][place as usize % CHUNK]
    }

    fn at_mut(&mut self, place: u32) -> &mut Record {
        &mut self.chunks[place as usize / CHUNK][place as usize % CHUNK]
    }

    fn find(&self, hash: u64, digest: &Digest) -> Option<u32> {
        self.places.find(hash, |place| self.at(*place).digest.same(digest)).copied()
    }

    /// The record of a digest, copied out.
    pub(crate) fn get(&self, hash: u64, digest: &Digest) -> Option<Record> {
        self.find(hash, digest).map(|place| *self.at(place))
    }

    /// Puts a record, over the one of the same digest if there is one, and says where it lies.
    pub(crate) fn put(&mut self, seed: &Seed, hash: u64, record: Record) -> u32 {
        if let Some(place) = self.find(hash, &record.digest) {
            *self.at_mut(place) = record;
            return place;
        }
        let place = self.store(record);
        let chunks = &self.chunks;
        let rehash =
            |place: &u32| seed.of_digest(&chunks[*place as usize / CHUNK][*place as usize % CHUNK].digest);
        self.places.insert_unique(hash, place, rehash);
        place
    }

    fn store(&mut self, record: Record) -> u32 {
        if let Some(place) = self.free.pop() {
            *self.at_mut(place) = record;
            return place;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let full = (self.chunks.len() - 1) * CHUNK;
        let chunk = &mut self.chunks[full / CHUNK];
        chunk.push(record);
        (full + chunk.len() - 1) as u32
    }

    /// Takes the record of a digest away.
    pub(crate) fn remove(&mut self, hash: u64, digest: &Digest) {
        let chunks = &self.chunks;
        let same = |place: &u32| chunks[*place as usize / CHUNK][*place as usize % CHUNK].digest == *digest;
        if let Ok(entry) = self.places.find_entry(hash, same) {
            self.free.push(entry.remove().0);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<Record>()).sum();
        let lists =
            self.free.capacity() * size_of::<u32>() + self.chunks.capacity() * size_of::<Vec<Record>>();
        chunks + lists + self.places.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_eighty_bytes() {
        assert_eq!(size_of::<Record>(), 80);
    }
}
