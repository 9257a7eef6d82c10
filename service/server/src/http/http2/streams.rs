//! The requests of one HTTP/2 connection: how many there are, and whether anything moves.
//!
//! A hundred streams cost nearly as much as a hundred connections, and are opened for less. So the first stream of a
//! connection stands in the connection's own place, and each further one takes a place among those of the listener. Where
//! places run out, a connection that keeps them for a client who takes nothing makes way.

use crate::http::slow::{Crowd, Slow};
use crate::http::wire::Times;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// See the module.
pub(super) struct Streams {
    state: Mutex<State>,
    /// The listener's, for all streams but the first of each connection.
    places: Arc<Semaphore>,
    /// The connections among which this is one.
    crowd: Crowd,
    peer: IpAddr,
    makes_way: Notify,
}

struct State {
    /// Requests whose answers were not handed over whole.
    under_way: usize,
    /// Those of them whose next piece waits for the client.
    waiting: usize,
    /// When a request came or ended, or the client took a piece of an answer.
    moved: Instant,
}

/// What a connection rested from for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rested {
    /// There was no request.
    Idle,
    /// The client took nothing of what waits for it.
    Unread,
}

impl Streams {
    pub(super) fn new(places: Arc<Semaphore>, crowd: Crowd, peer: IpAddr) -> Self {
        let state = State { under_way: 0, waiting: 0, moved: Instant::now() };
        Self { state: Mutex::new(state), places, crowd, peer, makes_way: Notify::new() }
    }

    /// Waits until the connection makes way for others.
    pub(super) async fn makes_way(&self) {
        self.makes_way.notified().await;
    }

    /// A request has come. Says whether there was a place for it.
    pub(super) fn begin(self: &Arc<Self>) -> (Stream, bool) {
        let is_first = self.change(|state| {
            state.under_way += 1;
            state.under_way == 1
        });
        let place = if is_first { None } else { self.places.clone().try_acquire_owned().ok() };
        let has_place = is_first || place.is_some();
        if !has_place {
            self.crowd.make_way(self.peer);
        }
        (Stream { of: self.clone(), waits: false, _place: place }, has_place)
    }

    /// Waits until nothing has moved for too long.
    pub(super) async fn rest(&self, idle: Duration, times: Times) -> Rested {
        loop {
            let (rests, moved) = {
                let state = self.state();
                let rests = match (state.under_way, state.waiting) {
                    (0, _) => Some((Rested::Idle, idle)),
                    (_, 0) => None,
                    _ => Some((Rested::Unread, times.write)),
                };
                (rests, state.moved)
            };
            let now = Instant::now();
            // What it rests from may change meanwhile, and with it the limit.
            let look_again = now + idle.min(times.write);
            let Some((rested, limit)) = rests else {
                sleep_until(look_again).await;
                continue;
            };
            if moved + limit <= now {
                return rested;
            }
            sleep_until(look_again.min(moved + limit)).await;
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        state.moved = Instant::now();
        change(&mut state)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slow for Streams {
    fn since(&self) -> Instant {
        self.state().moved
    }

    fn weight(&self) -> usize {
        self.state().under_way.max(1)
    }

    fn end(&self) {
        self.makes_way.notify_one();
    }
}

/// One request, until its answer was handed over whole or given up.
pub(super) struct Stream {
    of: Arc<Streams>,
    waits: bool,
    _place: Option<OwnedSemaphorePermit>,
}

impl Stream {
    /// The next piece of the answer is there and waits for the client to take it, or there is none yet.
    pub(super) fn waits_for_client(&mut self, waits: bool) {
        let waited = std::mem::replace(&mut self.waits, waits);
        self.of.change(|state| state.waiting = state.waiting + usize::from(waits) - usize::from(waited));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.of.change(|state| {
            state.under_way -= 1;
            state.waiting -= usize::from(self.waits);
        });
    }
}
