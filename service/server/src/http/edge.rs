//! The accept loop: how many connections there are, and how they end.
//!
//! It is our own because `axum::serve` installs no timer, so that its header timeouts would be inert. Beyond
//! `limits.connections` a connection is answered 503 and closed: it costs no more than a balancer's attempt, and the
//! loop goes on, so that it takes the next connection as soon as there is room.

use super::admission::Edge;
use super::front;
use super::problem::Problem;
use super::progress::Progress;
use super::wire::Wire;
use crate::ops::drain::Stage;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Header lines of a request.
pub const MOST_HEADERS: usize = 64;
/// Bytes of a request's head.
pub const HEAD_BYTES: usize = 32 * 1024;
/// Connections beyond the bound that are told so at a time; the others are closed without a word.
const REFUSALS: usize = 64;
/// How long such a client has to read it.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// Serves until the service drains, then until every request under way is answered or the time for it is over.
pub async fn serve(listener: TcpListener, edge: Edge) {
    let mut connections = JoinSet::new();
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let mut minute = tokio::time::interval(Duration::from_secs(60));
    let mut upkeep = tokio::time::interval(Duration::from_secs(5));
    let drain = edge.app.drain.clone();
    let mut last_connections = std::pin::pin!(async {
        drain.reached(Stage::Leaving).await;
        tokio::time::sleep(edge.drain.notice).await;
    });
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut last_connections => break,
            _ = minute.tick() => { edge.app.rates.evict(); continue }
            _ = upkeep.tick() => { edge.app.metrics.upkeep(); continue }
            _ = connections.join_next(), if !connections.is_empty() => continue,
        };
        match accepted {
            Ok((stream, peer)) => match edge.connections.clone().try_acquire_owned() {
                Ok(place) => {
                    let edge = edge.clone();
                    connections.spawn(async move {
                        edge.app.metrics.connections.increment(1.0);
                        connection(stream, peer, &edge).await;
                        edge.app.metrics.connections.decrement(1.0);
                        drop(place);
                    });
                }
                Err(_) => {
                    edge.app.metrics.connections_refused.increment(1);
                    if let Ok(place) = refusals.clone().try_acquire_owned() {
                        connections.spawn(async move {
                            let _ = tokio::time::timeout(REFUSAL_TIME, refuse(stream)).await;
                            drop(place);
                        });
                    }
                }
            },
            // Out of descriptors: the next try would fail at once too.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    drain.reach(Stage::Draining);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(edge.drain.timeout, ended).await.is_err() {
        tracing::warn!("connections were still open at the end of the drain; they are closed");
    }
    connections.shutdown().await;
}

/// Tells a client that there are too many, and waits until it has read that.
async fn refuse(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(&Problem::overloaded().into_last_message()).await?;
    stream.shutdown().await?;
    let mut dropped = [0; 1024];
    while stream.read(&mut dropped).await? > 0 {}
    Ok(())
}

async fn connection(stream: TcpStream, peer: SocketAddr, edge: &Edge) {
    let _ = stream.set_nodelay(true);
    let progress = Arc::new(Progress::default());
    let wire = Wire::new(stream, progress.clone(), edge.app.metrics.clone(), edge.times);
    let service = service_fn(|request: Request<Incoming>| {
        let progress = progress.clone();
        async move {
            Ok::<_, Infallible>(if edge.has_front() && front::is_plain(&request) {
                front::introspect(edge, request, peer.ip(), progress).await
            } else {
                edge.answer(request.map(Body::new), peer.ip(), progress).await
            })
        }
    });
    let mut builder = http1::Builder::new();
    // Twice the head's bytes, so that most heads that are too large get our own answer. hyper's own bound of 100 header
    // lines stays: another one would cost each request an allocation.
    builder.half_close(true).max_buf_size(2 * HEAD_BYTES);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(wire), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = edge.app.drain.reached(Stage::Draining) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
