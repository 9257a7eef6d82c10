//! A request's body, as hyper has it.

use axum::body::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;

/// Bytes that are read and dropped after an answer that did not wait for them, at most.
pub(super) const LINGER_BYTES: usize = 2 * 1024 * 1024;

/// See the module. Once nobody wants one of HTTP/2, what still comes of it is read and dropped for a moment: hyper would
/// reset the stream instead, as RFC 9113 section 8.1 allows, and some clients then discard the answer, which the same
/// section forbids them. Over HTTP/1.1 a connection does the same when it is closed (`wire`).
pub(super) struct Arriving {
    /// None once it is dropped.
    body: Option<Incoming>,
    /// How long it is read on, if it is.
    reads_on: Option<Duration>,
}

impl Arriving {
    /// One of HTTP/1.1.
    pub(super) fn new(body: Incoming) -> Self {
        Self { body: Some(body), reads_on: None }
    }

    /// One of HTTP/2, and how long it is read on.
    pub(super) fn of_stream(body: Incoming, reads_on: Duration) -> Self {
        Self { body: Some(body), reads_on: Some(reads_on) }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        self.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let (Some(body), Some(reads_on)) = (self.body.take(), self.reads_on) else { return };
        if body.is_end_stream() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(tokio::time::timeout(reads_on, drop_the_rest(body)));
        }
    }
}

async fn drop_the_rest(mut body: Incoming) {
    let mut came = 0;
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        came += frame.data_ref().map_or(0, Bytes::len);
        if came >= LINGER_BYTES {
            return;
        }
    }
}
