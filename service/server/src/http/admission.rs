//! What happens to every request, whoever answers it: it is admitted, named, answered, counted and logged.

use super::RequestId;
use super::arriving::Arriving;
use super::connection::{Answers, Bounds};
use super::cookies::changes;
use super::door::in_the_form_of_the_door;
use super::edge::{HEAD_BYTES, MOST_HEADERS};
use super::front;
use super::places::{Coming, Held, Places};
use super::problem::{FailedAuthentication, Problem};
use super::progress::Progress;
use super::seen::{Notes, Seen};
use super::slow::Crowd;
use super::tracked::{HasRoom, Incoming, Kept, Outgoing};
use super::wire::Times;
use crate::app::App;
use crate::config::Config;
use crate::event_log::failure::NotNow;
use crate::ops::memory::{FREE, Memory};
use crate::ops::metrics::Limited;
use crate::ops::rates::ClientAddress;
use crate::ops::telemetry::REQUEST;
use crate::read_model::freshness::Doubt;
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body as _;
use metrics::{Counter, Histogram};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;
use uuid::Uuid;

/// What one listener works with. Clones share its bounds.
#[derive(Clone)]
pub struct Edge {
    /// What handlers share.
    pub app: App,
    /// Who answers.
    pub router: Router,
    /// What connections work with.
    pub bounds: Bounds,
    /// Places for requests under way.
    requests: Places,
    /// How long the drain takes.
    pub drain: DrainTimes,
    /// How long a handler may take.
    pub handler: Duration,
    /// Whether requests are counted and logged: those for metrics are not.
    told: bool,
    /// Counts introspections that are answered before the router.
    introspections: Option<(Counter, Histogram)>,
}

/// How long the drain takes.
#[derive(Clone, Copy, Debug)]
pub struct DrainTimes {
    /// While `/readyz` says 503 and connections are still accepted.
    pub notice: Duration,
    /// For requests under way.
    pub timeout: Duration,
}

/// How long a handler may take unless a test says otherwise: longer than a body, a command and what is read beside them
/// take together. Whoever takes longer waits for a database that fell silent amid a read.
const HANDLER: Duration = Duration::from_secs(30);
/// Places of the listener of the metrics.
const METRICS_PLACES: usize = 16;

impl Edge {
    /// The API's listener.
    pub fn api(app: &App, config: &Config) -> Self {
        let mut edge = Self::new(app, config, super::api(app.clone()));
        let route = "/oauth2/introspect";
        let requests = app.metrics.requests_counter(route, "POST", 200);
        edge.introspections = Some((requests, app.metrics.durations(route)));
        edge
    }

    /// The API's listener, answered by another router than its own.
    pub fn new(app: &App, config: &Config, router: Router) -> Self {
        let drain = DrainTimes {
            notice: Duration::from_millis(config.drain.notice_ms),
            timeout: Duration::from_millis(config.drain.timeout_ms),
        };
        let bounds = Bounds {
            times: Times::default(),
            connections: Arc::new(Semaphore::new(config.limits.connections)),
            streams: Arc::new(Semaphore::new(config.limits.requests)),
            waits: Crowd::of_requests(config.limits.connections, &app.metrics.slow_ended),
            http2: Crowd::of_http2(config.limits.connections, &app.metrics.slow_ended),
            memory: app.memory.clone(),
            drain: app.drain.clone(),
            clock: app.clock.clone(),
            metrics: app.metrics.clone(),
        };
        Self {
            app: app.clone(),
            router,
            bounds,
            requests: Places::new(config.limits.requests, app.metrics.shed.clone()),
            drain,
            handler: HANDLER,
            told: true,
            introspections: None,
        }
    }

    /// The listener of the metrics.
    pub fn metrics(app: &App, config: &Config) -> Self {
        let mut edge = Self::new(app, config, super::metrics(app.clone()));
        edge.bounds.connections = Arc::new(Semaphore::new(METRICS_PLACES));
        edge.bounds.streams = Arc::new(Semaphore::new(METRICS_PLACES));
        edge.requests = Places::new(METRICS_PLACES, app.metrics.shed.clone());
        edge.bounds.memory = Memory::new(&app.metrics.shed);
        edge.told = false;
        edge
    }

