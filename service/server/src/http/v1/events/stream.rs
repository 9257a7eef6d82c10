//! The feed as a stream: one line an event, and a last one that says where to go on and whether there is more. A
//! stream without the last line was cut.
//!
//! **When it ends.** At the head as of the request; after a whole line before that, if the service stops or the reader
//! may not read any more. That is looked at before every page is handed over, and now and then besides, for a page
//! may take long to be found, and a client long to take it: one that takes nothing is cut off. So nothing is sent
//! when a second has passed since the credential, or its right to read, has ended. What was decided after that
//! end lies after the head, and is never sent. While it cannot be said whether the reader may still read, nothing more is
//! handed over, and that for too long is an end, too; that a page is waited for is none.

use super::reading::{Reading, Right, write};
use crate::http::problem::unavailable::read_failed;
use crate::http::progress::Progress;
use crate::http::tracked::InRoom;
use crate::ops::feeds::Feed;
use crate::ops::memory::Room;
use axum::body::Bytes;
use futures_util::{Stream, stream};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Events of a piece.
const CHUNK: usize = 250;
/// Bytes that are in memory at a time: a piece that its client has not taken, and the next one.
pub(super) const ROOM: usize = 256 * 1024;
/// How often it is looked at whether the reader may still read.
const LOOK: Duration = Duration::from_millis(150);
/// How long that may go unanswered. With the time between two looks, what a look may take before and after, and what the
/// stream then has to end by itself, it is less than a second.
const DOUBT: Duration = Duration::from_millis(250);
/// How long the stream has then to end by itself.
const GRACE: Duration = Duration::from_millis(400);
/// How soon it is looked again where that could not be said.
const AGAIN: Duration = Duration::from_millis(20);

/// A stream that goes on.
struct Going {
    reading: Reading,
    right: Right,
    /// Set once the reader may not read any more.
    ended: watch::Receiver<bool>,
    /// For its pieces, each of which keeps it.
    room: Arc<Room>,
    /// Among those that are open.
    _feed: Feed,
}

/// The lines, in pieces.
pub(super) fn lines(
    reading: Reading,
    progress: Arc<Progress>,
    (feed, room): (Feed, Room),
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let (end, ended) = watch::channel(false);
    tokio::spawn(watch_over(reading.right(), end, progress));
    let going = Going { right: reading.right(), reading, ended, room: Arc::new(room), _feed: feed };
    stream::try_unfold(Some(going), |going| async {
        let Some(mut going) = going else { return Ok(None) };
        let text = going.next().await?;
        Ok(Some(if text.is_empty() {
            (format!("{{{}}}\n", going.reading.position()).into(), None)
        } else {
            let piece = Bytes::from_owner(InRoom(text, going.room.clone()));
            (piece, Some(going))
        }))
    })
}

impl Going {
    /// The next lines; none at the end. An empty stretch makes no piece: that would end the body's framing.
    async fn next(&mut self) -> io::Result<String> {
        let reading = &mut self.reading;
        while reading.more() && reading.left > 0 && !reading.is_draining() {
            let before = (reading.after, reading.left);
            let found = tokio::select! {
                found = reading.next_of_stream(CHUNK) => found,
                _ = self.ended.wait_for(|ended| *ended) => break,
            };
            let items = found.map_err(|error| {
                read_failed("the feed could not be read on", &error);
                io::Error::other("the feed could not be read on")
            })?;
            let holds = tokio::select! {
                holds = until_known(&self.right) => holds,
                _ = self.ended.wait_for(|ended| *ended) => false,
            };
            if !holds {
                (reading.after, reading.left) = before;
                break;
            }
            let mut text = String::new();
            for item in &items {
                write(item, &mut text);
                text.push('\n');
            }
            if !text.is_empty() {
                return Ok(text);
            }
        }
        Ok(String::new())
    }
}

/// Whether the reader may still read, as soon as that can be said.
async fn until_known(right: &Right) -> bool {
    loop {
        if let Some(holds) = right.holds().await {
            return holds;
        }
        sleep(AGAIN).await;
    }
}

/// Looks after the reader's right until the stream is gone. A client that takes nothing keeps the stream from noticing
/// that it is over.
async fn watch_over(right: Right, end: watch::Sender<bool>, progress: Arc<Progress>) {
    let mut in_doubt: Option<Instant> = None;
    loop {
        tokio::select! {
            () = end.closed() => return,
            () = sleep(if in_doubt.is_some() { AGAIN } else { LOOK }) => {}
        }
        let asked = Instant::now();
        match right.holds().await {
            Some(true) => in_doubt = None,
            None if in_doubt.get_or_insert(asked).elapsed() < DOUBT => {}
            _ => break,
        }
    }
    end.send_replace(true);
    if timeout(GRACE, end.closed()).await.is_err() {
        progress.cut();
    }
}
