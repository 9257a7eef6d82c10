//! The processes that are measured.

use crate::Result;
use serde_json::Value;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process that listens on `addr`. It is ended when this is dropped.
pub(crate) struct Running {
    child: Child,
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    /// Where its metrics are, if it has any.
    metrics: Option<SocketAddr>,
}

/// A free port of this machine.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The service's program, configured for a data directory.
pub(crate) fn counterfoil(binary: &Path, data: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env("COUNTERFOIL__DATA_DIR", data).env_remove("DATABASE_URL");
    command
}

impl Running {
    /// Starts the service, with its logs in a file as under a supervisor, and says how long it took to be ready.
    pub(crate) async fn service(binary: &Path, data: &Path) -> Result<(Self, Duration)> {
        let addr = free_address()?;
        let logs = File::options().create(true).append(true).open(data.join("service.log"))?;
        let mut command = counterfoil(binary, data);
        command.arg("serve").env("COUNTERFOIL__API__ADDR", addr.to_string()).stderr(logs);
        let metrics = free_address()?;
        command.env("COUNTERFOIL__METRICS__ADDR", metrics.to_string());
        let (mut running, took) = Self::ready(command, addr, "GET /readyz HTTP/1.0\r\n\r\n").await?;
        running.metrics = Some(metrics);
        Ok((running, took))
    }

    /// Starts the baseline.
    pub(crate) async fn baseline(answer: &Path) -> Result<Self> {
        let addr = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("baseline").arg("--addr").arg(addr.to_string()).arg("--answer").arg(answer);
        let request = "POST /oauth2/introspect HTTP/1.0\r\nContent-Length: 1\r\n\r\nx";
        Ok(Self::ready(command, addr, request).await?.0)
    }

    async fn ready(mut command: Command, addr: SocketAddr, request: &str) -> Result<(Self, Duration)> {
        let started = Instant::now();
        let running = Self { child: command.stdin(Stdio::null()).spawn()?, addr, metrics: None };
        while started.elapsed() < Duration::from_secs(120) {
            if crate::open_loop::status(addr, request).await.is_ok_and(|status| status == 200) {
                return Ok((running, started.elapsed()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(format!("{addr} did not become ready").into())
    }

    /// A metric without labels, as Prometheus reads it.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let addr = self.metrics.ok_or("the process has no metrics")?;
        let text = crate::open_loop::body(addr, "GET /metrics HTTP/1.1\r\nHost: bench\r\n\r\n").await?;
        let text = String::from_utf8(text)?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.ok_or_else(|| format!("there is no metric {name}"))?.parse()?)
    }

    /// Waits until the service has applied an event: what was appended beside it reaches it by the log.
    pub(crate) async fn has_applied(&self, seq: u64) -> Result<()> {
        for _ in 0..600 {
            if self.metric("counterfoil_applied_seq").await? >= seq as f64 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(format!("event {seq} was not applied within a minute").into())
    }

    /// User and system time of the process so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is in parentheses and may hold anything.
        let after = stat.rsplit_once(") ").ok_or("/proc/PID/stat has another form")?.1;
        let ticks: u64 = after.split(' ').skip(11).take(2).map(|field| field.parse().unwrap_or(0u64)).sum();
        let a_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
        Ok(Duration::from_secs_f64(ticks as f64 / a_second as f64))
    }

    /// Stops it as Ctrl-C does, and waits.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.signal(nix::sys::signal::Signal::SIGINT);
        self.child.wait()?;
        Ok(())
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(pid, signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(nix::sys::signal::Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

/// What `counterfoil init` made.
pub(crate) fn init(binary: &Path, data: &Path) -> Result<Value> {
    let arguments = ["init", "--organization", "bench", "--owner", "owner@example.com", "--json"];
    let output = counterfoil(binary, data).args(arguments).stderr(Stdio::inherit()).output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}
