//! The program itself, as an operator starts it, on ports of its own.

use super::Scratch;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A running `counterfoil serve`, with what it wrote to standard error.
pub(crate) struct Program {
    /// Where the API listens.
    pub(crate) base: String,
    /// Where the metrics are.
    pub(crate) metrics: String,
    /// What `init --json` printed.
    pub(crate) made: Value,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    data_dir: PathBuf,
    /// Removed with it; none where the data is another's.
    _directory: Option<Scratch>,
}

fn command(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counterfoil"));
    command.env("COUNTERFOIL__DATA_DIR", data_dir).env_remove("DATABASE_URL");
    command.env("COUNTERFOIL__LOG__FORMAT", "json");
    command.env("COUNTERFOIL__API__ADDR", "127.0.0.1:0").env("COUNTERFOIL__METRICS__ADDR", "127.0.0.1:0");
    command
}

/// Starts `serve`, and collects what it writes to standard error.
fn serve(data_dir: &Path, environment: &[(&str, &str)]) -> (Child, Arc<Mutex<Vec<String>>>) {
    let mut command = command(data_dir);
    command.arg("serve").envs(environment.iter().copied()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let (written, errors) = (lines.clone(), child.stderr.take().unwrap());
    std::thread::spawn(move || {
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            written.lock().unwrap().push(line);
        }
    });
    (child, lines)
}

impl Program {
    /// Starts it and makes an organization beside it.
    pub(crate) fn start() -> Self {
        Self::start_in(&[])
    }

    /// The same, in an environment.
    pub(crate) fn start_in(environment: &[(&str, &str)]) -> Self {
        let directory = Scratch::new();
        let mut program = Self::start_on(directory.path(), environment);
        program._directory = Some(directory);
        let init = ["init", "--organization", "acme", "--owner", "owner@example.com", "--json"];
        let made = command(&program.data_dir).args(init).output().unwrap();
        program.made = serde_json::from_slice(&made.stdout).unwrap();
        program
    }

    /// Starts it on data that is there, which whoever made it removes.
    pub(crate) fn start_on(data_dir: &Path, environment: &[(&str, &str)]) -> Self {
        let (child, lines) = serve(data_dir, environment);
        let (base, metrics, data_dir) = (String::new(), String::new(), data_dir.to_path_buf());
        let mut program = Self { base, metrics, made: Value::Null, child, lines, data_dir, _directory: None };
        program.find_out();
        program
    }

    /// Waits until it has said where it listens.
    fn find_out(&mut self) {
        self.base = self.line_after("serving on ");
        self.metrics = self.line_after("metrics on ");
    }

    /// Ends it by a signal and starts it again on the same data, in an environment.
    pub(crate) fn restart(&mut self, signal: Signal, environment: &[(&str, &str)]) {
        self.signal(signal);
        let ended = self.ended_within(Duration::from_secs(30)).unwrap();
        assert_eq!(ended.success(), signal != Signal::SIGKILL, "{ended}: {:?}", self.lines());
        (self.child, self.lines) = serve(&self.data_dir, environment);
        self.find_out();
    }

    /// Another command with the configuration of this one.
    pub(crate) fn beside(&self, program: &str) -> Command {
        let mut beside = command(&self.data_dir);
        let of =
            |address: &str| address.trim_start_matches("http://").trim_end_matches("/metrics").to_string();
        beside.env("COUNTERFOIL__API__ADDR", of(&self.base));
        beside.env("COUNTERFOIL__METRICS__ADDR", of(&self.metrics));
        let mut other = Command::new(program);
        let directory = Path::new(env!("CARGO_BIN_EXE_counterfoil")).parent().unwrap();
        let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
        other.envs(beside.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("PATH", path);
        other.env_remove("DATABASE_URL");
        other
    }

    /// What stands after some words, once a line with them was written.
    fn line_after(&self, words: &str) -> String {
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            let lines = self.lines();
            if let Some(found) = lines.iter().find_map(|line| line.split_once(words)) {
                return found.1.to_string();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{words:?} was not written: {:?}", self.lines());
    }

    /// Where its data is.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What it wrote to standard error until now.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// A text that `init` printed.
    pub(crate) fn printed(&self, of: &str, field: &str) -> String {
        self.made[of][field].as_str().unwrap().to_string()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// How it ended, if it does within a time.
    pub(crate) fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
