//! One connection, whichever protocol its client speaks: HTTP/1.1, or HTTP/2 with prior knowledge (RFC 9113 section 3.3).

use super::arriving::Arriving;
use super::edge::HEAD_BYTES;
use super::http2;
use super::progress::Progress;
use super::slow::Crowd;
use super::tracked::Outgoing;
use super::wire::{Next, Times, Wire};
use crate::clock::Clock;
use crate::ops::drain::{Drain, Stage};
use crate::ops::memory::Memory;
use crate::ops::metrics::Metrics;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Bytes of answers that the system keeps of a connection whose client does not take them. Without a bound they are four
/// million, which no limit on memory here would see.
const UNSENT: u32 = 256 * 1024;

/// What a listener's connections share.
#[derive(Clone)]
pub struct Bounds {
    /// How long they may take over what.
    pub times: Times,
    /// Places for them.
    pub connections: Arc<Semaphore>,
    /// Places for streams, but for the first of each connection.
    pub streams: Arc<Semaphore>,
    /// Requests whose bodies are waited for, and answers that nobody takes.
    pub waits: Crowd,
    /// Connections that speak HTTP/2.
    pub http2: Crowd,
    /// Room for heads and bodies that come.
    pub memory: Memory,
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
        request: Request<Arriving>,
        peer: IpAddr,
        progress: Arc<Progress>,
    ) -> impl Future<Output = Response<Outgoing>> + Send;

    /// Answers a request for which there is no place, unless it is one that needs none.
    fn shed(
        &self,
        request: Request<Arriving>,
        peer: IpAddr,
        progress: Arc<Progress>,
    ) -> impl Future<Output = Response<Outgoing>> + Send;
}

/// Serves a connection to its end. While nothing is under way on it, it holds little: hyper comes with the head of a
/// request, and goes when the next one lets itself be waited for.
pub(super) async fn serve<A: Answers>(stream: TcpStream, peer: IpAddr, answers: &Arc<A>) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT);
    let Bounds { drain, memory, .. } = answers.bounds();
    let progress = Arc::new(Progress::default());
    let mut wire = Wire::new(stream, peer, progress.clone(), answers.bounds());
    let mut first = true;
    loop {
        // What follows it is boxed, since a connection that waits is to be small.
        match wire.next(std::mem::take(&mut first), memory.head(), drain).await {
            Ok(Next::Request) => {}
            Ok(Next::Http2) => return Box::pin(http2::serve(wire, peer, answers)).await,
            Ok(Next::End) => return close(wire, answers.bounds()).await,
            Err(_) => return,
        }
        let rests;
        (wire, rests) = Box::pin(http1(wire, &progress, peer, answers.as_ref())).await;
        if !rests {
            return close(wire, answers.bounds()).await;
        }
    }
}

/// Closes a connection. The service does not stay for it longer than for an answer that is still to be read.
pub(super) async fn close(wire: Wire, Bounds { times, drain, .. }: &Bounds) {
    let leaves = async {
        drain.reached(Stage::Draining).await;
        tokio::time::sleep(times.linger).await;
    };
    tokio::select! {
        () = wire.close() => {}
        () = leaves => {}
    }
}

/// Answers requests until the connection ends, or the next one lets itself be waited for: says which.
async fn http1<A: Answers>(wire: Wire, progress: &Arc<Progress>, peer: IpAddr, answers: &A) -> (Wire, bool) {
    let service = service_fn(|request: Request<Incoming>| {
        let progress = progress.clone();
        let request = request.map(Arriving::new);
        async move { Ok::<_, Infallible>(answers.answer(request, peer, progress).await) }
    });
    let mut builder = http1::Builder::new();
    // Twice the head's bytes, so that most heads that are too large get our own answer. hyper's own bound of 100 header
    // lines stays: another one would cost each request an allocation.
    builder.half_close(true).max_buf_size(2 * HEAD_BYTES);
    let mut connection = builder.serve_connection(TokioIo::new(wire), service);
    let mut leaving = false;
    let rests = loop {
        let ends = poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending if progress.rests() => Poll::Ready(true),
            Poll::Pending => Poll::Pending,
        });
        tokio::select! {
            // A head that has come is read before a drain says that none is.
            biased;
            rests = ends => break rests,
            () = answers.bounds().drain.reached(Stage::Draining), if !leaving => {}
        }
        leaving = true;
        Pin::new(&mut connection).graceful_shutdown();
    };
    let parts = connection.into_parts();
    let mut wire = parts.io.into_inner();
    wire.left(&parts.read_buf);
    (wire, rests)
}
