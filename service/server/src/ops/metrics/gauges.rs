//! What is looked at when somebody asks.

use super::ABOUT;
use metrics::{Gauge, Key, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

/// Values that are looked at when somebody asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sampled {
    /// Digests in the index.
    pub index: usize,
    /// Bytes of the index.
    pub index_bytes: usize,
    /// The last applied event.
    pub applied: u64,
    /// Commands that wait.
    pub queue: usize,
    /// Whether "active" may be answered.
    pub fresh: bool,
    /// Keys of rate limits.
    pub rate_keys: usize,
}

/// The gauges that are set when somebody asks.
pub(super) struct Gauges {
    index: Gauge,
    index_bytes: Gauge,
    applied: Gauge,
    head: Gauge,
    lag: Gauge,
    queue: Gauge,
    fresh: Gauge,
    rate_keys: Gauge,
    memory: Gauge,
    files: Gauge,
}

impl Gauges {
    pub(super) fn new(recorder: &PrometheusRecorder) -> Self {
        let gauge = |name, help| gauge(recorder, name, help);
        Self {
            index: gauge("counterfoil_index_digests", "Digests in the index"),
            index_bytes: gauge("counterfoil_index_bytes", "Memory of the index"),
            applied: gauge("counterfoil_applied_seq", "The last event that the index reflects"),
            head: gauge("counterfoil_head_seq", "The last event of the log that this node saw"),
            lag: gauge("counterfoil_applied_lag_events", "Events seen in the log and not applied yet"),
            queue: gauge("counterfoil_writer_queue_commands", "Commands that the writer has not answered"),
            fresh: gauge("counterfoil_fresh", "1 while this node may answer that a token is active"),
            rate_keys: gauge("counterfoil_rate_limit_keys", "Keys of rate limits"),
            memory: gauge("process_resident_memory_bytes", "Resident memory"),
            files: gauge("process_open_fds", "Open files, connections included"),
        }
    }

    /// Sets them, beside the last event of the log that was seen.
    pub(super) fn set(&self, now: &Sampled, head: u64) {
        self.index.set(now.index as f64);
        self.index_bytes.set(now.index_bytes as f64);
        self.applied.set(now.applied as f64);
        self.head.set(head as f64);
        self.lag.set(head.saturating_sub(now.applied) as f64);
        self.queue.set(now.queue as f64);
        self.fresh.set(f64::from(u8::from(now.fresh)));
        self.rate_keys.set(now.rate_keys as f64);
        if let Some(bytes) = resident_memory() {
            self.memory.set(bytes as f64);
        }
        if let Some(files) = open_files() {
            self.files.set(files as f64);
        }
    }
}

/// A gauge that Prometheus reads under this name.
pub(super) fn gauge(recorder: &PrometheusRecorder, name: &'static str, help: &'static str) -> Gauge {
    recorder.describe_gauge(name.into(), None, help.into());
    recorder.register_gauge(&Key::from_name(name), &ABOUT)
}

/// Resident memory of this process, as Linux tells it.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// How many files this process has open. Nobody else may look, but for root, since the process leaves no core either.
fn open_files() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}