    /// Admits a request, or sheds it before anything of it is read or parsed: shedding must cost less than serving.
    ///
    /// # Errors
    /// The refusal.
    pub fn admit<B>(&self, request: &Request<B>) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        let (uri, headers) = (request.uri(), request.headers());
        let place = if is_never_shed(uri) { None } else { Some(self.place()?) };
        let Measured { bytes, hosts, is_foreign, is_encoded } = measure(uri, headers);
        if headers.len() > MOST_HEADERS || bytes > HEAD_BYTES {
            return Err(Problem::framing(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        }
        // RFC 9112 sections 3.2 and 6.1: whoever stands in front may have chosen by another of them, and may have read
        // another body.
        if hosts > 1 || hosts == 0 && request.version() == Version::HTTP_11 || is_foreign {
            return Err(Problem::framing(StatusCode::BAD_REQUEST));
        }
        if is_encoded { Err(Problem::encoded()) } else { Ok(place) }
    }

    /// A place for a request under way. One that waits for its body gives it back, and takes one again when it is here.
    ///
    /// # Errors
    /// The refusal.
    pub fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.requests.take().map_err(|_| Problem::overloaded())
    }

    /// A body that comes from this address: nothing of it so far.
    pub(super) fn coming(&self, from: IpAddr, progress: &Arc<Progress>) -> Coming {
        Coming::new(self.bounds.memory.coming(), self.bounds.waits.clone(), from, progress.clone())
    }

    /// The answer to a request that changes nothing, with room for its body until the client has taken that.
    fn kept(&self, response: Response<Body>) -> Response<Body> {
        let bytes = response.body().size_hint().exact().unwrap_or(0) as usize;
        if bytes <= FREE || response.extensions().get::<HasRoom>().is_some() {
            return response;
        }
        match self.bounds.memory.going(bytes) {
            Ok(room) => response.map(|body| Body::new(Kept::new(body, room))),
            Err(_) => Problem::overloaded().into_response(),
        }
    }

    /// Answers a request by the router.
    async fn by_router(
        &self,
        mut request: Request<Body>,
        peer: IpAddr,
        progress: Arc<Progress>,
    ) -> Response<Outgoing> {
        let seen = Seen::new(&self.app, &request, peer);
        let notes = Arc::new(Notes::default());
        let client = seen.client();
        progress.request(!request.body().is_end_stream());
        let response = match self.admit(&request) {
            Err(problem) => problem.into_response(),
            Ok(place) => {
                let extensions = request.extensions_mut();
                extensions.insert(RequestId(seen.id()));
                extensions.insert(client);
                extensions.insert(notes.clone());
                extensions.insert(progress.clone());
                let read_only = !changes(request.method());
                let held = Arc::new(Held::new(place, &self.requests, self.coming(peer, &progress)));
                let (tracked, holds) = (progress.clone(), held.clone());
                let request = request.map(|body| Body::new(Incoming::new(body, tracked, holds)));
                let response = self.route(request, seen.id(), held).await;
                if read_only { self.kept(response) } else { response }
            }
        };
        let response = if response.extensions().get::<FailedAuthentication>().is_some() {
            self.failed(client, response)
        } else {
            response
        };
        let response = self.finish(&seen, &notes, response);
        response.map(|body| Outgoing::new(body, progress))
    }

    /// Has the router answer, in a task that a client who goes away does not cancel, and that may panic. The place is the
    /// task's: going away makes no room for the next request while this one is worked on.
    async fn route(&self, request: Request<Body>, id: Uuid, held: Arc<Held>) -> Response<Body> {
        let read_only = !changes(request.method());
        let answered = REQUEST.scope(id, self.router.clone().oneshot(request));
        let mut answered = tokio::spawn(async move {
            let response = answered.await;
            drop(held);
            response
        });
        match tokio::time::timeout(self.handler, &mut answered).await {
            Ok(Ok(Ok(response))) => response,
            Err(_) => {
                answered.abort();
                let why = if read_only { NotNow::InDoubt(Doubt::Unreachable) } else { NotNow::Unknown };
                Problem::from(why).into_response()
            }
            Ok(Err(error)) => {
                self.app.metrics.panics.increment(1);
                tracing::error!(request_id = %id, panicked = error.is_panic(), "a handler did not finish");
                Problem::internal().into_response()
            }
        }
    }

