//! Metrics for Prometheus.
//!
//! Every label has few values that are known beforehand: a route's pattern and never a path, a method that the service
//! knows or `other`, a status. Handles are registered once, so that counting costs an atomic addition.

mod gauges;

pub use gauges::Sampled;

use gauges::Gauges;
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Upper ends of the buckets of durations, in seconds.
const SECONDS: [f64; 13] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0];
/// Upper ends of the buckets of batch sizes.
const COMMANDS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// What an introspection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Active.
    Active,
    /// Inactive.
    Inactive,
    /// It could not be judged: 503.
    Unavailable,
    /// The request or its client was refused.
    Refused,
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// A working credential's.
    Credential,
    /// An address's, by failures.
    Address,
    /// An address's, at a door without a credential.
    Stranger,
}

/// What the writer tells. Handed to it, so that the write path knows nothing of metrics beyond these.
pub struct WriterMetrics {
    /// Commands of each batch.
    pub batch: Histogram,
    /// How long each batch took to be decided, committed and applied.
    pub seconds: Histogram,
    /// Batches that were committed.
    pub commits: Counter,
    /// Batches that were not, or whose outcome is unknown.
    pub failures: Counter,
}

#[derive(PartialEq, Eq, Hash, Clone, Copy)]
struct Requests {
    route: &'static str,
    method: &'static str,
    status: u16,
}

/// The metrics of one service.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// Routes by pattern. A pattern is interned once, and there are as many as the router has.
    requests: RwLock<HashMap<Requests, Counter>>,
    durations: RwLock<HashMap<&'static str, Histogram>>,
    patterns: RwLock<HashMap<String, &'static str>>,
    introspections: [Counter; 4],
    limited: [Counter; 3],
    framing: RwLock<HashMap<u16, Counter>>,
    gauges: Gauges,
    /// The last event that was seen in the log. Written by the applier.
    pub head: Arc<AtomicU64>,
    /// Connections that were refused, since there were too many.
    pub connections_refused: Counter,
    /// Connections that are open.
    pub connections: Gauge,
    /// Connections that were closed since a request's head or the next request did not come in time.
    pub timeouts: Counter,
    /// Slow clients that made way for others.
    pub slow_ended: Counter,
    /// Requests of peers that say for whom they ask, and are not believed.
    pub forwarded_by_strangers: Counter,
    /// Requests that were refused before they were read, since there were too many.
    pub shed: Counter,
    /// Presented plaintexts whose token has another one by now.
    pub ended_plaintexts: Counter,
    /// Uses of tokens that were not counted, for want of room.
    pub uses_not_counted: Counter,
    /// Handlers that panicked.
    pub panics: Counter,
    /// Tokens whose expiry could not be recorded.
    pub expiries_aside: Gauge,
}

/// What a recorder is told of a metric beside its name.
const ABOUT: Metadata<'static> = Metadata::new("counterfoil", Level::INFO, None);

fn counter(recorder: &PrometheusRecorder, name: &'static str, labels: Vec<Label>) -> Counter {
    recorder.register_counter(&Key::from_parts(name, labels), &ABOUT)
}

/// What each counter means.
const HELP: [(&str, &str); 14] = [
    ("counterfoil_http_requests_total", "Requests by route, method and status"),
    ("counterfoil_introspections_total", "Introspections by outcome"),
    ("counterfoil_rate_limited_total", "Requests answered 429, by limit"),
    ("counterfoil_framing_refused_total", "Requests whose framing or head could not be read, by status"),
    ("counterfoil_connections_refused_total", "Connections beyond limits.connections"),
    (
        "counterfoil_connection_timeouts_total",
        "Connections closed for an unfinished head, idleness or unread answers",
    ),
    ("counterfoil_slow_clients_ended_total", "Clients that kept the service waiting and made way for others"),
    (
        "counterfoil_forwarded_by_strangers_total",
        "Requests with X-Forwarded-For of a peer that is not among trusted_proxies",
    ),
    (
        "counterfoil_requests_shed_total",
        "Requests beyond limits.requests, or without room for a slow body or a stream",
    ),
    ("counterfoil_ended_plaintext_uses_total", "Uses of a plaintext whose token was rotated"),
    (
        "counterfoil_uses_not_counted_total",
        "Uses of tokens for which there was no room until the next were written",
    ),
    ("counterfoil_panics_total", "Handlers that panicked"),
    ("counterfoil_commits_total", "Batches committed"),
    ("counterfoil_commit_failures_total", "Batches not committed, or of unknown outcome"),
];

const HISTOGRAMS: [(&str, &str); 3] = [
    ("counterfoil_http_request_duration_seconds", "From a request's head to its answer's, by route"),
    ("counterfoil_batch_commands", "Commands of a batch"),
    ("counterfoil_batch_seconds", "From a batch's beginning until it was committed and applied"),
];

