//! One connection's bytes: what hyper cannot bound or say by itself.
//!
//! hyper has one limit for the head of a request and for the wait before it, and none for those of HTTP/2, and keeps
//! large buffers meanwhile; here the wait may be long and the head may not, and hyper comes when a head is here. It answers
//! a head that it cannot read with an empty body; here that answer becomes a problem document, or an error of RFC 6749. And
//! a connection that is closed while its client still sends would end in a reset, which can overtake the answer; here what
//! still comes is read and dropped for a moment.

mod asked;
mod frames;
mod head;
mod opening;
mod times;

pub use opening::Next;
pub use times::Times;

use super::arriving::LINGER_BYTES;
use super::connection::Bounds;
use super::problem::Problem;
use super::progress::{Phase, Progress};
use super::slow::{Crowd, Waiting};
use crate::clock::{Clock, request_id};
use crate::ops::metrics::Metrics;
use asked::Asked;
use frames::Frames;
use http::StatusCode;
use socket2::SockRef;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use times::Deadline;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection's bytes, within their times.
pub struct Wire {
    stream: TcpStream,
    peer: IpAddr,
    progress: Arc<Progress>,
    clock: Clock,
    metrics: Arc<Metrics>,
    times: Times,
    /// What was read before there was hyper, and is read again.
    again: Vec<u8>,
    asked: Asked,
    frames: Frames,
    reading: Deadline,
    writing: Deadline,
    /// Those who are waited for, and this client, while it takes nothing of an answer.
    waits: Crowd,
    waiting: Option<Waiting>,
    /// Our own answer in place of hyper's, and how much of it was sent.
    refusal: Option<(Vec<u8>, usize)>,
    closing: Closing,
}

enum Closing {
    Not,
    /// hyper is done. What it was told is here still, but its buffers need not be.
    Asked,
    Lingering {
        bytes: usize,
    },
    Done,
}

impl Wire {
    /// A connection that nothing has come on yet.
    pub fn new(stream: TcpStream, peer: IpAddr, progress: Arc<Progress>, bounds: &Bounds) -> Self {
        Self {
            stream,
            peer,
            progress,
            clock: bounds.clock.clone(),
            metrics: bounds.metrics.clone(),
            times: bounds.times,
            again: Vec::new(),
            asked: Asked::default(),
            frames: Frames::default(),
            reading: Deadline::default(),
            writing: Deadline::default(),
            waits: bounds.waits.clone(),
            waiting: None,
            refusal: None,
            closing: Closing::Not,
        }
    }

    fn ends_with(&mut self, message: Vec<u8>) {
        self.refusal = Some((message, 0));
        self.progress.more_comes();
        self.closing = Closing::Asked;
    }

    /// A connection whose client makes way, with a last message.
    pub fn with_last(mut self, message: &[u8]) -> Self {
        self.progress.makes_way();
        self.ends_with(message.to_vec());
        self
    }

    /// Closes the connection, in the way that hyper asked for, if it did. Who made way has its connection for a while, be it
    /// with an answer that says that it is the last, or in the middle of one.
    pub async fn close(mut self) {
        match self.closing {
            Closing::Asked => {}
            _ if self.progress.made_way() => {
                // In the end the system need not keep, either, what the client has not taken.
                let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
                self.linger();
            }
            _ => return,
        }
        let _ = poll_fn(|cx| self.poll_close(cx)).await;
    }

    fn linger(&mut self) {
        self.closing = Closing::Lingering { bytes: 0 };
        self.reading.at = None;
    }

    fn timed_out(&self) -> io::Error {
        self.metrics.timeouts.increment(1);
        io::ErrorKind::TimedOut.into()
    }

    /// What comes from now on is of the next request. One that came together with the request before it has begun already.
    fn waits_for_the_next(&mut self) {
        self.reading.at = None;
        self.progress.goes_on(Phase::Waiting);
        self.asked.begins();
    }

