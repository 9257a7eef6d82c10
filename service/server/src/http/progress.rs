//! How far a connection's present request is: told by who answers it, read by who moves its bytes.

use futures_util::task::AtomicWaker;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::Context;

/// How far the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// The next request is waited for.
    Waiting,
    /// The answer is complete; the next request has not been waited for yet.
    Answered,
    /// A request is being answered: its own limits hold.
    Request,
    /// The next request is waited for without hyper.
    Rests,
    /// The connection speaks HTTP/2: its frames are looked at.
    Streams,
}

/// What the requests of a connection tell its bytes. Written by the service that answers them, read by
/// [`super::wire::Wire`]. Each request of HTTP/2 has one of its own, of which its stream reads whether it was cut.
#[derive(Default)]
pub struct Progress {
    phase: AtomicU8,
    /// Whether the body of a request may still be coming.
    body_comes: AtomicBool,
    /// Whether what was not written of the answer is not to be written any more.
    cut: AtomicBool,
    /// Whether its client kept the service waiting and made way for others.
    made_way: AtomicBool,
    /// Who writes, while its client takes nothing.
    writer: AtomicWaker,
}

impl Progress {
    /// A request has come; `body` says whether more of it will.
    pub fn request(&self, body: bool) {
        self.body_comes.store(body, Ordering::Relaxed);
        self.made_way.store(false, Ordering::Relaxed);
        self.goes_on(Phase::Request);
    }

    /// The body of the request is here.
    pub fn body_came(&self) {
        self.body_comes.store(false, Ordering::Relaxed);
    }

    /// The answer was handed over whole.
    pub fn answered(&self) {
        self.goes_on(Phase::Answered);
    }

    /// The answer may not go on. A client that has taken all of it so far notices nothing; one that has not loses its
    /// connection.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.writer.wake();
    }

    /// Whether the answer was cut; if not, the task is woken when it is.
    pub(super) fn is_cut(&self, cx: &Context<'_>) -> bool {
        self.writer.register(cx.waker());
        self.cut.load(Ordering::Acquire)
    }

    /// The connection has come to another phase.
    pub(super) fn goes_on(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Whether the next request is waited for without hyper.
    pub(super) fn rests(&self) -> bool {
        self.phase() == Phase::Rests
    }

    /// Its client made way for others, or there was no room for what it sends.
    pub(super) fn makes_way(&self) {
        self.made_way.store(true, Ordering::Relaxed);
    }

    /// Whether its client made way for others.
    pub(super) fn made_way(&self) -> bool {
        self.made_way.load(Ordering::Relaxed)
    }

    /// There may be more to read, though nobody will.
    pub(super) fn more_comes(&self) {
        self.body_comes.store(true, Ordering::Relaxed);
    }

    /// Whether there may be more to read.
    pub(super) fn body_comes(&self) -> bool {
        self.body_comes.load(Ordering::Relaxed)
    }

    /// Where the connection is.
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Waiting,
            1 => Phase::Answered,
            2 => Phase::Request,
            3 => Phase::Rests,
            _ => Phase::Streams,
        }
    }
}
