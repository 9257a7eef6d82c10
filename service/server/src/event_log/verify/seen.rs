//! What was met already: millions of rows, so a bit for each and not its id.

use counterfoil_domain::ids::{Seq, UserId};
use counterfoil_domain::user::STANDING_TOKENS;
use std::collections::{BTreeMap, HashMap};

/// Bits of a piece: 4 KiB.
const BITS: Seq = 64 * WORDS as Seq;
const WORDS: usize = 512;

/// Positions in the log. They stand for what an event made: a token is the only one that was issued at its own.
///
/// Pieces are there where there is something: a log that was tampered with may have a gap of any size.
#[derive(Default)]
pub(super) struct Positions {
    pieces: BTreeMap<Seq, Box<[u64; WORDS]>>,
    len: usize,
}

impl Positions {
    /// False if it was met before.
    pub(super) fn insert(&mut self, seq: Seq) -> bool {
        let piece = self.pieces.entry(seq / BITS).or_insert_with(|| Box::new([0; WORDS]));
        let is_new = set(&mut piece[(seq % BITS / 64) as usize], seq % 64);
        self.len += usize::from(is_new);
        is_new
    }

    pub(super) fn contains(&self, seq: Seq) -> bool {
        let piece = self.pieces.get(&(seq / BITS));
        piece.is_some_and(|piece| piece[(seq % BITS / 64) as usize] >> (seq % 64) & 1 == 1)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// Slots of users.
#[derive(Default)]
pub(super) struct Slots {
    users: HashMap<UserId, u64>,
    len: usize,
}

const _: () = assert!(STANDING_TOKENS <= 64, "a user's slots are bits of a word");

impl Slots {
    /// False if it was met before. The slot is one that a token can hold.
    pub(super) fn insert(&mut self, user: UserId, slot: u16) -> bool {
        let is_new = set(self.users.entry(user).or_default(), slot.into());
        self.len += usize::from(is_new);
        is_new
    }

    pub(super) fn contains(&self, user: UserId, slot: u16) -> bool {
        self.users.get(&user).is_some_and(|slots| slots >> slot & 1 == 1)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// Sets a bit. False if it was set.
fn set(word: &mut u64, bit: u64) -> bool {
    let before = *word;
    *word |= 1 << bit;
    *word != before
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use uuid::Uuid;

    #[test]
    fn each_position_is_new_once_however_far_apart_they_are() {
        let mut seen = Positions::default();
        let positions = [0, 1, 63, 64, BITS - 1, BITS, BITS + 1, 1 << 40, Seq::MAX - 1, Seq::MAX];
        let mut model = BTreeSet::new();
        for seq in positions.into_iter().chain([64, 0, Seq::MAX]) {
            assert_eq!(seen.insert(seq), model.insert(seq), "{seq}");
            assert_eq!(seen.len(), model.len());
            let near = positions.into_iter().flat_map(|seq| [seq.wrapping_sub(1), seq, seq.wrapping_add(1)]);
            near.for_each(|seq| assert_eq!(seen.contains(seq), model.contains(&seq), "{seq}"));
        }
    }

    #[test]
    fn each_slot_is_new_once_for_each_user() {
        let mut seen = Slots::default();
        for user in [1, 2].map(|user| UserId(Uuid::from_u128(user))) {
            for slot in [0, 1, STANDING_TOKENS as u16 - 1] {
                assert!(!seen.contains(user, slot));
                assert!(seen.insert(user, slot) && !seen.insert(user, slot));
                assert!(seen.contains(user, slot));
            }
        }
        assert_eq!(seen.len(), 6);
    }
}
