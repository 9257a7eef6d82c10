//! Memory for what a client is waited for with: what has come of heads and of bodies that come, and what was not taken of
//! bodies that go. A client that takes its time costs no more than it sends or asks for, but there may be ten thousand of them; so
//! all of them together have so much, and who comes on top is told to come back later.
//!
//! What has come in one piece, and what is small, takes nothing: whoever is slow keeps nobody out who is not.

use metrics::Counter;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// KiB for bodies that come. Those of a program that knows what it sends are small, or come in one piece.
const COMING: usize = 8 * 1024;
/// KiB for bodies that go: apart, since anybody may send one, and only who has a credential is answered at length.
const GOING: usize = 16 * 1024;
/// KiB for heads that come: apart, so that those who send none to its end do not keep out bodies.
const HEADS: usize = 8 * 1024;
/// Bytes of a body that are free.
pub const FREE: usize = 2 * 1024;

/// See the module. Clones share it.
#[derive(Clone)]
pub struct Memory {
    coming: Share,
    going: Share,
    heads: Share,
}

/// The memory of one kind.
#[derive(Clone)]
struct Share {
    kib: Arc<Semaphore>,
    shed: Counter,
}

/// There is no room for it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("there is no room for it")]
pub struct NoRoom;

/// The room of one body.
pub struct Room {
    of: Share,
    taken: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// Nothing of it is taken. Whoever gets none is counted.
    pub fn new(shed: &Counter) -> Self {
        let share = |kib| Share { kib: Arc::new(Semaphore::new(kib)), shed: shed.clone() };
        Self { coming: share(COMING), going: share(GOING), heads: share(HEADS) }
    }

    /// Room for a body that comes: none so far.
    pub fn coming(&self) -> Room {
        Room { of: self.coming.clone(), taken: None }
    }

    /// Room for a head that comes: none so far.
    pub fn head(&self) -> Room {
        Room { of: self.heads.clone(), taken: None }
    }

    /// Room for a body of so many bytes that goes.
    ///
    /// # Errors
    /// There is none.
    pub fn going(&self, bytes: usize) -> Result<Room, NoRoom> {
        let mut room = Room { of: self.going.clone(), taken: None };
        room.hold(bytes).map(|()| room)
    }
}

impl Room {
    /// Sees to room for so many bytes in all.
    ///
    /// # Errors
    /// There is none for those that are new.
    pub fn hold(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let needed = bytes.saturating_sub(FREE).div_ceil(1024);
        let more = needed.saturating_sub(self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if more == 0 {
            return Ok(());
        }
        let more =
            u32::try_from(more).ok().and_then(|more| self.of.kib.clone().try_acquire_many_owned(more).ok());
        match (more, &mut self.taken) {
            (Some(more), Some(taken)) => taken.merge(more),
            (Some(more), none) => *none = Some(more),
            (None, _) => {
                self.of.shed.increment(1);
                return Err(NoRoom);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_as_bodies_grow_and_is_free_again() {
        let memory = Memory::new(&Counter::noop());
        let left = || memory.coming.kib.available_permits();
        let mut room = memory.coming();
        for (bytes, taken) in [(0, 0), (FREE, 0), (FREE + 1, 1), (FREE + 1025, 2), (FREE, 2), (64 * 1024, 62)]
        {
            assert!(room.hold(bytes).is_ok());
            assert_eq!(COMING - left(), taken, "{bytes}");
        }
        let mut rest = memory.coming();
        assert!(rest.hold(COMING * 1024).is_err() && rest.hold((COMING - 62) * 1024 + FREE).is_ok());
        assert_eq!(left(), 0);
        // What is small goes on, and so does the other direction.
        assert!(memory.coming().hold(FREE).is_ok() && memory.coming().hold(FREE + 1).is_err());
        assert!(memory.going(GOING * 1024).is_ok());
        drop((room, rest));
        assert_eq!(left(), COMING);
    }
}
