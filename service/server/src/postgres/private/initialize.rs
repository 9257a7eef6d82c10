//! A first start: `initdb`, and the settings that differ from its defaults.

use super::account::Account;
use super::binaries::Binaries;
use super::locks::Lock;
use super::{PrivateError, SUPERUSER, directory, file_error, place};
use std::path::Path;
use std::time::Duration;

/// `initdb` into a directory beside, then a rename: what is half made is never taken for a cluster. `initdb` outlives a
/// program that is killed, and holds the gate until it ends: nobody else works in that directory meanwhile.
pub(crate) async fn initialize(
    cluster: &Path,
    binaries: &Binaries,
    account: &Account,
    gate: &Lock,
) -> Result<(), PrivateError> {
    place::make_parent(cluster, account)?;
    let half = cluster.with_extension("making");
    if half.exists() {
        std::fs::remove_dir_all(&half).map_err(file_error("cannot remove", &half))?;
    }
    directory::make_owned(&half, account)?;
    let mut initdb = account.command(&binaries.program("initdb"));
    initdb
        .args(["--data-checksums", "--encoding=UTF8", "--locale=C", "--auth=trust"])
        .args(["--username", SUPERUSER, "-D"])
        .arg(&half)
        .stdin(gate.to_share().map_err(file_error("cannot share the lock of", cluster))?);
    run("initdb", initdb, Duration::from_secs(300)).await?;
    let conf = half.join("postgresql.conf");
    let mut text = std::fs::read_to_string(&conf).map_err(file_error("cannot read", &conf))?;
    text.push_str(&settings(memory()));
    std::fs::write(&conf, text).map_err(file_error("cannot write", &conf))?;
    if cluster.exists() {
        // An empty one, made beforehand: `place` refuses a directory with other things in it.
        std::fs::remove_dir(cluster).map_err(file_error("cannot replace", cluster))?;
    }
    std::fs::rename(&half, cluster).map_err(file_error("cannot make", cluster))
}

/// What differs from the defaults of `initdb`. No statement text and no bind value gets into the server's log.
fn settings(memory: u64) -> String {
    const MIB: u64 = 1 << 20;
    // The service shares the machine, and keeps what it asks for often in its own memory.
    let shared_buffers = (memory / 16 / MIB).clamp(32, 256);
    let max_wal_size = (memory / 4 / MIB).clamp(256, 2048);
    format!(
        "
# Counterfoil's private cluster.
listen_addresses = ''
max_connections = 60
shared_buffers = {shared_buffers}MB
max_wal_size = {max_wal_size}MB
wal_compression = on
timezone = 'UTC'
log_timezone = 'UTC'
log_checkpoints = off
log_statement = none
log_error_verbosity = terse
log_min_error_statement = panic
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
idle_session_timeout = 0
"
    )
}

/// The machine's memory in bytes, or the container's if that has less.
fn memory() -> u64 {
    let total = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = total.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB"));
    let total = total.and_then(|kib| kib.trim().parse::<u64>().ok()).map_or(1 << 30, |kib| kib << 10);
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").unwrap_or_default();
    limit.trim().parse().map_or(total, |limit: u64| limit.min(total))
}

/// Runs a program to its end.
async fn run(
    program: &'static str,
    mut command: tokio::process::Command,
    limit: Duration,
) -> Result<(), PrivateError> {
    let failed = |detail: String| PrivateError::Program { program, detail };
    match tokio::time::timeout(limit, command.kill_on_drop(true).output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => Err(failed(format!("{}: {}", output.status, last_lines(&output.stderr)))),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no end after {} s", limit.as_secs()))),
    }
}

/// The last lines of a text, in one.
pub(crate) fn last_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(4)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_follow_the_memory_within_bounds() {
        for (memory, said) in [
            (64 << 20, ["shared_buffers = 32MB", "max_wal_size = 256MB"]),
            (2 << 30, ["shared_buffers = 128MB", "max_wal_size = 512MB"]),
            (1 << 40, ["shared_buffers = 256MB", "max_wal_size = 2048MB"]),
        ] {
            assert!(said.iter().all(|line| settings(memory).contains(line)), "{memory}");
        }
    }
}
