//! Closed loops, by wrk.

use crate::Result;
use crate::service::Running;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What a run of wrk saw.
#[derive(Deserialize, Serialize, Clone, Copy)]
pub(crate) struct Summary {
    pub(crate) requests: u64,
    pub(crate) duration_us: u64,
    pub(crate) errors: u64,
    pub(crate) p99_us: f64,
}

impl Summary {
    /// Requests a second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / (self.duration_us as f64 / 1e6)
    }
}

/// A loop to run.
pub(crate) struct Loop<'a> {
    /// The script under `load-tests/lua`.
    pub(crate) script: &'a str,
    /// What the script is given.
    pub(crate) arguments: Vec<&'a str>,
    pub(crate) connections: usize,
    pub(crate) time: Duration,
}

/// A run with the CPU time that the server spent on a request, in microseconds.
#[derive(Serialize, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) summary: Summary,
    pub(crate) cpu_us: f64,
}

impl Loop<'_> {
    /// Runs against a server. Any error that wrk counts is one of the benchmark's.
    pub(crate) async fn run(&self, server: &Running) -> Result<Measured> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("lua").join(self.script);
        let mut command = Command::new("wrk");
        command.args([
            "-t1",
            "-c",
            &self.connections.to_string(),
            "-d",
            &format!("{}s", self.time.as_secs()),
        ]);
        command.arg("-s").arg(script).arg(format!("http://{}", server.addr)).arg("--").args(&self.arguments);
        let before = server.cpu()?;
        let output = tokio::task::spawn_blocking(move || command.output()).await?;
        let output =
            output.map_err(|error| format!("wrk cannot be run ({error}); `make bench` installs it"))?;
        let spent = server.cpu()? - before;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().rev().find(|line| line.starts_with('{'));
        let summary: Summary = serde_json::from_str(
            line.ok_or_else(|| format!("wrk said: {text}{}", String::from_utf8_lossy(&output.stderr)))?,
        )?;
        if summary.errors > 0 {
            return Err(format!(
                "{}: {} of {} requests failed",
                self.script, summary.errors, summary.requests
            )
            .into());
        }
        Ok(Measured { summary, cpu_us: spent.as_secs_f64() * 1e6 / summary.requests as f64 })
    }
}
