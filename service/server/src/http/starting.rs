//! Before there is anything to serve: the port answers, so that a supervisor, a balancer and a gateway are told rather
//! than kept waiting while a database recovers or the index is loaded.

use super::arriving::Arriving;
use super::connection::{Answers, Bounds};
use super::edge::Open;
use super::oauth;
use super::problem::Problem;
use super::progress::Progress;
use super::seen::name;
use super::slow::Crowd;
use super::tracked::Outgoing;
use super::wire::Times;
use crate::clock::{Clock, request_id};
use crate::config::Limits;
use crate::ops::drain::Drain;
use crate::ops::memory::Memory;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Request, header};
use http_body::Body as _;
use metrics::Counter;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// How long a connection may take over anything. It has one request, and nothing to wait for.
const TIME: Duration = Duration::from_secs(5);

/// What the start waits for, by words of the sentence that tells people, and what strangers are told of it: such
/// sentences name directories.
const WAITS: [(&str, &str); 4] = [
    ("recovering", "The database is recovering from a crash. Ask again in a moment."),
    ("does not answer", "The database does not answer yet. Ask again in a moment."),
    ("no free connection", "The database has no free connection. Ask again in a moment."),
    (
        "another `counterfoil serve`",
        "Another service still works on this database, and only one answers at a time. Ask again in a moment.",
    ),
];

/// What the start waits for. Written by whoever starts the service, from what it tells people.
#[derive(Clone, Default)]
pub struct Starting {
    /// A place in [`WAITS`], after zero for nothing in particular.
    at: Arc<AtomicUsize>,
    /// By which answers are named.
    clock: Clock,
}

impl Starting {
    /// Notes what the start is at.
    pub fn note(&self, sentence: &str) {
        let at = WAITS.iter().position(|(words, _)| sentence.contains(words));
        self.at.store(at.map_or(0, |place| place + 1), Ordering::Relaxed);
    }

    fn detail(&self) -> &'static str {
        let at = self.at.load(Ordering::Relaxed).checked_sub(1);
        let told = at.and_then(|place| WAITS.get(place)).map(|(_, told)| *told);
        told.unwrap_or("The service is starting. Ask again in a moment.")
    }

    /// Answers until it is dropped: that the process lives, and that everything else has to wait. There may be as many
    /// connections as later, so that those who take their time do not keep out who asks whether it lives.
    pub async fn serve(self, listener: Arc<TcpListener>, limits: Limits) {
        let bounds = Bounds {
            times: Times { head: TIME, idle: TIME, write: TIME, ..Times::default() },
            connections: Arc::new(Semaphore::new(limits.connections)),
            streams: Arc::new(Semaphore::new(limits.requests)),
            waits: Crowd::of_requests(limits.connections, &Counter::noop()),
            http2: Crowd::of_http2(limits.connections, &Counter::noop()),
            memory: Memory::new(&Counter::noop()),
            drain: Drain::default(),
            clock: self.clock.clone(),
            // Nobody reads them.
            metrics: Arc::default(),
        };
        let answering = Arc::new(Answering { starting: self, bounds });
        let mut open = Open::default();
        loop {
            tokio::select! {
                accepted = listener.accept() => open.take(accepted, &answering).await,
                () = open.one_ends() => {}
            }
        }
    }

    fn answer(&self, path: &str) -> Response {
        let mut response = match path {
            "/livez" => super::health::LIVES.into_response(),
            _ if oauth::has(path) => Problem::starting(self.detail()).into_oauth(),
            _ => Problem::starting(self.detail()).into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        // Nobody logs it. It is what tells a service that starts from a stranger, and its answers from hyper's own.
        name(request_id(self.clock.now()), headers);
        response
    }
}

/// What connections work with meanwhile.
struct Answering {
    starting: Starting,
    bounds: Bounds,
}

impl Answers for Answering {
    fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    async fn answer(
        &self,
        request: Request<Arriving>,
        _: IpAddr,
        progress: Arc<Progress>,
    ) -> Response<Outgoing> {
        progress.request(!request.body().is_end_stream());
        self.starting.answer(request.uri().path()).map(|body| Outgoing::new(body, progress))
    }

    /// What is answered here costs no more than that there is no place for it.
    async fn shed(
        &self,
        request: Request<Arriving>,
        peer: IpAddr,
        progress: Arc<Progress>,
    ) -> Response<Outgoing> {
        self.answer(request, peer, progress).await
    }
}
