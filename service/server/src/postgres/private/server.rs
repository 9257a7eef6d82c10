//! The server process: starting it, waiting for it, stopping it. Whoever calls these holds the gate.

use super::account::Account;
use super::binaries::Binaries;
use super::postmaster::{Found, Postmaster, look};
use super::{PrivateError, Say, directory, file_error, log};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::process::Child;
use tokio::time::{Instant, sleep};

/// How often a state is looked at while it is waited for.
const LOOK: Duration = Duration::from_millis(20);
/// How long processes of a killed server are waited for.
const LEFT_OVER: Duration = Duration::from_secs(60);

/// What is told of a recovery.
const RECOVERING: &str = "the private PostgreSQL is recovering from a crash";

/// What is told of any other start.
const STARTING: &str = "the private PostgreSQL is starting";

/// A cluster and what it is run with.
pub(crate) struct Server {
    pub(crate) cluster: PathBuf,
    /// Where it listens: another place than usual if it runs since before its directory was moved.
    pub(crate) socket: PathBuf,
    pub(crate) binaries: Binaries,
    pub(crate) account: Account,
    /// Set once nobody here needs the server: a start does not wait for it to be ready any more.
    pub(crate) leaving: AtomicBool,
}

/// Sentences for whoever waits: after three seconds, then every ten.
pub(crate) struct Progress {
    since: Instant,
    next: Duration,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), next: Duration::from_secs(3) }
    }

    pub(crate) fn say(&mut self, say: Say<'_>, what: &str) {
        if self.since.elapsed() >= self.next {
            self.next += Duration::from_secs(10);
            say(&format!("{what} ({} s) …", self.since.elapsed().as_secs()));
        }
    }
}

/// A server that starts, and whether it stops if nobody waits for that any more: before it wrote its file, nobody
/// else could find it.
struct Starting(Child, bool);

impl Starting {
    /// It stands on its own now. Still collected when it ends, by the runtime.
    fn leave(mut self) {
        self.1 = false;
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let (true, Some(pid)) = (self.1, self.0.id()) {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGINT);
        }
    }
}

/// Whether a cluster that does not run was not stopped either. The state is the third field of `global/pg_control`, of
/// four bytes in the machine's order, as PostgreSQL's `src/include/catalog/pg_control.h` has it; 1 and 2 are those of a
/// server that was stopped.
fn recovers(cluster: &Path) -> bool {
    let control = std::fs::read(cluster.join("global/pg_control")).unwrap_or_default();
    let state = control.get(16..).and_then(|rest| rest.first_chunk::<4>());
    state.is_some_and(|state| !matches!(u32::from_ne_bytes(*state), 1 | 2))
}

impl Server {
    /// The server, if it runs.
    pub(crate) fn running(&self) -> Option<Postmaster> {
        match look(&self.cluster, &self.account) {
            Found::Running(postmaster) => Some(postmaster),
            Found::Nothing | Found::Dead(_) => None,
        }
    }

    /// Waits until a server that runs accepts connections, recovery included. False if it ends meanwhile.
    pub(crate) async fn until_ready(&self, say: Say<'_>) -> bool {
        let mut progress = Progress::new();
        while let Some(postmaster) = self.running() {
            if postmaster.ready {
                return true;
            }
            progress.say(say, RECOVERING);
            sleep(LOOK).await;
        }
        false
    }