    /// Counts a failed authentication against its address. What fails too often is told to wait.
    pub fn failed(&self, client: ClientAddress, response: Response<Body>) -> Response<Body> {
        match self.app.rates.failure(client) {
            Ok(()) => response,
            Err(wait) => {
                self.app.metrics.rate_limited(Limited::Address);
                Problem::too_many(wait).into_response()
            }
        }
    }

    /// Completes an answer, whoever made it: a refusal in the form of its door, the request's id, counters, the log.
    pub fn finish(&self, seen: &Seen, notes: &Notes, response: Response<Body>) -> Response<Body> {
        let mut response = in_the_form_of_the_door(seen.is_at_oauth(), response);
        seen.name(response.headers_mut());
        if self.told {
            seen.tell(&self.app.metrics, notes, response.status());
        }
        response
    }

    /// Whether introspections are answered before the router: only the API's listener has them.
    fn has_front(&self) -> bool {
        self.introspections.is_some()
    }

    /// Counts an introspection that was answered 200. It is not logged.
    pub fn introspected(&self, seen: &Seen) {
        if let Some((requests, durations)) = &self.introspections {
            requests.increment(1);
            durations.record(seen.elapsed());
        }
    }

    /// Counts and logs a handler that panicked.
    pub fn panicked(&self, seen: &Seen) {
        self.app.metrics.panics.increment(1);
        tracing::error!(request_id = %seen.id(), panicked = true, "a handler did not finish");
    }
}

impl Answers for Edge {
    fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    async fn answer(
        &self,
        request: Request<Arriving>,
        peer: IpAddr,
        progress: Arc<Progress>,
    ) -> Response<Outgoing> {
        if self.has_front() && front::is_plain(&request) {
            front::introspect(self, request, peer, progress).await
        } else {
            self.by_router(request.map(Body::new), peer, progress).await
        }
    }

    async fn shed(
        &self,
        request: Request<Arriving>,
        peer: IpAddr,
        progress: Arc<Progress>,
    ) -> Response<Outgoing> {
        if is_never_shed(request.uri()) {
            return self.answer(request, peer, progress).await;
        }
        let seen = Seen::new(&self.app, &request, peer);
        self.app.metrics.shed.increment(1);
        let response = self.finish(&seen, &Notes::default(), Problem::overloaded().into_response());
        response.map(|body| Outgoing::new(body, progress))
    }
}

/// Whether the process lives is answered in any case.
fn is_never_shed(uri: &Uri) -> bool {
    matches!(uri.path(), "/livez" | "/readyz")
}

/// What is asked of every head.
#[derive(Default)]
struct Measured {
    bytes: usize,
    hosts: usize,
    /// Whether its body has another transfer coding than chunked, or that twice.
    is_foreign: bool,
    /// Whether its body has a content coding.
    is_encoded: bool,
}

fn measure(uri: &Uri, headers: &HeaderMap) -> Measured {
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    let mut measured = Measured { bytes: target, ..Measured::default() };
    let mut codings = 0;
    for (name, value) in headers {
        measured.bytes += name.as_str().len() + value.len() + 4;
        if name == header::HOST {
            measured.hosts += 1;
        } else if name == header::TRANSFER_ENCODING {
            codings += 1;
            let is_chunked = value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
            measured.is_foreign |= codings > 1 || !is_chunked;
        } else if name == header::CONTENT_ENCODING {
            let coding = value.as_bytes().trim_ascii();
            measured.is_encoded |= !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity");
        }
    }
    measured
}
