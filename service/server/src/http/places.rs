//! Places for requests under way, and who has one.

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

/// A request's place, which it has while it is worked on and not while its body is waited for: 2,000 clients who send none
/// must not keep out those who do.
pub(super) struct Place {
    /// None for a request that needs no place.
    places: Option<Places>,
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Place {
    /// The place of a request that was admitted, if it was given one.
    pub(super) fn new(place: Option<OwnedSemaphorePermit>, places: &Places) -> Self {
        Self { places: place.is_some().then(|| places.clone()), place: Mutex::new(place) }
    }

    /// The body is waited for.
    pub(super) fn give_back(&self) {
        drop(self.place.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// The body is here.
    ///
    /// # Errors
    /// The place was given back, and now there is none.
    pub(super) fn take_again(&self) -> Result<(), Overloaded> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let (None, Some(places)) = (&*place, &self.places) {
            *place = Some(places.take()?);
        }
        Ok(())
    }
}
