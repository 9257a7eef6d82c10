//! A hash table of places, whose keys lie where the places lead.
//!
//! It is our own for what a lookup among millions costs: memory that is in no cache. An entry is one word that holds a
//! place and seven bits of its key's hash, and its neighbours lie in the same line of the cache, so that one line is waited
//! for here and one where the record is. A general table keeps those bits apart from its values: two lines.
//!
//! Open addressing with linear probing; what is removed is filled from behind, so nothing is left to skip.

use super::ahead::fetch;

/// Bits of a place in an entry. The others are the hash's.
const BITS: u32 = 25;
/// Places that can be kept: one more would be an entry's "empty".
const MOST: u32 = (1 << BITS) - 1;
const EMPTY: u32 = 0;
/// Entries of the smallest table.
const LEAST: usize = 8;

/// See the module. Whoever calls it knows the hash of every key that is in it.
#[derive(Default)]
pub(crate) struct Table {
    /// A power of two of them, or none.
    entries: Vec<u32>,
    len: usize,
}

/// Whether so many places may lie in so many entries: four fifths are taken at most, so that a search stays short.
fn has_room(len: usize, entries: usize) -> bool {
    len * 5 <= entries * 4
}

fn tag(hash: u64) -> u32 {
    (hash >> (64 - (u32::BITS - BITS))) as u32
}

impl Table {
    fn home(&self, hash: u64) -> usize {
        // The lowest bits choose the shard, the highest are the tag.
        (hash >> 16) as usize & (self.entries.len() - 1)
    }

    /// Where the entry is that `is` says yes to.
    fn position(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<usize> {
        if self.entries.is_empty() {
            return None;
        }
        let (mut at, tag) = (self.home(hash), tag(hash));
        loop {
            let entry = self.entries[at];
            if entry == EMPTY {
                return None;
            }
            if entry >> BITS == tag && is((entry & MOST) - 1) {
                return Some(at);
            }
            at = (at + 1) & (self.entries.len() - 1);
        }
    }

    /// Asks for the memory in which a search begins.
    pub(crate) fn fetch(&self, hash: u64) {
        if !self.entries.is_empty() {
            fetch(&self.entries[self.home(hash)]);
        }
    }

    /// The place of a key, which `is` tells from others with the same bits.
    pub(crate) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.position(hash, is).map(|at| (self.entries[at] & MOST) - 1)
    }

    /// Adds the place of a key that is not there. `hash_of` gives the hash of a place's key.
    ///
    /// # Panics
    /// If the place is beyond what an entry can hold.
    pub(crate) fn insert(&mut self, hash: u64, place: u32, hash_of: impl Fn(u32) -> u64) {
        assert!(place < MOST, "a table holds at most {MOST} places");
        if !has_room(self.len + 1, self.entries.len()) {
            self.grow(hash_of);
        }
        self.put(hash, place);
        self.len += 1;
    }

    /// Puts an entry into the first empty one from its home on.
    fn put(&mut self, hash: u64, place: u32) {
        let mut at = self.home(hash);
        while self.entries[at] != EMPTY {
            at = (at + 1) & (self.entries.len() - 1);
        }
        self.entries[at] = tag(hash) << BITS | (place + 1);
    }

    fn grow(&mut self, hash_of: impl Fn(u32) -> u64) {
        self.become_of((self.entries.len() * 2).max(LEAST), hash_of);
    }

    /// Makes room for so many places in all, so that none is moved until then.
    pub(crate) fn reserve(&mut self, places: usize, hash_of: impl Fn(u32) -> u64) {
        let mut entries = self.entries.len().max(LEAST);
        while !has_room(places, entries) {
            entries *= 2;
        }
        if entries > self.entries.len() {
            self.become_of(entries, hash_of);
        }
    }

    fn become_of(&mut self, entries: usize, hash_of: impl Fn(u32) -> u64) {
        let old = std::mem::replace(&mut self.entries, vec![EMPTY; entries]);
        for place in old.into_iter().filter(|entry| *entry != EMPTY).map(|entry| (entry & MOST) - 1) {
            self.put(hash_of(place), place);
        }
    }

