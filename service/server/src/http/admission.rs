//! What happens to every request, whoever answers it: it is admitted, named, answered, counted and logged.

use super::RequestId;
use super::address;
use super::cookies::changes;
use super::edge::{HEAD_BYTES, MOST_HEADERS};
use super::problem::{FailedAuthentication, Problem};
use super::progress::Progress;
use super::tracked::{Incoming, Outgoing};
use super::wire::Times;
use crate::app::App;
use crate::clock::request_id;
use crate::config::Config;
use crate::event_log::failure::NotNow;
use crate::ops::metrics::{Limited, UNMATCHED, known};
use crate::ops::rates::ClientAddress;
use crate::ops::telemetry::REQUEST;
use crate::read_model::freshness::Doubt;
use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body::Body as _;
use metrics::{Counter, Histogram};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tower::ServiceExt;
use uuid::Uuid;

/// What one listener works with. Clones share its bounds.
#[derive(Clone)]
pub struct Edge {
    /// What handlers share.
    pub app: App,
    /// Who answers.
    pub router: Router,
    /// Places for connections.
    pub connections: Arc<Semaphore>,
    /// Places for requests under way.
    requests: Arc<Semaphore>,
    /// How long connections may take over what.
    pub times: Times,
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

/// Where an answer names its request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How long a handler may take unless a test says otherwise: longer than a body, a command and what is read beside them
/// take together. Whoever takes longer waits for a database that fell silent amid a read.
const HANDLER: Duration = Duration::from_secs(30);
/// Places of the listener of the metrics.
const METRICS_PLACES: usize = 16;

/// What is noted about a request while it is answered, for its line in the log.
#[derive(Default)]
pub struct Notes {
    route: OnceLock<&'static str>,
    actor: OnceLock<String>,
}

impl Notes {
    /// Notes which route matched, by its pattern.
    pub fn route(&self, pattern: &'static str) {
        let _ = self.route.set(pattern);
    }

