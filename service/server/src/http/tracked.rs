//! Bodies that tell their connection how far it is.

use super::places::Place;
use super::progress::Progress;
use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A request's body, which says when all of it has come. While it is waited for, its request has no place among those
/// under way; it fails if there is none when it has come.
pub(super) struct Incoming {
    body: Body,
    progress: Arc<Progress>,
    place: Arc<Place>,
}

impl Incoming {
    pub(super) fn new(body: Body, progress: Arc<Progress>, place: Arc<Place>) -> Self {
        Self { body, progress, place }
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.progress.body_came();
            if let Err(overloaded) = self.place.take_again() {
                return Poll::Ready(Some(Err(axum::Error::new(overloaded))));
            }
        }
        if frame.is_pending() {
            self.place.give_back();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body, which says when hyper has taken all of it, or has given it up.
pub struct Outgoing {
    content: Content,
    progress: Arc<Progress>,
}

enum Content {
    /// What is made in one piece needs no box around it.
    Whole(Option<Bytes>),
    Streamed(Body),
}

impl Outgoing {
    /// A body that comes from a handler.
    pub(crate) fn new(body: Body, progress: Arc<Progress>) -> Self {
        Self { content: Content::Streamed(body), progress }
    }

    /// A body that is there.
    pub(crate) fn whole(bytes: Vec<u8>, progress: Arc<Progress>) -> Self {
        Self { content: Content::Whole(Some(bytes.into())), progress }
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut self.content {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Streamed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Streamed(body) => body.size_hint(),
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.progress.answered();
    }
}
