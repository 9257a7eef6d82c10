//! Logs: to standard error, since standard output is for documents.

use crate::config::{Log, LogFormat};
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::MakeWriterExt;
use uuid::Uuid;

tokio::task_local! {
    /// The request that a task works for, so that a panic can name it.
    pub static REQUEST: Uuid;
}

/// Sends logs to standard error, in the configured form, and panics to the logs.
///
/// # Errors
/// If the configured level is none.
pub fn start(log: &Log) -> Result<(), String> {
    // PostgreSQL's notices, such as "already exists, skipping", say nothing to an operator who did not ask for them; and
    // of an outage the driver's pool would tell a line for each connection and each request.
    let level = format!("sqlx::postgres::notice=warn,sqlx::pool=error,sqlx_core::pool=error,{}", log.level);
    let filter = EnvFilter::try_new(level).map_err(|error| format!("log.level is wrong: {error}"))?;
    // Where standard error is closed, a complaint about that would go there too, and panic.
    let logs = tracing_subscriber::fmt().log_internal_errors(false);
    let shown = |line: &tracing::Metadata<'_>| {
        (*line.level() <= Level::WARN || !QUIET.load(Ordering::Relaxed)) && !repeats_requests(line)
    };
    let logs = logs.with_env_filter(filter).with_writer(std::io::stderr.with_filter(shown));
    match log.format {
        LogFormat::Text => logs.with_ansi(false).init(),
        LogFormat::Json => {
            JSON.store(true, Ordering::Relaxed);
            logs.json().flatten_event(true).init();
        }
    }
    std::panic::set_hook(Box::new(panicked));
    Ok(())
}

/// Libraries that a request passes before it is ours. Below this they log what came as it came, such as a `:path` that is
/// none: a plaintext may stand anywhere in it.
const REQUESTS_PASS: [&str; 8] =
    ["h2", "hyper", "hyper_util", "tower", "tower_http", "tokio_util", "axum", "axum_core"];

/// Whether a line may repeat what a request sent. No level that an operator asks for brings it back.
fn repeats_requests(line: &tracing::Metadata<'_>) -> bool {
    let library = line.target().split("::").next().unwrap_or_default();
    *line.level() > Level::INFO && REQUESTS_PASS.contains(&library)
}

/// Whether each line is a JSON document.
static JSON: AtomicBool = AtomicBool::new(false);

/// Whether each line of the log is to be a JSON document: then nothing else is written beside it.
pub fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Whether lines that warn of nothing are held back.
static QUIET: AtomicBool = AtomicBool::new(false);

/// For as long as this lives, the log has warnings and errors alone.
pub struct Quiet(());

impl Quiet {
    /// Begins.
    pub fn begin() -> Self {
        QUIET.store(true, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        QUIET.store(false, Ordering::Relaxed);
    }
}

/// Logs where a panic happened and for which request. A message that was put together at run time is left out: it may
/// hold what a request sent.
fn panicked(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(not shown)");
    let request_id = REQUEST.try_with(ToString::to_string).unwrap_or_default();
    tracing::error!(place, message, request_id, "a task panicked");
}
