//! One connection, whichever protocol its client speaks: HTTP/1.1, or HTTP/2 with prior knowledge (RFC 9113 section 3.3).

use super::edge::HEAD_BYTES;
use super::http2;
use super::progress::Progress;
use super::tracked::Outgoing;
use super::wire::{Times, Wire};
use crate::clock::Clock;
use crate::ops::drain::{Drain, Stage};
use crate::ops::metrics::Metrics;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// What a listener's connections share.
#[derive(Clone)]
pub struct Bounds {
    /// How long they may take over what.
    pub times: Times,
    /// Places for them.
    pub connections: Arc<Semaphore>,
    /// Places for streams, but for the first of each connection.
    pub streams: Arc<Semaphore>,
    /// When they end.
    pub drain: Drain,
    /// By which answers to no request are named.
    pub clock: Clock,
    /// What they count.
    pub metrics: Arc<Metrics>,
}

/// Who answers a listener's requests.
pub(super) trait Answers: Send + Sync + 'static {
    /// What connections work with.
    fn bounds(&self) -> &Bounds;

    /// Answers a request.
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
        progress: Arc<Progress>,
    ) -> impl Future<Output = Response<Outgoing>> + Send;

    /// Answers a request for which there is no place, unless it is one that needs none.
    fn shed(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
        progress: Arc<Progress>,
    ) -> impl Future<Output = Response<Outgoing>> + Send;
}

/// Serves a connection to its end.
pub(super) async fn serve<A: Answers>(stream: TcpStream, peer: IpAddr, answers: &Arc<A>) {
    let _ = stream.set_nodelay(true);
    let Bounds { times, drain, clock, metrics, .. } = answers.bounds();
    let progress = Arc::new(Progress::default());
    let mut wire = Wire::new(stream, peer, progress.clone(), clock.clone(), metrics.clone(), *times);
    let http2 = tokio::select! {
        http2 = wire.speaks_http2() => http2,
        // Nobody has asked for anything yet.
        () = drain.reached(Stage::Draining) => return,
    };
    match http2 {
        Ok(true) => http2::serve(wire, peer, answers).await,
        Ok(false) => http1(wire, progress, peer, answers.as_ref()).await,
        Err(_) => {}
    }
}

async fn http1<A: Answers>(wire: Wire, progress: Arc<Progress>, peer: IpAddr, answers: &A) {
    let service = service_fn(|request: Request<Incoming>| {
        let progress = progress.clone();
        async move { Ok::<_, Infallible>(answers.answer(request, peer, progress).await) }
    });
    let mut builder = http1::Builder::new();
    // Twice the head's bytes, so that most heads that are too large get our own answer. hyper's own bound of 100 header
    // lines stays: another one would cost each request an allocation.
    builder.half_close(true).max_buf_size(2 * HEAD_BYTES);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(wire), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = answers.bounds().drain.reached(Stage::Draining) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
