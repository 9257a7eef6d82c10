//! A part of the index: records of fixed size in chunks, and a table of their places by digest.

use super::ahead::fetch;
use super::seed::Seed;
use super::table::Table;
use super::uses::{Noted, Tally, Uses};
use counterfoil_domain::ids::{Seq, TokenId};
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::timestamp::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering};

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

    /// Whether this is an earlier plaintext whose end is in the log, so that no clock has to be asked.
    pub(crate) fn end_is_recorded(&self) -> bool {
        self.marks.is_earlier() && self.ends_at == i64::MIN
    }
}

/// Records in a chunk: small, so that the last one wastes little.
const CHUNK: usize = 256;

/// A record, and the uses of its plaintext.
struct Slot {
    record: Record,
    uses: Uses,
}

/// Slots that never move, and which of them have uses: a bit for each, set after the first use was noted.
#[derive(Default)]
struct Chunk {
    slots: Vec<Slot>,
    used: [AtomicU64; CHUNK / 64],
}

/// See the module.
#[derive(Default)]
pub(crate) struct Shard {
    chunks: Vec<Chunk>,
    free: Vec<u32>,
    places: Table,
}

fn slot(chunks: &[Chunk], place: u32) -> &Slot {
    &chunks[place as usize / CHUNK].slots[place as usize % CHUNK]
}

impl Shard {
    fn slot(&self, place: u32) -> &Slot {
        slot(&self.chunks, place)
    }

    /// The record at a place that is taken.
    pub(crate) fn at(&self, place: u32) -> &Record {
        &self.slot(place).record
    }

    fn at_mut(&mut self, place: u32) -> &mut Record {
        &mut self.chunks[place as usize / CHUNK].slots[place as usize % CHUNK].record
    }

    /// Asks for the memory of a digest's entry.
    pub(crate) fn fetch_entry(&self, hash: u64) {
        self.places.fetch(hash);
    }

    /// Asks for the memory of a digest's record, or of one that lies where it would.
    pub(crate) fn fetch_record(&self, hash: u64) {
        self.places.find(hash, |place| {
            let slot = self.slot(place);
            fetch(&slot.record);
            fetch(&slot.uses);
            true
        });
    }

    /// The place of a digest's record.
    pub(crate) fn find(&self, hash: u64, digest: &Digest) -> Option<u32> {
        self.places.find(hash, |place| self.at(place).digest.same(digest))
    }

    /// The record of a digest, copied out.
    pub(crate) fn get(&self, hash: u64, digest: &Digest) -> Option<Record> {
        self.find(hash, digest).map(|place| *self.at(place))
    }

    /// Notes the use of the plaintext at a place, through a gateway by its number. False if there is no room for it.
    pub(crate) fn note(&self, place: u32, at: Timestamp, by: u32) -> bool {
        match self.slot(place).uses.note(at, by) {
            Noted::NoRoom => return false,
            Noted::Again => {}
            Noted::First => {
                let bit = place as usize % CHUNK;
                let word = &self.chunks[place as usize / CHUNK].used[bit / 64];
                word.fetch_or(1 << (bit % 64), Ordering::AcqRel);
            }
        }
        true
    }

    /// Takes the uses of one chunk. False if there is no such chunk.
    pub(crate) fn take_uses(&self, chunk: usize, mut take: impl FnMut(TokenId, Tally)) -> bool {
        let Some(chunk) = self.chunks.get(chunk) else { return false };
        for (word, slots) in chunk.used.iter().zip(chunk.slots.chunks(64)) {
            if word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // The bits first: a use that is noted from now on sets its bit again.
            let bits = word.swap(0, Ordering::AcqRel);
            for slot in (0..64).filter(|bit| bits >> bit & 1 == 1).filter_map(|bit| slots.get(bit)) {
                if let Some(tally) = slot.uses.take() {
                    take(slot.record.id, tally);
                }
            }
        }
        true
    }

    /// Puts a record, over the one of the same digest if there is one, and says where it lies.
    pub(crate) fn put(&mut self, seed: &Seed, hash: u64, record: Record) -> u32 {
        if let Some(place) = self.find(hash, &record.digest) {
            *self.at_mut(place) = record;
            return place;
        }
        let place = self.store(record);
        let chunks = &self.chunks;
        self.places.insert(hash, place, |place| seed.of_digest(&slot(chunks, place).record.digest));
        place
    }

    /// Makes room for so many records in all.
    pub(crate) fn reserve(&mut self, seed: &Seed, records: usize) {
        let chunks = &self.chunks;
        self.places.reserve(records, |place| seed.of_digest(&slot(chunks, place).record.digest));
    }

    fn store(&mut self, record: Record) -> u32 {
        if let Some(place) = self.free.pop() {
            *self.at_mut(place) = record;
            return place;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.slots.len() == CHUNK) {
            self.chunks.push(Chunk { slots: Vec::with_capacity(CHUNK), ..Chunk::default() });
        }
        let full = (self.chunks.len() - 1) * CHUNK;
        let chunk = &mut self.chunks[full / CHUNK];
        chunk.slots.push(Slot { record, uses: Uses::default() });
        (full + chunk.slots.len() - 1) as u32
    }

    /// Takes the record of a digest away, and gives its uses back.
    pub(crate) fn remove(&mut self, seed: &Seed, hash: u64, digest: &Digest) -> Option<(TokenId, Tally)> {
        let chunks = &self.chunks;
        let of = |place| &slot(chunks, place).record.digest;
        let place =
            self.places.remove(hash, |place| of(place) == digest, |place| seed.of_digest(of(place)))?;
        let slot = self.slot(place);
        let uses = slot.uses.take().map(|tally| (slot.record.id, tally));
        self.free.push(place);
        uses
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.slots.capacity() * size_of::<Slot>()).sum();
        let lists = self.free.capacity() * size_of::<u32>() + self.chunks.capacity() * size_of::<Chunk>();
        chunks + lists + self.places.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_eighty_bytes_and_its_uses_eight() {
        assert_eq!(size_of::<Slot>(), 88);
    }
}
