//! One connection's bytes: what hyper cannot bound or say by itself.
//!
//! hyper has one limit for the head of a request and for the wait before it, and none for those of HTTP/2; here the wait
//! may be long and the head may not. It answers a head that it cannot read with an empty body; here that answer becomes
//! a problem document. And a connection that is closed while its client still sends would end in a reset, which can
//! overtake the answer; here what still comes is read and dropped for a moment.

mod frames;
mod times;

pub use times::Times;

use super::problem::Problem;
use super::progress::{Phase, Progress};
use crate::clock::{Clock, request_id};
use crate::ops::metrics::Metrics;
use frames::Frames;
use http::StatusCode;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use times::Deadline;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes that are read and dropped after the last answer, at most.
const LINGER_BYTES: usize = 2 * 1024 * 1024;

/// What a client that speaks HTTP/2 sends first (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection's bytes, within their times.
pub struct Wire {
    stream: TcpStream,
    peer: IpAddr,
    progress: Arc<Progress>,
    clock: Clock,
    metrics: Arc<Metrics>,
    times: Times,
    /// What was read to tell the protocol, and is read again.
    again: Vec<u8>,
    frames: Frames,
    /// The last bytes that came.
    last: Last,
    reading: Deadline,
    writing: Deadline,
    /// Our own answer in place of hyper's, and how much of it was sent.
    refusal: Option<(Vec<u8>, usize)>,
    closing: Closing,
}

/// The last bytes that came, however few came at a time.
#[derive(Default)]
struct Last([u8; 4]);

impl Last {
    fn came(&mut self, new: &[u8]) {
        match new.last_chunk() {
            Some(last) => self.0 = *last,
            None => new.iter().for_each(|byte| self.0 = [self.0[1], self.0[2], self.0[3], *byte]),
        }
    }

    /// Whether they end a head, as RFC 9112 section 2.2 lets lines end.
    fn is_blank_line(&self) -> bool {
        self.0 == *b"\r\n\r\n" || self.0.ends_with(b"\n\n") || self.0.ends_with(b"\n\r\n")
    }
}

enum Closing {
    Not,
    Lingering { bytes: usize },
    Done,
}

impl Wire {
    /// A connection that nothing has come on yet.
    pub fn new(
        stream: TcpStream,
        peer: IpAddr,
        progress: Arc<Progress>,
        clock: Clock,
        metrics: Arc<Metrics>,
        times: Times,
    ) -> Self {
        Self {
            stream,
            peer,
            progress,
            clock,
            metrics,
            times,
            again: Vec::new(),
            frames: Frames::default(),
            last: Last::default(),
            reading: Deadline::default(),
            writing: Deadline::default(),
            refusal: None,
            closing: Closing::Not,
        }
    }

    /// Whether the client speaks HTTP/2, which its first bytes say. From then on its frames are looked at.
    ///
    /// # Errors
    /// Nothing has come in time, or the connection is broken.
    pub async fn speaks_http2(&mut self) -> io::Result<bool> {
        let (mut first, mut came) = ([0; PREFACE.len()], 0);
        while came < PREFACE.len() && first[..came] == PREFACE[..came] {
            let mut buffer = ReadBuf::new(&mut first[came..]);
            poll_fn(|cx| self.read(cx, &mut buffer)).await?;
            match buffer.filled().len() {
                0 => break,
                count => came += count,
            }
        }
        self.again = first[..came].to_vec();
        let http2 = first == *PREFACE;
        if http2 {
            self.reading.at = None;
            self.progress.more_comes();
            self.progress.goes_on(Phase::Streams);
        }
        Ok(http2)
    }

    fn timed_out(&self) -> io::Error {
        self.metrics.timeouts.increment(1);
        io::ErrorKind::TimedOut.into()
    }

    /// Waits for more, as long as the phase allows.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let limit = match self.progress.phase() {
            Phase::Request => return Poll::Pending,
            Phase::Head => self.times.head,
            Phase::Idle => self.times.idle,
            Phase::Answered => {
                self.reading.at = None;
                let half = self.is_within_a_head();
                self.progress.goes_on(if half { Phase::Head } else { Phase::Idle });
                if half { self.times.head } else { self.times.idle }
            }
            Phase::Streams if self.frames.is_within() => self.times.head,
            Phase::Streams => return Poll::Pending,
        };
        if self.reading.passed(limit, cx) { Poll::Ready(Err(self.timed_out())) } else { Poll::Pending }
    }

    /// Reads what has come, or waits for it.
    fn read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_pending() {
            return self.wait(cx);
        }
        let new = &buffer.filled()[before..];
        self.last.came(new);
        if !new.is_empty() && !self.comes_in_time(new) {
            return Poll::Ready(Err(self.timed_out()));
        }
        read
    }

    /// Whether the next head has begun behind a request that was answered. A request without a body ends in a blank line,
    /// so what ends otherwise goes on. Behind a body it is not seen.
    fn is_within_a_head(&self) -> bool {
        !self.progress.had_body() && !self.last.is_blank_line()
    }

    /// Notes what has come. A byte now and then prolongs nothing.
    fn comes_in_time(&mut self, new: &[u8]) -> bool {
        match self.progress.phase() {
            Phase::Request => true,
            Phase::Idle | Phase::Answered => {
                self.reading.at = None;
                self.progress.goes_on(Phase::Head);
                true
            }
            Phase::Head => !self.reading.is_over(),
            Phase::Streams => {
                let in_time = !(self.frames.is_within() && self.reading.is_over());
                if self.frames.came(new) {
                    self.reading.at = None;
                }
                in_time
            }
        }
    }

    /// Writes some bytes, or fails once the client has taken none for too long.
    fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(cx, sent)
    }

    fn in_time(&mut self, cx: &mut Context<'_>, sent: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match sent {
            Poll::Pending if self.progress.is_cut(cx) => {
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
            Poll::Pending if self.writing.passed(self.times.write, cx) => Poll::Ready(Err(self.timed_out())),
            Poll::Pending => Poll::Pending,
            sent => {
                self.writing.at = None;
                sent
            }
        }
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
        Problem::framing(status).into_last_message(id)
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut dropped = [0; 16 * 1024];
        while let Closing::Lingering { bytes } = self.closing {
            if self.reading.passed(self.times.linger, cx) {
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
        if self.again.is_empty() {
            return self.read(cx, buffer);
        }
        let these = self.again.len().min(buffer.remaining());
        buffer.put_slice(&self.again[..these]);
        self.again.drain(..these);
        // With what has come since; if that was nothing, or the end, the next read says so.
        let _ = self.read(cx, buffer);
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
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.closing =
                if self.progress.body_comes() { Closing::Lingering { bytes: 0 } } else { Closing::Done };
            self.reading.at = None;
        }
        self.poll_linger(cx)
    }
}
