//! A connection that speaks HTTP/2. Each request is answered as over HTTP/1.1; what differs is how a connection is bounded,
//! since one client has many streams on it.

mod pieces;
mod streams;
mod tasks;

use super::arriving::{Arriving, Lingering};
use super::connection::{Answers, Bounds, close};
use super::edge::HEAD_BYTES;
use super::wire::Wire;
use crate::ops::drain::Stage;
use http::{Method, Request};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pieces::Pieces;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use streams::{Rested, Streams};
use tasks::{PROGRESS, Tasks};
use tokio::time::{Instant, sleep_until};

/// Streams of a connection at a time; the next one is refused by itself.
const STREAMS: u32 = 100;
/// Streams that a client may reset before anybody has looked at them; then the connection ends (CVE-2023-44487).
const RESETS: usize = 20;
/// Streams that are reset here for a client's mistakes; then the connection ends (RUSTSEC-2024-0003).
const MISTAKES: usize = 100;
/// Bytes of bodies that are kept unread, of a stream and of a connection: what HTTP/1.1 keeps, too.
const WINDOW: u32 = 64 * 1024;

/// How long a connection has that makes way, to tell its client so.
const FAREWELL: Duration = Duration::from_millis(500);

/// What a client is told for which there is no place: settings, as it is told them first, and to be calm (RFC 9113 sections
/// 6.5, 6.8 and 7).
const CALM: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b";

/// Serves a connection to its end.
pub(super) async fn serve<A: Answers>(wire: Wire, peer: IpAddr, answers: &Arc<A>) {
    let Bounds { times, streams, http2, drain, metrics, .. } = answers.bounds();
    let streams = Arc::new(Streams::new(streams.clone(), http2.clone(), peer));
    let Some(_member) = http2.join(peer, streams.clone()) else {
        return close(wire.with_last(CALM), answers.bounds()).await;
    };
    let tasks = Tasks::default();
    let lingering = Lingering::new(times.linger);
    let service = service_fn(|request: Request<Incoming>| {
        let (stream, has_place) = streams.begin();
        let (answers, lingering) = (answers.clone(), lingering.clone());
        let request = request.map(|body| Arriving::of_stream(body, lingering));
        async move {
            let progress = PROGRESS.get();
            let is_head = request.method() == Method::HEAD;
            let response = match has_place {
                true => answers.answer(request, peer, progress).await,
                false => answers.shed(request, peer, progress).await,
            };
            Ok::<_, Infallible>(Pieces::of(response, stream, is_head))
        }
    });
    let mut builder = http2::Builder::new(tasks.clone());
    builder
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(MISTAKES)
        // Twice the head's bytes, so that most heads that are too large get our own answer.
        .max_header_list_size(2 * HEAD_BYTES as u32)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(WINDOW as usize);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(wire), service));
    let (mut leaving, mut farewell) = (false, None);
    loop {
        let idle = if leaving { times.linger } else { times.idle };
        tokio::select! {
            _ = connection.as_mut() => return,
            () = tasks.cut() => return,
            () = streams.makes_way(), if farewell.is_none() => farewell = Some(Instant::now() + FAREWELL),
            () = sleep_until(farewell.unwrap_or_else(Instant::now)), if farewell.is_some() => return,
            () = drain.reached(Stage::Draining), if !leaving => {}
            rested = streams.rest(idle, *times, leaving) => match rested {
                Rested::Idle if leaving => return,
                Rested::Idle => metrics.timeouts.increment(1),
                // The other answers are none the worse for it.
                Rested::Stalled => {}
                Rested::Unread => {
                    metrics.timeouts.increment(1);
                    return;
                }
            },
        }
        // The client is told which of its requests are still answered (RFC 9113 section 6.8), and they are.
        leaving = true;
        connection.as_mut().graceful_shutdown();
    }
}
