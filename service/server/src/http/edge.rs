//! The accept loop: what every connection may cost, and how it ends.
//!
//! It is our own because `axum::serve` installs no timer, so that its header timeouts would be inert.

use super::RequestId;
use super::problem::Problem;
use crate::clock::Clock;
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

/// How long the headers of a request may take, and a kept connection may be idle: hyper has one limit for both. It is
/// longer than the gateways in front keep theirs.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
/// Header lines of a request.
const MOST_HEADERS: usize = 64;
/// Bytes of a request's head.
const HEAD_BYTES: usize = 32 * 1024;
/// How long requests under way may take after the first signal.
pub const DRAIN: Duration = Duration::from_secs(10);

/// What the loop is bounded by.
#[derive(Clone)]
pub struct Bounds {
    connections: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

impl Bounds {
    /// So many connections, and so many requests under way, at a time.
    pub fn new(connections: usize, requests: usize) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(connections)),
            requests: Arc::new(Semaphore::new(requests)),
        }
    }
}

/// Serves until `draining` becomes true, then until every request under way is answered, at most [`DRAIN`].
pub async fn serve(
    listener: TcpListener,
    app: Router,
    clock: Clock,
    bounds: Bounds,
    mut draining: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = draining.wait_for(|draining| *draining) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                // Beyond the bound a connection is closed at once: a sign to the balancer in front.
                let Ok(place) = bounds.connections.clone().try_acquire_owned() else { continue };
                let (app, clock, bounds, draining) =
                    (app.clone(), clock.clone(), bounds.clone(), draining.clone());
                connections.spawn(async move {
                    connection(stream, app, clock, bounds, draining).await;
                    drop(place);
                });
            }
            // Out of descriptors: the next try would fail at once too.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    connections.shutdown().await;
}

async fn connection(
    stream: TcpStream,
    app: Router,
    clock: Clock,
    bounds: Bounds,
    mut draining: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let service =
        service_fn(move |request| answer(request, app.clone(), clock.clone(), bounds.requests.clone()));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).half_close(true);
    builder.max_headers(MOST_HEADERS).max_buf_size(2 * HEAD_BYTES);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = draining.wait_for(|draining| *draining) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer(
    mut request: Request<Incoming>,
    app: Router,
    clock: Clock,
    requests: Arc<Semaphore>,
) -> Result<Response<Body>, Infallible> {
    let id = clock.uuid();
    request.extensions_mut().insert(RequestId(id));
    let mut response = match requests.try_acquire_owned() {
        // Before anything is read or parsed: shedding must cost less than serving.
        Err(_) => Problem::unavailable().into_response(),
        Ok(_place) if head_bytes(&request) > HEAD_BYTES => {
            let detail = "The request line and its headers have at most 32 KiB.";
            Problem::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers-too-large",
                "The headers are too large",
                detail,
            )
            .into_response()
        }
        Ok(_place) => match tokio::spawn(app.oneshot(request.map(Body::new))).await {
            Ok(Ok(response)) => response,
            // A panic. It was logged where it happened.
            Err(_) => Problem::internal().into_response(),
        },
    };
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert("x-request-id", id);
    }
    Ok(response)
}

fn head_bytes(request: &Request<Incoming>) -> usize {
    let headers: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    headers + target
}