    /// Removes the place of a key, and gives it.
    pub(crate) fn remove(
        &mut self,
        hash: u64,
        is: impl Fn(u32) -> bool,
        hash_of: impl Fn(u32) -> u64,
    ) -> Option<u32> {
        let mut hole = self.position(hash, is)?;
        let removed = (self.entries[hole] & MOST) - 1;
        let mask = self.entries.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let entry = self.entries[at];
            if entry == EMPTY {
                break;
            }
            // One whose home lies behind the hole is found without the hole being filled.
            let home = self.home(hash_of((entry & MOST) - 1));
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.entries[hole] = entry;
                hole = at;
            }
        }
        self.entries[hole] = EMPTY;
        self.len -= 1;
        Some(removed)
    }

    /// How many places are in it.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that are allocated for it.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Whatever is put in and taken out, every key is found at its place, and no other is.
    fn behaves(hash_of: impl Fn(u32) -> u64 + Copy, keys: u32) {
        let (mut table, mut model) = (Table::default(), BTreeMap::new());
        // A key is what is under its place.
        let mut under: Vec<u32> = Vec::new();
        for step in 0..4000 {
            let (key, grows) = (mixed(step) as u32 % keys, mixed(step) >> 40 & 7 < 5);
            let held =
                |under: &[u32], table: &Table| table.find(hash_of(key), |place| under[place as usize] == key);
            assert_eq!(held(&under, &table), model.get(&key).copied());
            match model.get(&key) {
                None if grows => {
                    under.push(key);
                    let place = under.len() as u32 - 1;
                    table.insert(hash_of(key), place, |place| hash_of(under[place as usize]));
                    model.insert(key, place);
                }
                Some(_) if !grows => {
                    let is = |place: u32| under[place as usize] == key;
                    let removed = table.remove(hash_of(key), is, |place| hash_of(under[place as usize]));
                    assert_eq!(removed, model.remove(&key));
                }
                _ => {}
            }
            assert_eq!(table.len(), model.len());
            assert!(has_room(table.len(), table.entries.len()));
            for (key, place) in &model {
                assert_eq!(table.find(hash_of(*key), |at| under[at as usize] == *key), Some(*place));
            }
        }
    }

    fn mixed(key: u32) -> u64 {
        (u64::from(key) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    }

    #[test]
    fn what_is_in_is_found_and_nothing_else() {
        behaves(mixed, 300);
    }

    #[test]
    fn homes_that_are_shared_and_runs_that_go_round_the_end_lose_nothing() {
        // At home in the last entry or its neighbours, and told apart by their keys alone.
        behaves(|_| u64::MAX, 40);
        behaves(|key| if key % 2 == 0 { u64::MAX } else { u64::MAX - (1 << 16) }, 60);
        behaves(|key| u64::from(key % 8) << 16, 60);
    }

    #[test]
    fn what_room_was_made_for_moves_nothing() {
        let mut table = Table::default();
        table.insert(mixed(0), 0, mixed);
        table.reserve(1000, mixed);
        let entries = table.entries.len();
        (1..1000).for_each(|place| table.insert(mixed(place), place, |_| unreachable!("nothing is moved")));
        table.reserve(10, |_| unreachable!("there is room"));
        assert_eq!(table.entries.len(), entries);
        assert!((0..1000).all(|key| table.find(mixed(key), |place| place == key) == Some(key)));
    }

    #[test]
    fn an_empty_one_takes_no_memory_and_has_nothing() {
        let mut table = Table::default();
        assert_eq!(table.find(1, |_| true), None);
        assert_eq!(table.remove(1, |_| true, |_| 1), None);
        assert_eq!((table.len(), table.memory_bytes()), (0, 0));
    }

    #[test]
    fn the_last_place_fits_and_the_next_is_refused() {
        let mut table = Table::default();
        table.insert(5, MOST - 1, |_| 5);
        assert_eq!(table.find(5, |_| true), Some(MOST - 1));
        let beyond = std::panic::AssertUnwindSafe(|| table.insert(6, MOST, |_| 6));
        assert!(std::panic::catch_unwind(beyond).is_err());
    }
}
