//! Places for requests under way, and what one of them holds.

use crate::ops::memory::{NoRoom, Room};
use metrics::Counter;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places for requests under way. Clones share them.
#[derive(Clone)]
pub(super) struct Places {
    places: Arc<Semaphore>,
    shed: Counter,
}

/// What was asked for is all taken: whoever asked is shed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the service is overloaded")]
pub(super) struct Overloaded;

impl Places {
    /// So many. Whoever gets none is counted.
    pub(super) fn new(count: usize, shed: Counter) -> Self {
        Self { places: Arc::new(Semaphore::new(count)), shed }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn take(&self) -> Result<OwnedSemaphorePermit, Overloaded> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            self.shed.increment(1);
            Overloaded
        })
    }
}

impl From<NoRoom> for Overloaded {
    fn from(_: NoRoom) -> Self {
        Self
    }
}

/// What a request holds while it is worked on: a place, but for the time in which its body is waited for, since 2,000
/// clients who send none must not keep out those who do; and room for a body that was waited for.
pub(super) struct Held {
    /// None for a request that needs no place.
    places: Option<Places>,
    place: Mutex<Option<OwnedSemaphorePermit>>,
    room: Mutex<Room>,
}

impl Held {
    /// By a request that was admitted, and given a place if it needs one.
    pub(super) fn new(place: Option<OwnedSemaphorePermit>, places: &Places, room: Room) -> Self {
        let places = place.is_some().then(|| places.clone());
        Self { places, place: Mutex::new(place), room: Mutex::new(room) }
    }

    /// So much of a body has come that is waited for, or was.
    ///
    /// # Errors
    /// There is no room for it.
    pub(super) fn has_come(&self, bytes: usize) -> Result<(), Overloaded> {
        Ok(self.room.lock().unwrap_or_else(PoisonError::into_inner).hold(with_buffer(bytes))?)
    }

    /// The body is waited for.
    pub(super) fn waits(&self) {
        drop(self.place.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// The body is here.
    ///
    /// # Errors
    /// The place was given back, and now there is none.
    pub(super) fn goes_on(&self) -> Result<(), Overloaded> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(places)) = (&*place, &self.places) {
            *place = Some(places.take()?);
        }
        Ok(())
    }
}

/// What a body costs that is waited for: itself, and a buffer of its connection that grew with it.
pub(super) fn with_buffer(bytes: usize) -> usize {
    2 * bytes
}
