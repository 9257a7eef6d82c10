//! The program as users start it: `counterfoil serve` and its other commands, as processes of their own.

use super::Scratch;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that is waited for: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `counterfoil`. Dropping it kills it; its PostgreSQL is ended with its [`super::Scratch`].
pub(crate) struct Process {
    child: Child,
    said: tempfile::NamedTempFile,
    base: String,
}

/// A command of the program on a data directory, with nothing of this process's environment but the path, on ports
/// that are free.
pub(crate) fn command(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counterfoil"));
    command.args(arguments).env_clear().current_dir("/").stdin(Stdio::null()).process_group(0);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("COUNTERFOIL__DATA_DIR", data_dir);
    for listener in ["API", "METRICS"] {
        command.env(format!("COUNTERFOIL__{listener}__ADDR"), "127.0.0.1:0");
    }
    command
}

/// Runs a command to its end.
pub(crate) async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Makes the first organization: what `init --json` prints.
pub(crate) async fn init(command: Command) -> Value {
    let output = run(command).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The arguments of such an `init`.
pub(crate) const INIT: [&str; 6] =
    ["init", "--json", "--organization", "acme", "--owner", "owner@example.com"];

impl Process {
    /// Starts `serve` and waits until it is ready.
    pub(crate) async fn serve(data_dir: &Path) -> Self {
        let mut program = Self::start(command(data_dir, &["serve"]));
        program.until_ready().await;
        program
    }

    /// Starts a command, and does not wait.
    pub(crate) fn start(mut command: Command) -> Self {
        let said = tempfile::NamedTempFile::new().unwrap();
        let output = File::options().append(true).open(said.path()).unwrap();
        let child = command.stdout(Stdio::null()).stderr(output).spawn().unwrap();
        Self { child, said, base: String::new() }
    }

    /// Starts a command whose standard error nobody reads any more.
    pub(crate) fn unheard(mut command: Command) -> Self {
        let said = tempfile::NamedTempFile::new().unwrap();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        Self { child, said, base: String::new() }
    }

    /// Waits until its PostgreSQL runs.
    pub(crate) async fn until_postgres_runs_in(&mut self, scratch: &Scratch) {
        let since = Instant::now();
        while scratch.processes().len() < 3 {
            assert!(self.ended().is_none() && since.elapsed() < PATIENCE, "it does not start one");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until it says where it serves.
    pub(crate) async fn until_it_serves(&mut self) {
        self.until_it_says("serving on http://").await;
        let said = self.said();
        let address = said.split("serving on ").nth(1).and_then(|rest| rest.split_whitespace().next());
        self.base = address.unwrap().into();
    }

    /// Waits until it says where it serves, and is ready.
    pub(crate) async fn until_ready(&mut self) {
        self.until_it_serves().await;
        let (client, since) = (reqwest::Client::new(), Instant::now());
        loop {
            let answer = client.get(format!("{}/readyz", self.base)).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "it is not ready: {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until it has said something.
    pub(crate) async fn until_it_says(&mut self, words: &str) {
        let since = Instant::now();
        while !self.said().contains(words) {
            let ended = self.ended();
            assert!(ended.is_none(), "it ended ({ended:?}) before it said {words:?}: {}", self.said());
            assert!(since.elapsed() < PATIENCE, "it does not say {words:?}: {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where it serves: scheme, host and port.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// What it said on standard error until now.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.said.path()).unwrap()
    }

    /// Kills it as the system would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal, and only it.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Ctrl-C: the signal goes to every process of its group.
    pub(crate) async fn interrupt(&mut self) -> ExitStatus {
        killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).unwrap();
        self.until_it_ends().await
    }

    /// Waits until it ends by itself.
    pub(crate) async fn until_it_ends(&mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "it does not end: {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("counterfoil said:\n{}", self.said());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
