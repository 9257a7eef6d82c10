//! Places for requests under way, and what one of them holds.

use super::progress::Progress;
use super::slow::{Crowd, Waiting};
use crate::ops::memory::{NoRoom, Room};
use metrics::Counter;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
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

/// A body that comes: the room that it takes once it is waited for, and who is waited for meanwhile.
pub(super) struct Coming {
    room: Room,
    waits: Crowd,
    from: IpAddr,
    progress: Arc<Progress>,
    waiting: Option<Waiting>,
}

impl Coming {
    /// Nothing of it has come from this address, or is waited for.
    pub(super) fn new(room: Room, waits: Crowd, from: IpAddr, progress: Arc<Progress>) -> Self {
        Self { room, waits, from, progress, waiting: None }
    }

    /// So much of it has come, and was waited for or will be.
    ///
    /// # Errors
    /// There is no room for it.
    pub(super) fn has_come(&mut self, bytes: usize) -> Result<(), Overloaded> {
        self.room.hold(with_buffer(bytes)).inspect_err(|_| self.progress.makes_way())?;
        Ok(())
    }

    /// More of it is waited for. However often that is, it is one wait.
    ///
    /// # Errors
    /// It has to make way for others; if not, the task is woken when it has.
    pub(super) fn waits(&mut self, cx: &Context<'_>) -> Result<(), Overloaded> {
        let waiting = self.waiting.get_or_insert_with(|| self.waits.wait(self.from));
        if waiting.is_over(cx) {
            self.progress.makes_way();
            return Err(Overloaded);
        }
        Ok(())
    }
}

/// What a request holds while it is worked on: a place, but for the time in which its body is waited for, since 2,000
/// clients who send none must not keep out those who do; and what a body holds that is waited for.
pub(super) struct Held {
    /// None for a request that needs no place.
    places: Option<Places>,
    place: Mutex<Option<OwnedSemaphorePermit>>,
    coming: Mutex<Coming>,
}

impl Held {
    /// By a request that was admitted, and given a place if it needs one.
    pub(super) fn new(place: Option<OwnedSemaphorePermit>, places: &Places, coming: Coming) -> Self {
        let places = place.is_some().then(|| places.clone());
        Self { places, place: Mutex::new(place), coming: Mutex::new(coming) }
    }

    /// So much of a body has come that is waited for, or was.
    ///
    /// # Errors
    /// There is no room for it.
    pub(super) fn has_come(&self, bytes: usize) -> Result<(), Overloaded> {
        self.coming().has_come(bytes)
    }

    /// The body is waited for.
    ///
    /// # Errors
    /// It has to make way for others.
    pub(super) fn waits(&self, cx: &Context<'_>) -> Result<(), Overloaded> {
        drop(self.place.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.coming().waits(cx)
    }

    /// The body is here.
    ///
    /// # Errors
    /// The place was given back, and now there is none.
    pub(super) fn goes_on(&self) -> Result<(), Overloaded> {
        self.coming().waiting = None;
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(places)) = (&*place, &self.places) {
            *place = Some(places.take()?);
        }
        Ok(())
    }

    fn coming(&self) -> MutexGuard<'_, Coming> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a body costs that is waited for: itself, and a buffer of its connection that grew with it.
pub(super) fn with_buffer(bytes: usize) -> usize {
    2 * bytes
}
