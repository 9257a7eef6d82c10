//! How far a connection's present request is: told by who answers it, read by who moves its bytes.

use futures_util::task::AtomicWaker;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::Context;

/// No byte of the next request has come.
pub(super) const IDLE: u8 = 0;
/// A head is coming.
pub(super) const HEAD: u8 = 1;
/// A request is being answered: its own limits hold.
pub(super) const REQUEST: u8 = 2;
/// The answer is complete; the next request has not been waited for yet.
pub(super) const ANSWERED: u8 = 3;

/// What the requests of a connection tell its bytes. Written by the service that answers them, read by
/// [`super::wire::Wire`].
#[derive(Default)]
pub struct Progress {
    phase: AtomicU8,
    /// Whether the body of a request may still be coming.
    body_comes: AtomicBool,
    /// Whether what was not written of the answer is not to be written any more.
    cut: AtomicBool,
    /// Who writes, while its client takes nothing.
    writer: AtomicWaker,
}

impl Progress {
    /// A request has come; `body` says whether more of it will.
    pub fn request(&self, body: bool) {
        self.body_comes.store(body, Ordering::Relaxed);
        self.phase.store(REQUEST, Ordering::Relaxed);
    }

    /// The body of the request is here.
    pub fn body_came(&self) {
        self.body_comes.store(false, Ordering::Relaxed);
    }

    /// The answer was handed over whole.
    pub fn answered(&self) {
        self.phase.store(ANSWERED, Ordering::Relaxed);
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
    pub(super) fn goes_on(&self, phase: u8) {
        self.phase.store(phase, Ordering::Relaxed);
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
    pub(super) fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }
}