    /// Starts the server and waits until it accepts connections. Where processes of a killed one are in the way, they
    /// are waited for, and the start is tried again.
    pub(crate) async fn start(&self, say: Say<'_>) -> Result<(), PrivateError> {
        for attempt in 1.. {
            self.clear(say).await?;
            if self.leaving.load(Ordering::Acquire) {
                return Ok(());
            }
            match self.launch(say).await {
                Err(PrivateError::Ended { .. }) if attempt < 3 => sleep(Duration::from_millis(300)).await,
                other => return other,
            }
            // One that a killed program had just started was quicker.
            if self.until_ready(say).await {
                return Ok(());
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Waits for what a killed server left, and removes its file where PostgreSQL would take a zombie or a stranger
    /// with its number for a server. It does not remove it while a process is left: the file names the shared memory
    /// by which PostgreSQL knows of such.
    async fn clear(&self, say: Say<'_>) -> Result<(), PrivateError> {
        let (since, mut progress) = (Instant::now(), Progress::new());
        loop {
            let dead = match look(&self.cluster, &self.account) {
                Found::Dead(dead) => dead,
                Found::Nothing | Found::Running(_) => return Ok(()),
            };
            if self.leaving.load(Ordering::Acquire) {
                return Ok(());
            }
            if !dead.left_processes() {
                let file = self.cluster.join("postmaster.pid");
                if dead.number_is_taken() {
                    std::fs::remove_file(&file).map_err(file_error("cannot remove", &file))?;
                }
                return Ok(());
            }
            if since.elapsed() > LEFT_OVER {
                return Err(PrivateError::LeftOver {
                    cluster: self.cluster.display().to_string(),
                    log: log::path(&self.cluster).display().to_string(),
                    seconds: LEFT_OVER.as_secs(),
                });
            }
            progress.say(say, "waiting for the processes of a killed PostgreSQL to end");
            sleep(LOOK).await;
        }
    }

    /// One start. The process is in a group of its own, so that Ctrl-C does not reach it, and outlives this one.
    async fn launch(&self, say: Say<'_>) -> Result<(), PrivateError> {
        directory::make_owned(&self.socket, &self.account)?;
        directory::clear_socket_dir(&self.socket);
        let output = log::open(&self.cluster, &self.account)?;
        let from = output.metadata().map_or(0, |found| found.len());
        let both = output.try_clone().map_err(file_error("cannot open", &self.cluster))?;
        let mut server = self.account.command(&self.binaries.program("postgres"));
        let child = server
            .current_dir(&self.cluster)
            .arg("-D")
            .arg(&self.cluster)
            .args(["-c", "listen_addresses=", "-c"])
            .arg(format!("unix_socket_directories={}", self.socket.display()))
            .stdout(output)
            .stderr(both)
            .spawn();
        let recovers = recovers(&self.cluster);
        if recovers {
            say(&format!("{RECOVERING} …"));
        }
        let mut child = child
            .map(|child| Starting(child, true))
            .map_err(|error| PrivateError::Program { program: "postgres", detail: error.to_string() })?;
        let ready =
            self.until_started(&mut child.0, from, if recovers { RECOVERING } else { STARTING }, say).await;
        child.leave();
        ready
    }

    async fn until_started(
        &self,
        child: &mut Child,
        from: u64,
        what: &str,
        say: Say<'_>,
    ) -> Result<(), PrivateError> {
        let mut progress = Progress::new();
        loop {
            let ended =
                child.try_wait().map_err(file_error("cannot wait for the server of", &self.cluster))?;
            if let Some(status) = ended {
                return Err(PrivateError::Ended {
                    status: status.to_string(),
                    log: log::path(&self.cluster).display().to_string(),
                    words: log::words(&self.cluster, from),
                });
            }
            match self.running() {
                Some(postmaster) if postmaster.ready || self.leaving.load(Ordering::Acquire) => return Ok(()),
                _ => progress.say(say, what),
            }
            sleep(LOOK).await;
        }
    }

    /// Stops the server: its sessions are ended, nothing is waited for but the last checkpoint. A server that takes
    /// too long is stopped hard; nothing is lost by that, its next start recovers.
    pub(crate) async fn stop(&self, say: Say<'_>) -> Result<(), PrivateError> {
        let Some(postmaster) = self.running() else { return Ok(()) };
        let mut progress = Progress::new();
        for (signal, patience) in [(Signal::SIGINT, 60), (Signal::SIGQUIT, 10)] {
            let _ = kill(postmaster.pid, signal);
            // Whom somebody stopped, as a debugger does, hears it now.
            for process in postmaster.family() {
                let _ = kill(process, Signal::SIGCONT);
            }
            let asked = Instant::now();
            while asked.elapsed() < Duration::from_secs(patience) {
                if !postmaster.lives(&self.cluster, &self.account) {
                    return Ok(());
                }
                progress.say(say, "waiting for the private PostgreSQL to stop");
                sleep(LOOK).await;
            }
        }
        Err(PrivateError::WillNotStop(postmaster.pid.as_raw()))
    }

    /// Asks the server to stop, for whoever cannot wait.
    pub(crate) fn ask_to_stop(&self) {
        if let Some(postmaster) = self.running() {
            let _ = kill(postmaster.pid, Signal::SIGINT);
        }
    }
}
