//! The accept loop: how many connections there are, and how they end.
//!
//! It is our own because `axum::serve` installs no timer, so that its header timeouts would be inert. Beyond
//! `limits.connections` a connection is answered 503 and closed: it costs no more than a balancer's attempt, and the
//! loop goes on, so that it takes the next connection as soon as there is room.

use super::admission::Edge;
use super::connection::{self, Answers, Bounds};
use super::problem::Problem;
use crate::clock::request_id;
use crate::ops::drain::Stage;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

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
    let edge = Arc::new(edge);
    let mut open = Open::default();
    let mut minute = tokio::time::interval(Duration::from_secs(60));
    let mut upkeep = tokio::time::interval(Duration::from_secs(5));
    let drain = edge.app.drain.clone();
    let mut last_connections = std::pin::pin!(async {
        drain.reached(Stage::Leaving).await;
        tokio::time::sleep(edge.drain.notice).await;
    });
    loop {
        tokio::select! {
            accepted = listener.accept() => open.take(accepted, &edge).await,
            () = &mut last_connections => break,
            _ = minute.tick() => edge.app.rates.evict(),
            _ = upkeep.tick() => edge.app.metrics.upkeep(),
            () = open.one_ends() => {}
        }
    }
    drop(listener);
    drain.reach(Stage::Draining);
    open.end_within(edge.drain.timeout).await;
}

/// The connections of a listener.
pub(super) struct Open {
    connections: JoinSet<()>,
    refusals: Arc<Semaphore>,
}

impl Default for Open {
    fn default() -> Self {
        Self { connections: JoinSet::new(), refusals: Arc::new(Semaphore::new(REFUSALS)) }
    }
}

impl Open {
    /// Serves a connection that was accepted, if there is a place for it.
    pub(super) async fn take<A: Answers>(
        &mut self,
        accepted: std::io::Result<(TcpStream, SocketAddr)>,
        answers: &Arc<A>,
    ) {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // Out of descriptors: the next try would fail at once too.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                return tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let Bounds { connections, clock, metrics, .. } = answers.bounds();
        if let Ok(place) = connections.clone().try_acquire_owned() {
            let (answers, gauge) = (answers.clone(), metrics.connections.clone());
            self.connections.spawn(async move {
                gauge.increment(1.0);
                connection::serve(stream, peer.ip(), &answers).await;
                gauge.decrement(1.0);
                drop(place);
            });
            return;
        }
        metrics.connections_refused.increment(1);
        if let Ok(place) = self.refusals.clone().try_acquire_owned() {
            let id = request_id(clock.now());
            self.connections.spawn(async move {
                let _ = tokio::time::timeout(REFUSAL_TIME, refuse(stream, id)).await;
                drop(place);
            });
        }
    }

    /// Waits until one has ended, for ever if there is none.
    pub(super) async fn one_ends(&mut self) {
        if self.connections.join_next().await.is_none() {
            std::future::pending().await
        }
    }

    /// Waits until all have ended, and ends them when the time is over.
    async fn end_within(&mut self, limit: Duration) {
        let ended = async { while self.connections.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, ended).await.is_err() {
            tracing::warn!("connections were still open at the end of the drain; they are closed");
        }
        self.connections.shutdown().await;
    }
}

/// Tells a client that there are too many, whatever it asks, and waits until it has read that. The log is not told, as
/// little as the client is asked: only a counter is.
async fn refuse(mut stream: TcpStream, id: Uuid) -> std::io::Result<()> {
    stream.write_all(&Problem::overloaded().into_last_message(false, id)).await?;
    stream.shutdown().await?;
    let mut dropped = [0; 1024];
    while stream.read(&mut dropped).await? > 0 {}
    Ok(())
}
