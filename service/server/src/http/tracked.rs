//! Bodies that tell their connection how far it is.

use super::places::{Held, Overloaded};
use super::progress::Progress;
use crate::ops::memory::Room;
use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A request's body, which says when all of it has come. While it is waited for, its request has no place among those
/// under way; it fails if there is none when it has come, or no room for what has.
pub(super) struct Incoming {
    body: Body,
    progress: Arc<Progress>,
    held: Arc<Held>,
    came: usize,
    /// Whether it was waited for.
    waited: bool,
}

impl Incoming {
    pub(super) fn new(body: Body, progress: Arc<Progress>, held: Arc<Held>) -> Self {
        Self { body, progress, held, came: 0, waited: false }
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
        let failed = |overloaded: Overloaded| Poll::Ready(Some(Err(axum::Error::new(overloaded))));
        let new = match &frame {
            Poll::Ready(Some(Ok(frame))) => frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        self.came += new;
        self.waited |= frame.is_pending();
        if let Err(overloaded) = if self.waited { self.held.has_come(self.came) } else { Ok(()) } {
            return failed(overloaded);
        }
        if frame.is_pending() {
            if let Err(overloaded) = self.held.waits(cx) {
                return failed(overloaded);
            }
        } else if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.progress.body_came();
            if let Err(overloaded) = self.held.goes_on() {
                return failed(overloaded);
            }
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

/// Marks an answer that needs no room: its body is the program's own, or has room already.
#[derive(Clone, Copy)]
pub(super) struct HasRoom;

/// Bytes with the room that they take, until the last of them was sent or given up.
pub(super) struct InRoom<B, R>(pub(super) B, pub(super) R);

impl<B: AsRef<[u8]>, R> AsRef<[u8]> for InRoom<B, R> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

/// A body in one piece, with its room. hyper lets go of the body once it has taken the piece, and keeps that.
pub(super) struct Kept {
    body: Body,
    room: Option<Room>,
}

impl Kept {
    pub(super) fn new(body: Body, room: Room) -> Self {
        Self { body, room: Some(room) }
    }
}

impl http_body::Body for Kept {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let room = if frame.is_ready() { self.room.take() } else { None };
        frame.map_ok(|frame| frame.map_data(|bytes| Bytes::from_owner(InRoom(bytes, room))))
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