impl Default for Metrics {
    fn default() -> Self {
        let builder = PrometheusBuilder::new();
        let builder = builder.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS);
        let builder = builder
            .and_then(|b| {
                b.set_buckets_for_metric(Matcher::Full("counterfoil_batch_commands".into()), &COMMANDS)
            })
            .unwrap_or_default();
        let recorder = builder.build_recorder();
        for (name, help) in HELP {
            recorder.describe_counter(name.into(), Some(Unit::Count), help.into());
        }
        for (name, help) in HISTOGRAMS {
            recorder.describe_histogram(name.into(), None, help.into());
        }
        let plain = |name| counter(&recorder, name, Vec::new());
        let by = |name, label: &'static str, value: &'static str| {
            counter(&recorder, name, vec![Label::new(label, value)])
        };
        let introspection = |outcome| by("counterfoil_introspections_total", "outcome", outcome);
        let limited = |limit| by("counterfoil_rate_limited_total", "limit", limit);
        Self {
            introspections: ["active", "inactive", "unavailable", "refused"].map(introspection),
            limited: ["credential", "address", "stranger"].map(limited),
            connections_refused: plain("counterfoil_connections_refused_total"),
            timeouts: plain("counterfoil_connection_timeouts_total"),
            slow_ended: plain("counterfoil_slow_clients_ended_total"),
            forwarded_by_strangers: plain("counterfoil_forwarded_by_strangers_total"),
            shed: plain("counterfoil_requests_shed_total"),
            ended_plaintexts: plain("counterfoil_ended_plaintext_uses_total"),
            uses_not_counted: plain("counterfoil_uses_not_counted_total"),
            panics: plain("counterfoil_panics_total"),
            connections: gauges::gauge(&recorder, "counterfoil_connections", "Open connections"),
            expiries_aside: gauges::gauge(
                &recorder,
                "counterfoil_expiries_set_aside",
                "Tokens whose expiry could not be recorded, for their rows contradict the log",
            ),
            gauges: Gauges::new(&recorder),
            requests: RwLock::default(),
            durations: RwLock::default(),
            patterns: RwLock::default(),
            framing: RwLock::default(),
            head: Arc::default(),
            handle: recorder.handle(),
            recorder,
        }
    }
}

fn found<K: std::hash::Hash + Eq, V: Clone>(map: &RwLock<HashMap<K, V>>, key: &K) -> Option<V> {
    map.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
}

fn kept<K: std::hash::Hash + Eq, V: Clone>(map: &RwLock<HashMap<K, V>>, key: K, value: V) -> V {
    map.write().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(value).clone()
}

/// A method that the service knows, or `other`.
pub fn known(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// The route of what matched none.
pub const UNMATCHED: &str = "unmatched";

impl Metrics {
    /// A route's pattern for good. Only patterns of the router are given here, so few are ever kept.
    pub fn pattern(&self, text: &str) -> &'static str {
        let patterns = self.patterns.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(pattern) = patterns.get(text) {
            return pattern;
        }
        drop(patterns);
        let mut patterns = self.patterns.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(pattern) = patterns.get(text) {
            return pattern;
        }
        let pattern: &'static str = Box::leak(text.to_string().into_boxed_str());
        patterns.insert(text.to_string(), pattern);
        pattern
    }

    /// Counts an answered request.
    pub fn request(&self, route: &'static str, method: &http::Method, status: u16, took: Duration) {
        let method = known(method);
        self.requests_counter(route, method, status).increment(1);
        self.durations(route).record(took);
    }

    /// The counter of a route, method and status, to be kept by whoever counts often.
    pub fn requests_counter(&self, route: &'static str, method: &'static str, status: u16) -> Counter {
        let key = Requests { route, method, status };
        found(&self.requests, &key).unwrap_or_else(|| {
            let labels = vec![
                Label::new("route", route),
                Label::new("method", method),
                Label::new("status", status.to_string()),
            ];
            kept(&self.requests, key, counter(&self.recorder, "counterfoil_http_requests_total", labels))
        })
    }

    /// The histogram of a route's durations, to be kept by whoever records often.
    pub fn durations(&self, route: &'static str) -> Histogram {
        found(&self.durations, &route).unwrap_or_else(|| {
            let name = "counterfoil_http_request_duration_seconds";
            let key = Key::from_parts(name, vec![Label::new("route", route)]);
            kept(&self.durations, route, self.recorder.register_histogram(&key, &ABOUT))
        })
    }

    /// Counts an introspection.
    pub fn introspection(&self, outcome: Outcome) {
        self.introspections[outcome as usize].increment(1);
    }

    /// Counts a request that was answered 429.
    pub fn rate_limited(&self, limit: Limited) {
        self.limited[limit as usize].increment(1);
    }

    /// Counts a request whose framing could not be read, by the status that it was answered with.
    pub fn framing(&self, status: u16) {
        let counted = found(&self.framing, &status).unwrap_or_else(|| {
            let labels = vec![Label::new("status", status.to_string())];
            kept(&self.framing, status, counter(&self.recorder, "counterfoil_framing_refused_total", labels))
        });
        counted.increment(1);
    }

    /// What the writer tells.
    pub fn writer(&self) -> WriterMetrics {
        let histogram = |name| self.recorder.register_histogram(&Key::from_name(name), &ABOUT);
        WriterMetrics {
            batch: histogram("counterfoil_batch_commands"),
            seconds: histogram("counterfoil_batch_seconds"),
            commits: counter(&self.recorder, "counterfoil_commits_total", Vec::new()),
            failures: counter(&self.recorder, "counterfoil_commit_failures_total", Vec::new()),
        }
    }

    /// Moves recorded values into their buckets. Without this, what nobody scrapes would pile up.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// The text that Prometheus reads.
    pub fn render(&self, now: &Sampled) -> String {
        self.gauges.set(now, self.head.load(Ordering::Relaxed));
        self.handle.render()
    }
}
