//! The machine: ports, the private cluster's files, the sealing key.

use super::probe::{self, Answer};
use super::report::Check;
use crate::config::Config;
use crate::postgres::private::{Inspection, PrivateError, Standing};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use tokio::net::TcpListener;

/// Who holds the configured addresses.
pub(super) struct Ports {
    pub(super) checks: Vec<Check>,
    /// Whether a counterfoil answers at `api.addr`.
    pub(super) serves: bool,
    /// Where its metrics are, if they are to be had.
    pub(super) metrics: Option<SocketAddr>,
    pub(super) api: SocketAddr,
}

/// Each is free, or held by a counterfoil.
pub(super) async fn ports(config: &Config) -> Ports {
    let api = config.api.addr;
    let (check, serves) = port("api.addr", api, "/readyz", is_api).await;
    let mut ports = Ports { checks: vec![check], serves, metrics: None, api };
    if config.metrics.enabled {
        let addr = config.metrics.addr;
        let (check, ours) = port("metrics.addr", addr, "/metrics", is_metrics).await;
        ports.checks.push(check);
        let metrics = if ours { probe::get(addr, "/metrics").await } else { None };
        if let Some(metrics) = metrics.filter(|answer| answer.status == 200) {
            ports.metrics = Some(addr);
            ports.checks.push(proxies(&metrics.body));
        }
    } else {
        ports.checks.push(Check::good("metrics.addr", "metrics.enabled is false: none is needed"));
    }
    ports
}

/// Whether a proxy stands in front that nobody trusts, as far as the running service has met one.
fn proxies(metrics: &str) -> Check {
    const NAME: &str = "trusted_proxies";
    match probe::series(metrics, "counterfoil_forwarded_by_strangers_total") {
        None | Some(0) => Check::good(NAME, "no proxy that is not among them was met"),
        Some(count) => Check::note(
            NAME,
            format!(
                "{count} requests had X-Forwarded-For from a peer that is not among them; all count as that peer's"
            ),
            "if that peer, which the log names, is a proxy of yours: set trusted_proxies to its network",
        ),
    }
}

fn is_api(answer: &Answer) -> bool {
    let ready = answer.status == 200 && answer.body == "ok\n";
    answer.headers.contains_key("x-request-id") && (ready || answer.status == 503)
}

/// A service that starts has no metrics yet, and says so as at its other port.
fn is_metrics(answer: &Answer) -> bool {
    let starts = answer.status == 503 && answer.headers.contains_key("x-request-id");
    starts || probe::series(&answer.body, "counterfoil_applied_seq").is_some()
}

/// Whether an address is free; the second says whether one of ours holds it.
async fn port(
    name: &'static str,
    addr: SocketAddr,
    path: &str,
    is_ours: fn(&Answer) -> bool,
) -> (Check, bool) {
    let error = match TcpListener::bind(addr).await {
        Ok(_) => return (Check::good(name, format!("{addr} is free")), false),
        Err(error) => error,
    };
    let free_one = format!("set {name} to an address of this machine with a free port");
    if error.kind() != ErrorKind::AddrInUse {
        return (Check::wrong(name, format!("{addr} cannot be listened on: {error}"), free_one), false);
    }
    if probe::get(addr, path).await.is_some_and(|answer| is_ours(&answer)) {
        return (Check::good(name, format!("{addr} is held by a running counterfoil")), true);
    }
    let who = format!("ss -ltnp 'sport = :{}' shows what; or {free_one}", addr.port());
    (Check::wrong(name, format!("{addr} is held by something that is no counterfoil"), who), false)
}

/// There is nothing to look at: no configuration names a key, and nothing is written that would need one.
pub(super) fn sealing_key() -> Check {
    Check::good("sealing key", "this version has none, for it seals nothing: none was looked for")
}

/// The files of the private cluster.
pub(super) fn cluster(data_dir: &Path, found: &Result<Option<Inspection>, PrivateError>) -> Vec<Check> {
    const NAME: &str = "private cluster";
    let inspection = match found {
        Ok(Some(inspection)) => inspection,
        Ok(None) => {
            let found = format!("{} has none yet: the first start makes it", data_dir.display());
            return vec![Check::note(NAME, found, "counterfoil serve")];
        }
        Err(error) => {
            let mend = "do what the message says, then ask again";
            return vec![Check::wrong(NAME, error.to_string(), mend)];
        }
    };
    let Inspection { cluster, major, mode, standing, in_use } = inspection;
    let place = cluster.display();
    let mut checks = Vec::new();
    if *mode != 0o700 {
        let found = format!("{place} was open to others (mode {mode:04o}); a start closes it");
        checks.push(Check::note(NAME, found, format!("chmod 0700 {place}")));
    }
    let used = match in_use {
        Some(true) => "in use",
        Some(false) => "used by no command",
        None => "being started or stopped",
    };
    checks.push(match standing {
        Standing::Running(pid) => {
            Check::good(NAME, format!("PostgreSQL {major} in {place} runs (process {pid}), {used}"))
        }
        Standing::Stopped => Check::good(NAME, format!("PostgreSQL {major} in {place} is stopped, {used}")),
        Standing::Killed { left_processes: false } => Check::note(
            NAME,
            format!("the PostgreSQL of {place} was killed; its next start recovers"),
            "counterfoil serve",
        ),
        Standing::Killed { left_processes: true } => Check::wrong(
            NAME,
            format!("the PostgreSQL of {place} was killed, and processes of it go on"),
            "wait for them to end; none can start beside them",
        ),
    });
    checks
}
