//! What comes before hyper does: the head of a request, or the preface of HTTP/2.

use super::{Wire, head};
use crate::clock::request_id;
use crate::http::edge::HEAD_BYTES;
use crate::http::places::with_buffer;
use crate::http::problem::Problem;
use crate::http::progress::Phase;
use crate::ops::drain::{Drain, Stage};
use crate::ops::memory::Room;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

/// What a client that speaks HTTP/2 sends first (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A request of HTTP/1.1.
    Request,
    /// HTTP/2, to its end.
    Http2,
    /// Nothing: the client is gone or has asked for nothing before a drain, or is told that there is no room.
    End,
}

impl Wire {
    /// Waits for the head of the next request, in a buffer that grows with it and within `room`; or for what says that the
    /// client speaks HTTP/2, if this is the `first`. With a drain it waits only for what has begun.
    ///
    /// # Errors
    /// Nothing has come in time, or the connection is broken.
    pub async fn next(&mut self, first: bool, mut room: Room, drain: &Drain) -> io::Result<Next> {
        // What hyper has left is part of a head, in which it saw no end.
        let (mut start, mut known) = (0, self.again.len());
        let mut begun = known > 0;
        self.waits_for_the_next();
        loop {
            start += head::empty_lines(&self.again[start..]);
            if let Some(next) = self.opening(first, start, known) {
                return Ok(next);
            }
            known = if first && PREFACE.starts_with(&self.again) { 0 } else { self.again.len() };
            let came = tokio::select! {
                biased;
                came = poll_fn(|cx| self.come(cx, begun, &mut room)) => came?,
                () = drain.reached(Stage::Draining), if !begun => return Ok(Next::End),
            };
            match came {
                None => return Ok(self.no_room()),
                Some(0) => return Ok(if self.again.is_empty() { Next::End } else { Next::Request }),
                Some(_) => {}
            }
            // A byte now and then prolongs nothing, and nor does an empty line.
            if !begun {
                (begun, self.reading.at) = (true, None);
            }
        }
    }

    /// What has come says, if it does: from `start` on, where so much was `known` that did not.
    fn opening(&mut self, first: bool, start: usize, known: usize) -> Option<Next> {
        if first && PREFACE.starts_with(&self.again) && self.again.len() < PREFACE.len() {
            return None;
        }
        let next = if first && self.again.starts_with(PREFACE) {
            self.frames.came(&self.again[PREFACE.len()..]);
            self.progress.more_comes();
            self.progress.goes_on(Phase::Streams);
            Next::Http2
        } else if self.again.len() >= 2 * HEAD_BYTES
            || head::is_whole(&self.again[start..], known.saturating_sub(start))
        {
            Next::Request
        } else {
            return None;
        };
        self.reading.at = None;
        Some(next)
    }

    /// Reads some bytes of a head and says how many, or waits for them: shortly, if it has `begun`. None, if there is no
    /// room to wait with those that are here.
    fn come(
        &mut self,
        cx: &mut Context<'_>,
        begun: bool,
        room: &mut Room,
    ) -> Poll<io::Result<Option<usize>>> {
        let mut bytes = [0; 4096];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer)? {
            // What has come already is not waited for, and needs none.
            Poll::Pending if room.hold(with_buffer(self.again.len())).is_err() => Poll::Ready(Ok(None)),
            Poll::Pending => {
                let limit = if begun { self.times.head } else { self.times.idle };
                if self.reading.passed(limit, cx) {
                    Poll::Ready(Err(self.timed_out()))
                } else {
                    Poll::Pending
                }
            }
            Poll::Ready(()) if begun && self.reading.is_over() => Poll::Ready(Err(self.timed_out())),
            Poll::Ready(()) => {
                self.again.extend_from_slice(buffer.filled());
                Poll::Ready(Ok(Some(buffer.filled().len())))
            }
        }
    }

    /// Our own answer to a head for which there is no room.
    fn no_room(&mut self) -> Next {
        self.progress.makes_way();
        self.asked.came(&self.again);
        let (at_oauth, id) = (self.asked.at_oauth(), request_id(self.clock.now()));
        self.ends_with(Problem::overloaded().into_last_message(at_oauth, id));
        Next::End
    }

    /// hyper is gone for now, and leaves what it had read of the next request.
    pub fn left(&mut self, read: &[u8]) {
        self.again.splice(..0, read.iter().copied());
        // Empty lines behind a request are nothing yet.
        let nothing = head::empty_lines(&self.again);
        self.again.drain(..nothing);
    }
}
