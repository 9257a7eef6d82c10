//! What is known of a request, and what is told of it: its id, its counters, its line in the log.

use super::{address, oauth};
use crate::app::App;
use crate::clock::request_id;
use crate::ops::metrics::{Metrics, UNMATCHED, known};
use crate::ops::rates::ClientAddress;
use crate::ops::recurring::Recurring;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Where an answer names its request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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
    client: ClientAddress,
    started: Instant,
}

/// Proxies that say whose requests they forward and are not believed.
static STRANGERS: Mutex<Recurring<()>> = Mutex::new(Recurring::new());

/// Tells the operator of a proxy that is not trusted: all who come through it are one client, and one of them who fails
/// often enough keeps the others from signing in.
fn forwarded_by_a_stranger(metrics: &Metrics, peer: IpAddr) {
    metrics.forwarded_by_strangers.increment(1);
    // Whoever finds it locked need not wait: this one is told of, or counted, by the next.
    let Ok(mut strangers) = STRANGERS.try_lock() else { return };
    if let Some(untold) = strangers.failed((), Instant::now()) {
        tracing::warn!(
            %peer,
            untold,
            "a peer that is not among trusted_proxies sends X-Forwarded-For: whoever comes through it counts as that peer"
        );
    }
}

/// Puts the id of a request, or of what was none, into an answer.
pub(super) fn name(id: Uuid, headers: &mut HeaderMap) {
    let mut text = [0; 36];
    if let Ok(id) = HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)) {
        headers.insert(REQUEST_ID, id);
    }
}

impl Seen {
    /// Names a request. Its id is made here: a client's own may be a secret in the wrong place.
    pub fn new<B>(app: &App, request: &Request<B>, peer: IpAddr) -> Self {
        let at_oauth = oauth::has(request.uri().path());
        let id = request_id(app.clock.now());
        let client = address::client(peer, request.headers(), &app.trusted_proxies);
        if address::is_forwarded_by_a_stranger(peer, request.headers(), &app.trusted_proxies) {
            forwarded_by_a_stranger(&app.metrics, peer);
        }
        Self { id, method: request.method().clone(), at_oauth, peer, client, started: Instant::now() }
    }

    /// Whose it is, as far as proxies are trusted.
    pub fn client(&self) -> ClientAddress {
        self.client
    }

    /// Its id.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Whether it came to a door of OAuth's.
    pub fn is_at_oauth(&self) -> bool {
        self.at_oauth
    }

    /// How long it has taken.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Puts its id into an answer.
    pub fn name(&self, headers: &mut HeaderMap) {
        name(self.id, headers);
    }

    /// Counts and logs its answer.
    pub fn tell(&self, metrics: &Metrics, notes: &Notes, status: StatusCode) {
        let took = self.elapsed();
        let route = notes.route.get().copied().unwrap_or(UNMATCHED);
        metrics.request(route, &self.method, status.as_u16(), took);
        if route == "/oauth2/introspect" && status == StatusCode::OK {
            return;
        }
        tracing::info!(
            target: "counterfoil::request",
            request_id = %self.id,
            method = known(&self.method),
            route,
            status = status.as_u16(),
            duration_us = took.as_micros() as u64,
            actor = notes.actor.get().map(String::as_str),
            peer = %self.peer,
            client = %self.client.0,
            "request"
        );
    }
}