    /// Notes who asked, as `token …` or `gateway …` with an id.
    pub fn actor(extensions: &http::Extensions, kind: &str, id: Uuid) {
        if let Some(notes) = extensions.get::<Arc<Self>>() {
            let _ = notes.actor.set(format!("{kind} {id}"));
        }
    }
}

/// A request, as far as its line in the log and its counters need it.
pub struct Seen {
    id: Uuid,
    method: Method,
    at_oauth: bool,
    peer: IpAddr,
    started: Instant,
}

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
        Self {
            app: app.clone(),
            router,
            connections: Arc::new(Semaphore::new(config.limits.connections)),
            requests: Arc::new(Semaphore::new(config.limits.requests)),
            times: Times::default(),
            drain,
            handler: HANDLER,
            told: true,
            introspections: None,
        }
    }

    /// The listener of the metrics.
    pub fn metrics(app: &App, config: &Config) -> Self {
        let mut edge = Self::new(app, config, super::metrics(app.clone()));
        edge.connections = Arc::new(Semaphore::new(METRICS_PLACES));
        edge.requests = Arc::new(Semaphore::new(METRICS_PLACES));
        edge.told = false;
        edge
    }

    /// Names a request. Its id is made here: a client's own may be a secret in the wrong place.
    pub fn see(&self, method: &Method, uri: &Uri, peer: IpAddr) -> Seen {
        let at_oauth = uri.path().starts_with("/oauth2/");
        Seen {
            id: request_id(self.app.clock.now()),
            method: method.clone(),
            at_oauth,
            peer,
            started: Instant::now(),
        }
    }

    /// Admits a request, or sheds it before anything of it is read or parsed: shedding must cost less than serving.
    /// Whether the process lives is answered in any case.
    ///
    /// # Errors
    /// The refusal.
    pub fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        let always = matches!(uri.path(), "/livez" | "/readyz");
        let place = if always { None } else { Some(self.place()?) };
        if headers.len() > MOST_HEADERS || head_bytes(uri, headers) > HEAD_BYTES {
            return Err(Problem::framing(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        }
        Ok(place)
    }

    /// A place for a request under way. One that waits for its body gives it back: 2,000 clients who send none must not
    /// keep out those who do.
    ///
    /// # Errors
    /// The refusal.
    pub fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.requests.clone().try_acquire_owned().map_err(|_| {
            self.app.metrics.shed.increment(1);
            Problem::overloaded()
        })
    }

    /// Answers a request by the router.
    pub async fn answer(
        &self,
        mut request: Request<Body>,
        peer: IpAddr,
        progress: Arc<Progress>,
    ) -> Response<Outgoing> {
        let seen = self.see(request.method(), request.uri(), peer);
        let notes = Arc::new(Notes::default());
        let client = address::client(peer, request.headers(), &self.app.trusted_proxies);
        progress.request(!request.body().is_end_stream());
        let response = match self.admit(request.uri(), request.headers()) {
            Err(problem) => problem.into_response(),
            Ok(place) => {
                let extensions = request.extensions_mut();
                extensions.insert(RequestId(seen.id));
                extensions.insert(client);
                extensions.insert(notes.clone());
                extensions.insert(progress.clone());
                let (tracked, place) = (progress.clone(), Arc::new(Mutex::new(place)));
                let held = place.clone();
                let request = request.map(|body| Body::new(Incoming::new(body, tracked, held)));
                let response = self.route(request, seen.id).await;
                drop(place);
                response
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

    /// Has the router answer, in a task that a client who goes away does not cancel, and that may panic.
    async fn route(&self, request: Request<Body>, id: Uuid) -> Response<Body> {
        let read_only = !changes(request.method());
        let mut answered = tokio::spawn(REQUEST.scope(id, self.router.clone().oneshot(request)));
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
        let mut response = in_the_form_of_the_door(seen.at_oauth, response);
        self.name(seen, response.headers_mut());
        if self.told {
            self.tell(seen, notes, response.status());
        }
        response
    }

    /// Puts the request's id into an answer.
    pub fn name(&self, seen: &Seen, headers: &mut HeaderMap) {
        let mut text = [0; 36];
        if let Ok(id) = HeaderValue::from_str(seen.id.hyphenated().encode_lower(&mut text)) {
            headers.insert(REQUEST_ID, id);
        }
    }

    /// Whether introspections are answered before the router: only the API's listener has them.
    pub fn has_front(&self) -> bool {
        self.introspections.is_some()
    }

    /// Counts an introspection that was answered 200. It is not logged.
    pub fn introspected(&self, seen: &Seen) {
        if let Some((requests, durations)) = &self.introspections {
            requests.increment(1);
            durations.record(seen.started.elapsed());
        }
    }

    /// Counts and logs a handler that panicked.
    pub fn panicked(&self, seen: &Seen) {
        self.app.metrics.panics.increment(1);
        tracing::error!(request_id = %seen.id, panicked = true, "a handler did not finish");
    }

    fn tell(&self, seen: &Seen, notes: &Notes, status: StatusCode) {
        let took = seen.started.elapsed();
        let metrics = &self.app.metrics;
        let route = notes.route.get().copied().unwrap_or(UNMATCHED);
        metrics.request(route, &seen.method, status.as_u16(), took);
        if route == "/oauth2/introspect" && status == StatusCode::OK {
            return;
        }
        tracing::info!(
            target: "counterfoil::request",
            request_id = %seen.id,
            method = known(&seen.method),
            route,
            status = status.as_u16(),
            duration_us = took.as_micros() as u64,
            actor = notes.actor.get().map(String::as_str),
            peer = %seen.peer,
            "request"
        );
    }
}

/// A refusal as its door says it: RFC 6749 at `/oauth2/`, else a problem document. What is neither was made by a
/// library, in words of its own that may repeat what was sent.
fn in_the_form_of_the_door(at_oauth: bool, mut response: Response<Body>) -> Response<Body> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let problem = response.extensions_mut().remove::<Problem>();
    let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let foreign =
        problem.is_none() && !matches!(kind, Some(b"application/json" | b"application/problem+json"));
    let problem = match problem {
        Some(problem) if at_oauth => problem,
        None if foreign => Problem::of_status(status),
        _ => return response,
    };
    let mut told = if at_oauth { problem.into_oauth() } else { problem.into_response() };
    for name in [header::ALLOW, header::RETRY_AFTER] {
        if let Some(value) = response.headers_mut().remove(&name) {
            told.headers_mut().insert(name, value);
        }
    }
    told
}

fn head_bytes(uri: &Uri, headers: &HeaderMap) -> usize {
    let headers: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    headers + uri.path_and_query().map_or(0, |target| target.as_str().len())
}
