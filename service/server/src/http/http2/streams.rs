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
    /// The pieces of answers that wait for the client, oldest first: their numbers, and since when.
    waiting: Vec<(u64, Instant)>,
    /// The number of the next piece.
    next: u64,
    /// When a request came or ended, or the client took a piece of an answer.
    moved: Instant,
}

impl State {
    /// Since when nothing has moved, be it of one answer alone.
    fn since(&self) -> Instant {
        self.waiting.first().map_or(self.moved, |(_, since)| *since)
    }

    /// From what the connection rests, and how long it may: one that is `leaving` has been told of what stalled.
    fn rests(&self, idle: Duration, unread: Duration, leaving: bool) -> Option<(Rested, Instant)> {
        match (self.under_way, self.waiting.is_empty()) {
            (0, _) => Some((Rested::Idle, self.moved + idle)),
            (_, true) => None,
            _ if !leaving && self.since() < self.moved => Some((Rested::Stalled, self.since() + unread)),
            _ => Some((Rested::Unread, self.moved + unread)),
        }
    }
}

/// What a connection rested from for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rested {
    /// There was no request.
    Idle,
    /// The client took nothing of an answer, though something moved beside it.
    Stalled,
    /// The client took nothing of what waits for it.
    Unread,
}

impl Streams {
    pub(super) fn new(places: Arc<Semaphore>, crowd: Crowd, peer: IpAddr) -> Self {
        let state = State { under_way: 0, waiting: Vec::new(), next: 0, moved: Instant::now() };
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
        (Stream { of: self.clone(), waits: None, _place: place }, has_place)
    }

    /// Waits until something has not moved for too long, on a connection that is `leaving` or not.
    pub(super) async fn rest(&self, idle: Duration, times: Times, leaving: bool) -> Rested {
        loop {
            let rests = self.state().rests(idle, times.write, leaving);
            let now = Instant::now();
            // What it rests from may change meanwhile, and with it the limit.
            let look_again = now + idle.min(times.write);
            match rests {
                Some((rested, until)) if until <= now => return rested,
                Some((_, until)) => sleep_until(look_again.min(until)).await,
                None => sleep_until(look_again).await,
            }
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
        self.state().since()
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
    /// The piece of the answer that waits for the client.
    waits: Option<u64>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Stream {
    /// The next piece of the answer is there and waits for the client to take it, or there is none yet.
    pub(super) fn waits_for_client(&mut self, waits: bool) {
        let waited = self.waits.take();
        self.waits = self.of.change(|state| {
            state.waiting.retain(|(number, _)| Some(*number) != waited);
            waits.then(|| {
                let number = state.next;
                state.next += 1;
                state.waiting.push((number, state.moved));
                number
            })
        });
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.of.change(|state| {
            state.under_way -= 1;
            state.waiting.retain(|(number, _)| Some(*number) != self.waits);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::Counter;
    use std::net::Ipv4Addr;

    #[test]
    fn what_one_answer_rests_from_is_seen_whatever_moves_beside_it() {
        let crowd = Crowd::of_http2(0, &Counter::noop());
        let streams = Arc::new(Streams::new(Arc::new(Semaphore::new(1)), crowd, Ipv4Addr::LOCALHOST.into()));
        let (idle, unread) = (Duration::from_secs(75), Duration::from_secs(30));
        let rests = |leaving| streams.state().rests(idle, unread, leaving);
        let moved = || streams.state().moved;
        assert_eq!(rests(false), Some((Rested::Idle, moved() + idle)));
        let ((mut first, _), (mut second, _)) = (streams.begin(), streams.begin());
        assert_eq!(rests(false), None);

        first.waits_for_client(true);
        let stalled = moved();
        assert_eq!((streams.since(), rests(false)), (stalled, Some((Rested::Unread, stalled + unread))));
        second.waits_for_client(true);
        assert_eq!((streams.since(), rests(false)), (stalled, Some((Rested::Stalled, stalled + unread))));
        // Its client has been told; what moves is waited for.
        assert_eq!(rests(true), Some((Rested::Unread, moved() + unread)));
        assert!(moved() > stalled);

        // The next piece waits for as long as any.
        let second_waits = moved();
        first.waits_for_client(true);
        assert_eq!(
            (streams.since(), rests(false)),
            (second_waits, Some((Rested::Stalled, second_waits + unread)))
        );
        drop(second);
        first.waits_for_client(false);
        assert_eq!((streams.since(), rests(false)), (moved(), None));
        drop(first);
        assert_eq!(rests(false), Some((Rested::Idle, moved() + idle)));
    }
}