    /// Waits for more, as long as the phase allows. A head that is not whole soon is waited for without hyper.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.progress.phase() {
            Phase::Request | Phase::Rests => return Poll::Pending,
            Phase::Answered => self.waits_for_the_next(),
            Phase::Waiting => {}
            Phase::Streams if !self.frames.is_within() => return Poll::Pending,
            Phase::Streams if self.reading.passed(self.times.head, cx) => {
                return Poll::Ready(Err(self.timed_out()));
            }
            Phase::Streams => return Poll::Pending,
        }
        // hyper may still have something to write.
        if self.writing.at.is_none() && self.reading.passed(self.times.rest, cx) {
            self.progress.goes_on(Phase::Rests);
        }
        Poll::Pending
    }

    /// Reads again what has been read, and what has come since.
    fn read_again(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) {
        let these = self.again.len().min(buffer.remaining());
        buffer.put_slice(&self.again[..these]);
        self.again.drain(..these);
        if self.again.is_empty() {
            self.again = Vec::new();
        }
        // If nothing has come, or the end, the next read says so.
        let _ = self.read(cx, buffer);
    }

    /// Reads what has come, or waits for it.
    fn read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_pending() {
            return self.wait(cx);
        }
        let new = &buffer.filled()[before..];
        if self.progress.phase() == Phase::Streams && !new.is_empty() {
            let late = self.frames.is_within() && self.reading.is_over();
            if self.frames.came(new) {
                self.reading.at = None;
            }
            if late {
                return Poll::Ready(Err(self.timed_out()));
            }
        }
        read
    }

    /// Writes some bytes, or fails once the client has taken none for too long.
    fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(cx, sent)
    }

    fn in_time(&mut self, cx: &mut Context<'_>, sent: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match sent {
            Poll::Pending if self.progress.is_cut(cx) || self.makes_way(cx) => {
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
            Poll::Pending if self.writing.passed(self.times.write, cx) => Poll::Ready(Err(self.timed_out())),
            Poll::Pending => Poll::Pending,
            sent => {
                self.writing.at = None;
                self.waiting = None;
                sent
            }
        }
    }

    /// Whether a client that takes nothing makes way for others. With HTTP/2 its connection is one of a crowd itself.
    fn makes_way(&mut self, cx: &Context<'_>) -> bool {
        let (waits, peer) = (&self.waits, self.peer);
        let is_over = self.progress.phase() != Phase::Streams
            && self.waiting.get_or_insert_with(|| waits.wait(peer)).is_over(cx);
        if is_over {
            self.progress.makes_way();
        }
        is_over
    }

    /// Sends what is left of our own answer.
    fn send_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((bytes, from)) = self.refusal.take() {
            let sent = self.send(cx, &bytes[from..]);
            let more = match &sent {
                Poll::Ready(Ok(count)) => from + count,
                _ => from,
            };
            if more < bytes.len() {
                self.refusal = Some((bytes, more));
            }
            if ready!(sent)? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Where hyper's own answer begins in what it writes, and its status. It stands at the end, since hyper closes
    /// after it; and it has no request id, which all have that were given to hyper to be written.
    fn own_answer(&self, bytes: &[u8]) -> Option<(usize, StatusCode)> {
        if matches!(self.progress.phase(), Phase::Request | Phase::Streams) || !bytes.ends_with(b"\r\n\r\n") {
            return None;
        }
        let start = bytes.windows(9).rposition(|window| window == b"HTTP/1.1 " || window == b"HTTP/1.0 ")?;
        let head = &bytes[start..];
        if head.windows(12).any(|window| window == b"x-request-id") {
            return None;
        }
        let status = StatusCode::from_bytes(head.get(9..12)?).ok().filter(StatusCode::is_client_error)?;
        Some((start, status))
    }

    /// Our answer to a head that cannot be read: counted, named, and logged by its name, as those are that can be.
    fn unreadable(&self, status: StatusCode) -> Vec<u8> {
        let id = request_id(self.clock.now());
        self.metrics.framing(status.as_u16());
        let (request_id, peer, status_code) = (id, self.peer, status.as_u16());
        tracing::info!(target: "counterfoil::request", %request_id, status = status_code, %peer, "request");
        Problem::framing(status).into_last_message(self.asked.at_oauth(), id)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.closing, Closing::Asked) {
            ready!(self.send_refusal(cx))?;
            let made_way = self.progress.made_way();
            if !made_way {
                ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            }
            self.closing = Closing::Done;
            if made_way || self.progress.body_comes() {
                self.linger();
            }
        }
        self.poll_linger(cx)
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let limit = if self.progress.made_way() { self.times.hold } else { self.times.linger };
        let mut dropped = [0; 16 * 1024];
        while let Closing::Lingering { bytes } = self.closing {
            if self.reading.passed(limit, cx) {
                break;
            }
            let mut buffer = ReadBuf::new(&mut dropped);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            let bytes = bytes + buffer.filled().len();
            if buffer.filled().is_empty() || bytes >= LINGER_BYTES {
                break;
            }
            self.closing = Closing::Lingering { bytes };
        }
        self.closing = Closing::Done;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.again.is_empty() {
            ready!(self.read(cx, buffer))?;
        } else {
            self.read_again(cx, buffer);
        }
        if self.progress.phase() == Phase::Answered {
            self.waits_for_the_next();
        }
        if self.progress.phase() == Phase::Waiting {
            self.asked.came(&buffer.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.send_refusal(cx))?;
        match self.own_answer(bytes) {
            None => self.send(cx, bytes),
            Some((0, status)) => {
                let message = self.unreadable(status);
                self.refusal = Some((message, 0));
                self.progress.more_comes();
                Poll::Ready(Ok(bytes.len()))
            }
            Some((start, _)) => self.send(cx, &bytes[..start]),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let last = slices.iter().rev().find(|slice| !slice.is_empty());
        if self.refusal.is_some() || last.is_some_and(|last| self.own_answer(last).is_some()) {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(cx, first.map_or(&[], |slice| slice));
        }
        let sent = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.in_time(cx, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send_refusal(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.closing, Closing::Not) {
            ready!(self.send_refusal(cx))?;
            self.closing = Closing::Asked;
        }
        if self.progress.phase() == Phase::Streams { self.poll_close(cx) } else { Poll::Ready(Ok(())) }
    }
}
