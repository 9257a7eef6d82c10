//! Cursors: the place where a list's next page begins.
//!
//! A cursor is opaque to clients. It holds a place, and a hash over the place and what it belongs to: the list, whose
//! it is, its order and its filters. One that comes back to another list, or cut, is refused. It is no secret and gives
//! no right, since a list shows only what its caller may see. But anybody can compute one, so its place may be
//! anything: a list looks at it before it asks the database.

use super::problem::Problem;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// Bytes of the hash that are kept: enough for no accident to fit.
const CHECK: usize = 12;

/// 400: the answer to any cursor that no page gave.
pub fn refused() -> Problem {
    Problem::malformed("cursor", "It is the next_cursor of a page of the same list, order and filters.")
}

/// What a cursor belongs to.
#[derive(Clone)]
pub struct Belongs(Sha256);

impl Belongs {
    /// A list, by its path.
    pub fn to(list: &str) -> Self {
        Self(Sha256::new()).and(list.as_bytes())
    }

    /// Whose it is, its order, a filter: one thing more that makes a list another one.
    #[must_use]
    pub fn and(mut self, part: &[u8]) -> Self {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
        self
    }

    fn check(&self, place: &[u8]) -> [u8; CHECK] {
        let hash = self.clone().and(place).0.finalize();
        std::array::from_fn(|at| hash[at])
    }

    /// The cursor of a place.
    pub fn seal<const N: usize>(&self, place: [u8; N]) -> String {
        let mut bytes = place.to_vec();
        bytes.extend_from_slice(&self.check(&place));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The place of a cursor.
    ///
    /// # Errors
    /// 400 for anything but a cursor that belongs here.
    pub fn open<const N: usize>(&self, cursor: &str) -> Result<[u8; N], Problem> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| refused())?;
        let (place, check) = bytes.split_at_checked(N).ok_or_else(refused)?;
        let place: [u8; N] = place.try_into().map_err(|_| refused())?;
        if self.check(&place) == check { Ok(place) } else { Err(refused()) }
    }
}
