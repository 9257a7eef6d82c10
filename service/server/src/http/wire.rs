//! One connection's bytes: what hyper cannot bound or say by itself.
//!
//! hyper has one limit for the head of a request and for the wait before it; here the wait may be long and the head
//! may not. It answers a head that it cannot read with an empty body; here that answer becomes a problem document. And
//! a connection that is closed while its client still sends would end in a reset, which can overtake the answer; here
//! what still comes is read and dropped for a moment.

use super::problem::Problem;
use super::progress::{ANSWERED, HEAD, IDLE, Progress, REQUEST};
use crate::ops::metrics::Metrics;
use http::StatusCode;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a connection may take over what.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// From one request to the next: longer than the gateways in front keep theirs.
    pub idle: Duration,
    /// For a client to take some bytes of an answer.
    pub write: Duration,
    /// For what a client still sends after the last answer.
    pub linger: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { head: seconds(5), idle: seconds(75), write: seconds(30), linger: seconds(2) }
    }
}

/// Bytes that are read and dropped after the last answer, at most.
const LINGER_BYTES: usize = 2 * 1024 * 1024;

/// A deadline that costs a timer only once it is waited for, and keeps that timer over many requests.
#[derive(Default)]
struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Whether it has passed; if not, the task is woken when it has.
    fn passed(&mut self, after: Duration, cx: &mut Context<'_>) -> bool {
        let at = *self.at.get_or_insert_with(|| Instant::now() + after);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= at {
                return true;
            }
            timer.as_mut().reset(at);
        }
        false
    }
}

/// A connection's bytes, within their times.
pub struct Wire {
    stream: TcpStream,
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    times: Times,
    reading: Deadline,
    writing: Deadline,
    /// Our own answer in place of hyper's, and how much of it was sent.
    refusal: Option<(Vec<u8>, usize)>,
    closing: Closing,
}

enum Closing {
    Not,
    Lingering { bytes: usize },
    Done,
}

impl Wire {
    /// A connection that nothing has come on yet.
    pub fn new(stream: TcpStream, progress: Arc<Progress>, metrics: Arc<Metrics>, times: Times) -> Self {
        let (reading, writing) = (Deadline::default(), Deadline::default());
        Self { stream, progress, metrics, times, reading, writing, refusal: None, closing: Closing::Not }
    }

    fn timed_out(&self) -> io::Error {
        self.metrics.timeouts.increment(1);
        io::ErrorKind::TimedOut.into()
    }

    /// Waits for more, as long as the phase allows.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let limit = match self.progress.phase() {
            REQUEST => return Poll::Pending,
            HEAD => self.times.head,
            phase => {
                if phase == ANSWERED {
                    self.reading.at = None;
                    self.progress.goes_on(IDLE);
                }
                self.times.idle
            }
        };
        if self.reading.passed(limit, cx) { Poll::Ready(Err(self.timed_out())) } else { Poll::Pending }
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
    /// after it; and it has no request id, which all of ours have.
    fn own_answer(&self, bytes: &[u8]) -> Option<(usize, StatusCode)> {
        if self.progress.phase() == REQUEST || !bytes.ends_with(b"\r\n\r\n") {
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
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Pending => self.wait(cx),
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                match self.progress.phase() {
                    IDLE | ANSWERED => {
                        self.reading.at = None;
                        self.progress.goes_on(HEAD);
                    }
                    HEAD if self.reading.at.is_some_and(|at| Instant::now() >= at) => {
                        return Poll::Ready(Err(self.timed_out()));
                    }
                    _ => {}
                }
                Poll::Ready(Ok(()))
            }
            ended => ended,
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.send_refusal(cx))?;
        match self.own_answer(bytes) {
            None => self.send(cx, bytes),
            Some((0, status)) => {
                self.metrics.framing(status.as_u16());
                self.refusal = Some((Problem::framing(status).into_last_message(), 0));
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
