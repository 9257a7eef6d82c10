//! A request's body, as hyper has it.

use axum::body::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Bytes that are read and dropped after an answer that did not wait for them, at most.
pub(super) const LINGER_BYTES: usize = 2 * 1024 * 1024;

/// Bodies of a connection that are read on at a time. Each keeps one of its streams from the client.
const LINGERING: usize = 8;

/// See the module. Once nobody wants one of HTTP/2, what still comes of it is read and dropped for a moment: hyper would
/// reset the stream instead, as RFC 9113 section 8.1 allows, and some clients then discard the answer, which the same
/// section forbids them. Over HTTP/1.1 a connection does the same when it is closed (`wire`).
pub(super) struct Arriving {
    /// None once it is dropped.
    body: Option<Incoming>,
    /// How it is read on, if it is.
    lingers: Option<Lingering>,
}

/// How long bodies of a connection are read on, and for how many of them there is still a place: the others are reset.
#[derive(Clone)]
pub(super) struct Lingering {
    time: Duration,
    places: Arc<Semaphore>,
}

impl Lingering {
    /// None is read on yet.
    pub(super) fn new(time: Duration) -> Self {
        Self { time, places: Arc::new(Semaphore::new(LINGERING)) }
    }

    fn read_on(self, mut body: Incoming) {
        if body.is_end_stream() {
            return;
        }
        let (Ok(place), Ok(runtime)) = (self.places.try_acquire_owned(), Handle::try_current()) else {
            return;
        };
        runtime.spawn(async move {
            let _ = tokio::time::timeout(self.time, drop_the_rest(&mut body)).await;
            drop((body, place));
        });
    }
}

impl Arriving {
    /// One of HTTP/1.1.
    pub(super) fn new(body: Incoming) -> Self {
        Self { body: Some(body), lingers: None }
    }

    /// One of HTTP/2.
    pub(super) fn of_stream(body: Incoming, lingers: Lingering) -> Self {
        Self { body: Some(body), lingers: Some(lingers) }
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
        if let (Some(body), Some(lingers)) = (self.body.take(), self.lingers.take()) {
            lingers.read_on(body);
        }
    }
}

async fn drop_the_rest(body: &mut Incoming) {
    let mut came = 0;
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        came += frame.data_ref().map_or(0, Bytes::len);
        if came >= LINGER_BYTES {
            return;
        }
    }
}
