//! An answer's body, handed to hyper in small pieces.
//!
//! What hyper was given waits there until the client's window lets it go, and hyper asks for more only then. So the pieces
//! tell whether a client takes anything, and what waits is bounded. The last one is short, since with it the answer leaves
//! our sight.

use super::streams::Stream;
use crate::http::tracked::Outgoing;
use axum::body::Bytes;
use http::{Response, header};
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Bytes of a piece: a frame, unless the client allows more.
const PIECE: usize = 16 * 1024;
/// Bytes of the last piece. An answer that is no longer has no other.
const END: usize = 1024;

/// See the module.
pub(super) struct Pieces {
    body: Outgoing,
    /// What the body has given, and hyper has not asked for.
    kept: Bytes,
    /// Whether this is an answer to HEAD, without a body. Over HTTP/1.1 hyper sees to that itself.
    is_head: bool,
    stream: Stream,
}

impl Pieces {
    /// The answer of a stream.
    pub(super) fn of(mut response: Response<Outgoing>, stream: Stream, is_head: bool) -> Response<Self> {
        if let Some(length) = response.body().size_hint().exact().filter(|length| is_head && *length > 0) {
            response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
        }
        response.map(|body| Self { body, kept: Bytes::new(), is_head, stream })
    }

    fn cut(&mut self, mut bytes: Bytes) -> Bytes {
        let length = if bytes.len() <= END { bytes.len() } else { PIECE.min(bytes.len() - END) };
        self.kept = bytes.split_off(length);
        bytes
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let kept = std::mem::take(&mut self.kept);
        let frame = match kept.is_empty() {
            true => Pin::new(&mut self.body).poll_frame(cx),
            false => Poll::Ready(Some(Ok(Frame::data(kept)))),
        };
        self.stream.waits_for_client(frame.is_ready());
        frame.map_ok(|frame| match frame.into_data() {
            Ok(bytes) => Frame::data(self.cut(bytes)),
            Err(frame) => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_head || self.kept.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
