//! The program as users start it: `counterfoil serve` and its other commands, as processes of their own.

use super::{PATIENCE, Scratch};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Between two looks at what is waited for.
const PAUSE: Duration = Duration::from_millis(20);

/// The arguments of an `init` that prints a document.
pub(crate) const INIT: [&str; 6] =
    ["init", "--json", "--organization", "acme", "--owner", "owner@example.com"];

/// A running `counterfoil`. Dropping it kills it; its PostgreSQL is ended with its [`Scratch`].
pub(crate) struct Program {
    child: Child,
    /// What it was started by, and is again at a restart.
    command: Command,
    said: tempfile::NamedTempFile,
    base: String,
    metrics: String,
    made: Value,
    /// Removed with it; none where the data is another's.
    directory: Option<Scratch>,
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

/// Has `counterfoil verify` fold the whole log anew and compare everything with it.
pub(crate) async fn verify(data_dir: &Path) {
    let verified = run(command(data_dir, &["verify"])).await;
    let said = [verified.stdout, verified.stderr].concat();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// Makes the first organization: what `init --json` prints.
pub(crate) async fn init(command: Command) -> Value {
    let output = run(command).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

impl Program {
    /// Starts `serve` on data of its own, in an environment, and makes an organization beside it.
    pub(crate) async fn made_in(environment: &[(&str, &str)]) -> Self {
        let directory = Scratch::with_data().await;
        let mut serve = command(directory.path(), &["serve"]);
        serve.envs(environment.iter().copied());
        let mut program = Self::start(serve);
        program.until_it_serves().await;
        program.made = init(command(directory.path(), &INIT)).await;
        program.directory = Some(directory);
        program
    }

    /// The same, in an environment without anything.
    pub(crate) async fn made() -> Self {
        Self::made_in(&[]).await
    }

    /// Starts `serve` on data that whoever made it removes, and waits until it is ready.
    pub(crate) async fn serve(data_dir: &Path) -> Self {
        let mut program = Self::start(command(data_dir, &["serve"]));
        program.until_ready().await;
        program
    }

    /// Starts a command, and does not wait.
    pub(crate) fn start(mut command: Command) -> Self {
        let said = tempfile::NamedTempFile::new().unwrap();
        let output = File::options().append(true).open(said.path()).unwrap();
        command.stdout(Stdio::null()).stderr(output);
        Self::of(command.spawn().unwrap(), command, said)
    }

    /// Starts a command whose standard error nobody reads any more.
    pub(crate) fn unheard(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        Self::of(child, command, tempfile::NamedTempFile::new().unwrap())
    }

    fn of(child: Child, command: Command, said: tempfile::NamedTempFile) -> Self {
        let (base, metrics) = (String::new(), String::new());
        Self { child, command, said, base, metrics, made: Value::Null, directory: None }
    }

    /// Ends it by a signal and starts it again on the same data, with some of its environment changed.
    pub(crate) async fn restart(&mut self, signal: Signal, environment: &[(&str, &str)]) {
        self.signal(signal);
        let ended = self.until_it_ends().await;
        assert_eq!(ended.success(), signal != Signal::SIGKILL, "{ended}: {}", self.said());
        self.said.as_file().set_len(0).unwrap();
        self.child = self.command.envs(environment.iter().copied()).spawn().unwrap();
        self.until_it_serves().await;
    }

    /// Another program with the configuration of this one, which finds the program itself in its path.
    pub(crate) fn beside(&self, program: &str) -> Command {
        let mut beside = Command::new(program);
        beside.env_remove("DATABASE_URL");
        beside.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        beside.env("COUNTERFOIL__API__ADDR", self.base.trim_start_matches("http://"));
        beside.env("COUNTERFOIL__METRICS__ADDR", self.metrics.trim_start_matches("http://"));
        let directory = Path::new(env!("CARGO_BIN_EXE_counterfoil")).parent().unwrap();
        beside.env("PATH", format!("{}:{}", directory.display(), std::env::var("PATH").unwrap()));
        beside
    }

    /// Waits until its PostgreSQL runs.
    pub(crate) async fn until_postgres_runs_in(&mut self, scratch: &Scratch) {
        let since = Instant::now();
        while scratch.processes().len() < 3 {
            assert!(self.ended().is_none() && since.elapsed() < PATIENCE, "it does not start one");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until it says where it serves, and where its metrics are.
    pub(crate) async fn until_it_serves(&mut self) {
        self.until_it_says("/metrics").await;
        let said = self.said();
        // In a line of text, or in a document.
        let end = |c: char| c.is_whitespace() || c == '"';
        let after = |words: &str| said.split(words).nth(1).and_then(|rest| rest.split(end).next());
        self.base = after("serving on ").unwrap().into();
        self.metrics = after("metrics on ").unwrap().trim_end_matches("/metrics").into();
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
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until it has said something.
    pub(crate) async fn until_it_says(&mut self, words: &str) {
        let since = Instant::now();
        while !self.said().contains(words) {
            let ended = self.ended();
            assert!(ended.is_none(), "it ended ({ended:?}) before it said {words:?}: {}", self.said());
            assert!(since.elapsed() < PATIENCE, "it does not say {words:?}: {}", self.said());
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What the system says of it: a file of its directory in /proc.
    pub(crate) fn system(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    /// How many kilobytes of memory it has.
    pub(crate) fn memory(&self) -> usize {
        let status = self.system("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// How many files it has open, as it says itself.
    pub(crate) async fn open_files(&self) -> usize {
        let metrics = reqwest::get(format!("{}/metrics", self.metrics)).await.unwrap().text().await.unwrap();
        let files = metrics.lines().find_map(|line| line.strip_prefix("process_open_fds "));
        files.unwrap().parse().unwrap()
    }

    /// Where it serves: scheme, host and port.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Where its metrics are: the same.
    pub(crate) fn metrics(&self) -> &str {
        &self.metrics
    }

    /// A text that `init` printed.
    pub(crate) fn printed(&self, of: &str, field: &str) -> String {
        self.made[of][field].as_str().unwrap().to_string()
    }

    /// Where the data is of a program that made its own.
    pub(crate) fn data_dir(&self) -> &Path {
        self.directory.as_ref().unwrap().path()
    }

    /// What it said on standard error until now, since it was last started.
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

    /// How it ended, if it does within a time.
    pub(crate) async fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let since = Instant::now();
        while self.ended().is_none() && since.elapsed() < limit {
            tokio::time::sleep(PAUSE).await;
        }
        self.ended()
    }

    /// Waits until it ends by itself.
    pub(crate) async fn until_it_ends(&mut self) -> ExitStatus {
        let ended = self.ended_within(PATIENCE).await;
        ended.unwrap_or_else(|| panic!("it does not end: {}", self.said()))
    }

    /// Ctrl-C: the signal goes to every process of its group.
    pub(crate) async fn interrupt(&mut self) -> ExitStatus {
        killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).unwrap();
        self.until_it_ends().await
    }

    /// Ends it as a supervisor does, and well.
    pub(crate) async fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        assert!(self.until_it_ends().await.success(), "{}", self.said());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("counterfoil said:\n{}", self.said());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
