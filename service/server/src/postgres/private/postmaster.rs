//! Who runs on a cluster: `postmaster.pid`, compared with the processes that there are.
//!
//! A killed server leaves its file behind, and the system gives its number to somebody else in time. So a number
//! alone proves nothing: the process has to be a PostgreSQL whose working directory is the cluster.

use super::account::Account;
use super::directory::SOCKET_LOCK;
use nix::unistd::Pid;
use std::fs;
use std::iter;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What `postmaster.pid` says.
#[derive(Clone, Debug)]
pub(crate) struct Postmaster {
    /// Its process.
    pub(crate) pid: Pid,
    /// Where it listens.
    pub(crate) socket: PathBuf,
    /// Whether it says that it accepts connections.
    pub(crate) ready: bool,
    shared_memory: Option<i64>,
}

/// What was found.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// No server, and no trace of one.
    Nothing,
    /// A server runs.
    Running(Postmaster),
    /// A server was killed, or is about to write its file.
    Dead(Postmaster),
}

/// Looks who runs on a cluster.
pub(crate) fn look(cluster: &Path, account: &Account) -> Found {
    let Ok(text) = fs::read_to_string(cluster.join("postmaster.pid")) else { return Found::Nothing };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let line = |number: usize| lines.get(number).copied().unwrap_or_default();
    let Ok(pid) = line(0).parse::<i32>() else { return Found::Nothing };
    let postmaster = Postmaster {
        pid: Pid::from_raw(pid.abs()),
        socket: line(4).into(),
        ready: line(7) == "ready",
        shared_memory: line(6).split_whitespace().nth(1).and_then(|id| id.parse().ok()),
    };
    if is_postgres_of(postmaster.pid, cluster, account, &postmaster.socket) {
        Found::Running(postmaster)
    } else {
        Found::Dead(postmaster)
    }
}

/// Whether the process that a socket's directory names as its server is one; none if it names none.
pub(crate) fn listens_in(socket: &Path) -> Option<bool> {
    let text = fs::read_to_string(socket.join(SOCKET_LOCK)).ok()?;
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    Some(is_postgres(&Path::new("/proc").join(pid.to_string())))
}

/// Whether a process lives and is a PostgreSQL.
fn is_postgres(process: &Path) -> bool {
    matches!(name_and_state(process), Some((name, state)) if name == "postgres" && !"ZX".contains(state))
}

/// Whether a process lives, is a PostgreSQL, and works on a cluster.
fn is_postgres_of(pid: Pid, cluster: &Path, account: &Account, socket: &Path) -> bool {
    let process = Path::new("/proc").join(pid.to_string());
    if !is_postgres(&process) {
        return false;
    }
    let place = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    match (place(&process.join("cwd")), place(cluster)) {
        (Ok(works_in), Ok(cluster)) => works_in == cluster,
        // Without the right to see it (root in a container may lack that): its user, and the socket that it was
        // told to make, which has the cluster's name.
        _ => {
            let told = fs::read(process.join("cmdline")).unwrap_or_default();
            let told = String::from_utf8_lossy(&told).into_owned();
            fs::metadata(&process).is_ok_and(|found| found.uid() == account.uid.as_raw())
                && told.contains(&format!("unix_socket_directories={}", socket.display()))
        }
    }
}

/// A process's name and its state; a zombie's is `Z`.
fn name_and_state(process: &Path) -> Option<(String, char)> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    Some((name.into(), after.trim_start().chars().next()?))
}

impl Postmaster {
    /// Its process and those that it has started.
    pub(crate) fn family(&self) -> Vec<Pid> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let parent = |number: i32| -> Option<i32> {
            let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
            // The name before it is in parentheses and may hold anything.
            stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
        };
        let children = numbers.filter(|number| parent(*number) == Some(self.pid.as_raw())).map(Pid::from_raw);
        iter::once(self.pid).chain(children).collect()
    }

    /// Whether its process lives and works on a cluster. It removes its file before it ends.
    pub(crate) fn lives(&self, cluster: &Path, account: &Account) -> bool {
        is_postgres_of(self.pid, cluster, account, &self.socket)
    }

    /// Whether processes of a server that died still hold its shared memory. PostgreSQL refuses to start beside them.
    pub(crate) fn left_processes(&self) -> bool {
        let Some(wanted) = self.shared_memory else { return false };
        let table = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
        table.lines().skip(1).any(|line| {
            let columns: Vec<i64> = line.split_whitespace().map(|c| c.parse().unwrap_or(-1)).collect();
            matches!(columns[..], [_, id, _, _, _, _, attached, ..] if id == wanted && attached > 0)
        })
    }

    /// Whether some process has the number now: a zombie that nobody collects, or a stranger. PostgreSQL takes either
    /// for a server that runs.
    pub(crate) fn number_is_taken(&self) -> bool {
        Path::new("/proc").join(self.pid.to_string()).exists()
    }
}
