//! A directory for a test's data, which leaves nothing behind, whatever became of the test.

use counterfoil::postgres::connect::Database;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::HashSet;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;

/// A directory that the account which PostgreSQL runs as can reach. Dropping it ends every server that works in it
/// and removes it, so that a test which panicked leaves neither processes nor files.
pub(crate) struct Scratch {
    directory: tempfile::TempDir,
}

impl Scratch {
    /// Makes one.
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("counterfoil-test-").tempdir_in("/var/tmp").unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Self { directory }
    }

    /// Makes one that an earlier start has left its data in, with nothing in its tables.
    pub(crate) async fn with_data() -> Self {
        let (archive, scratch) = (STARTED.get_or_init(archive).await, Self::new());
        let mut tar = tar(&scratch).args(["-xpf", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        tar.stdin.take().unwrap().write_all(archive).unwrap();
        assert!(tar.wait().unwrap().success());
        scratch
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The processes that work in it: PostgreSQL's all do, since their working directory is the cluster.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        processes_in(self.path())
    }
}

impl Scratch {
    /// Stops PostgreSQL as a debugger would (SIGSTOP), until what is returned is dropped. Connections stay open, new ones
    /// are accepted by the system, and nothing is answered.
    pub(crate) fn freeze(&self) -> Frozen {
        let frozen = Frozen(self.processes());
        frozen.send(Signal::SIGSTOP);
        frozen
    }
}

/// Processes that were stopped.
pub(crate) struct Frozen(Vec<Pid>);

impl Frozen {
    fn send(&self, signal: Signal) {
        for pid in &self.0 {
            let _ = kill(*pid, signal);
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.send(Signal::SIGCONT);
    }
}

/// The files of a cluster after its first start and stop, as an archive: making them anew takes longer than most tests.
static STARTED: OnceCell<Vec<u8>> = OnceCell::const_new();

async fn archive() -> Vec<u8> {
    let scratch = Scratch::new();
    let database = Database::open(None, scratch.path(), &|_| {}).await.unwrap();
    database.pool.close().await;
    database.private.unwrap().leave(&|_| {}).await.unwrap();
    let archive = tar(&scratch).args(["-cSf", "-", "."]).output().unwrap();
    assert!(archive.status.success(), "{}", String::from_utf8_lossy(&archive.stderr));
    archive.stdout
}

fn tar(scratch: &Scratch) -> Command {
    let mut tar = Command::new("tar");
    tar.arg("--numeric-owner").arg("-C").arg(scratch.path());
    tar
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let sockets = socket_dirs(self.path());
        // Whoever did not give a cluster up starts it again, until there is no place for it any more.
        end_all_until(self.path(), || std::fs::remove_dir_all(self.path()).is_ok());
        for socket in sockets {
            let _ = std::fs::remove_dir_all(socket);
        }
    }
}

/// Ends the processes that work in a directory.
pub(crate) fn end_all_in(directory: &Path) {
    end_all_until(directory, || true);
}

/// Ends them, until none is left and something more is so.
fn end_all_until(directory: &Path, so: impl Fn() -> bool) {
    let (started, mut asked) = (Instant::now(), HashSet::new());
    while started.elapsed() < Duration::from_secs(15) {
        let left = processes_in(directory);
        if left.is_empty() && so() {
            break;
        }
        // At SIGQUIT a server ends at once, but takes its shared memory with it, which after SIGKILL would stay.
        let harder = started.elapsed() > Duration::from_secs(5);
        for pid in left.into_iter().filter(|pid| asked.insert(*pid) || harder) {
            let _ = kill(pid, if harder { Signal::SIGKILL } else { Signal::SIGQUIT });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Processes that live and whose working directory lies in a directory.
fn processes_in(directory: &Path) -> Vec<Pid> {
    let Ok(directory) = directory.canonicalize() else { return Vec::new() };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // What ended but was not collected yet has no working directory any more.
    let inside = |pid: &i32| {
        std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&directory))
    };
    numbers.filter(inside).map(Pid::from_raw).collect()
}

/// The socket directories of the clusters below a directory, as their servers wrote them down.
fn socket_dirs(directory: &Path) -> Vec<PathBuf> {
    let below = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let clusters = below.map(|entry| entry.path()).chain([directory.to_path_buf()]);
    let named = clusters.flat_map(|path| [path.clone(), path.join("postgres")]).filter_map(|cluster| {
        let file = std::fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
        file.lines().nth(4).map(PathBuf::from)
    });
    named.filter(|path| path.starts_with("/tmp/") && path.components().count() > 2).collect()
}
