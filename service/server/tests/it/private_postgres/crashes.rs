//! Servers that died, and what they leave.

use super::{ask, ask_patiently, enter, leave, until};
use crate::support::Scratch;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{ConnectOptions, Connection};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

#[tokio::test]
async fn leaving_a_server_that_died_is_no_error() {
    let scratch = Scratch::with_data().await;
    let cluster = enter(scratch.path()).await.unwrap();
    kill(Pid::from_raw(cluster.postmaster_pid().unwrap()), Signal::SIGQUIT).unwrap();
    leave(cluster).await;
    until(|| scratch.processes().is_empty()).await;
}

#[tokio::test]
async fn a_server_that_is_killed_comes_back_while_it_is_used() {
    let scratch = Scratch::with_data().await;
    let cluster = enter(scratch.path()).await.unwrap();
    for _ in 0..2 {
        let old = cluster.postmaster_pid().unwrap();
        kill(Pid::from_raw(old), Signal::SIGKILL).unwrap();
        until(|| cluster.postmaster_pid().is_some_and(|new| new != old)).await;
        assert_eq!(ask_patiently(&cluster, "SELECT 1").await, 1);
    }
    leave(cluster).await;
    // What the killed ones left notices its server's death by itself.
    until(|| scratch.processes().is_empty()).await;
}

#[tokio::test]
async fn a_killed_server_whose_processes_go_on_is_waited_for() {
    let scratch = Scratch::with_data().await;
    let cluster = enter(scratch.path()).await.unwrap();
    let pid = Pid::from_raw(cluster.postmaster_pid().unwrap());
    // A session that works does not notice at once that its server is gone.
    let mut busy = cluster.superuser("postgres").connect().await.unwrap();
    let working = tokio::spawn(async move {
        let sql = "SELECT count(*) FROM generate_series(1, 15000000) AS n(i) WHERE i % 7 = 0";
        let _ = sqlx::query(sql).execute(&mut busy).await;
        let _ = busy.close().await;
    });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    std::mem::forget(cluster);
    kill(pid, Signal::SIGKILL).unwrap();
    let again = enter(scratch.path()).await.unwrap();
    assert_eq!(ask(&again, "SELECT 1").await.unwrap(), 1);
    working.await.unwrap();
    leave(again).await;
}

#[tokio::test]
async fn a_number_that_a_stranger_has_now_is_no_server() {
    let scratch = Scratch::with_data().await;
    let cluster = enter(scratch.path()).await.unwrap();
    let file = cluster.cluster_dir().join("postmaster.pid");
    let text = fs::read_to_string(&file).unwrap();
    leave(cluster).await;
    // This test's own process, and another server of the same user: both live, and neither works here.
    let other = Scratch::with_data().await;
    let stranger = enter(other.path()).await.unwrap();
    for pid in [std::process::id() as i32, stranger.postmaster_pid().unwrap()] {
        let lines: Vec<String> = text.lines().skip(1).map(String::from).collect();
        fs::write(&file, format!("{pid}\n{}\n", lines.join("\n"))).unwrap();
        let cluster = enter(scratch.path()).await.unwrap();
        assert_ne!(cluster.postmaster_pid(), Some(pid));
        assert_eq!(ask(&cluster, "SELECT 1").await.unwrap(), 1);
        leave(cluster).await;
    }
    assert_eq!(ask(&stranger, "SELECT 1").await.unwrap(), 1, "the stranger was left alone");
    leave(stranger).await;
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why_in_one_sentence() {
    let scratch = Scratch::with_data().await;
    leave(enter(scratch.path()).await.unwrap()).await;
    let conf = scratch.path().join("postgres/postgresql.conf");
    let good = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, format!("{good}\nnonsense = 1\n")).unwrap();
    let error = super::refused(scratch.path()).await;
    assert!(error.contains("nonsense") && error.contains("postgres.log"), "{error}");
    assert!(scratch.processes().is_empty());
    fs::write(&conf, good).unwrap();
    leave(enter(scratch.path()).await.unwrap()).await;
}

#[tokio::test]
async fn a_long_log_is_put_aside() {
    let scratch = Scratch::with_data().await;
    leave(enter(scratch.path()).await.unwrap()).await;
    let log = scratch.path().join("postgres/postgres.log");
    fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(17 << 20).unwrap();
    leave(enter(scratch.path()).await.unwrap()).await;
    assert!(fs::metadata(&log).unwrap().len() < 1 << 20);
    assert_eq!(fs::metadata(log.with_extension("log.1")).unwrap().len(), 17 << 20);
}

#[tokio::test]
async fn a_server_whose_files_were_removed_is_not_in_the_way() {
    let scratch = Scratch::new();
    let data_dir = scratch.path().join("data");
    let old = enter(&data_dir).await.unwrap();
    let pid = Pid::from_raw(old.postmaster_pid().unwrap());
    std::mem::forget(old);
    fs::remove_dir_all(&data_dir).unwrap();
    let new = enter(&data_dir).await.unwrap();
    assert_eq!(ask(&new, "SELECT 1").await.unwrap(), 1);
    assert_ne!(new.postmaster_pid(), Some(pid.as_raw()));
    leave(new).await;
    // The old one notices within a minute, if it has not yet; nobody waits for it here.
    let _ = kill(pid, Signal::SIGQUIT);
}

/// What a server writes down of itself, for a test that writes it down of another process.
struct Files {
    postmaster: PathBuf,
    /// What it held, without its first line, which is the process.
    lines: Vec<String>,
    socket: PathBuf,
    owner: u32,
}

impl Files {
    /// Those of a cluster that was started once.
    async fn of(scratch: &Scratch) -> Self {
        let cluster = enter(scratch.path()).await.unwrap();
        let postmaster = cluster.cluster_dir().join("postmaster.pid");
        let text = fs::read_to_string(&postmaster).unwrap();
        let (lines, socket) =
            (text.lines().skip(1).map(String::from).collect(), cluster.socket_dir().to_path_buf());
        leave(cluster).await;
        let owner = MetadataExt::uid(&fs::metadata(postmaster.parent().unwrap()).unwrap());
        Self { postmaster, lines, socket, owner }
    }

    /// Names a process as the cluster's, with so many of the lines behind it.
    fn name(&self, process: u32, lines: usize) {
        fs::write(&self.postmaster, format!("{process}\n{}\n", self.lines[..lines].join("\n"))).unwrap();
    }

    /// Names a process as the one that listens.
    fn name_at_the_socket(&self, process: u32) {
        fs::create_dir(&self.socket).unwrap();
        std::os::unix::fs::chown(&self.socket, Some(self.owner), None).unwrap();
        fs::write(self.socket.join(".s.PGSQL.5432.lock"), format!("{process}\n")).unwrap();
    }
}

#[tokio::test]
async fn lock_files_of_a_zombie_are_removed() {
    let scratch = Scratch::with_data().await;
    let files = Files::of(&scratch).await;
    // Ended, and not collected: its number is taken until this test collects it. PostgreSQL minds its own user's only.
    let mut zombie = std::process::Command::new("true").uid(files.owner).spawn().unwrap();
    let stat = format!("/proc/{}/stat", zombie.id());
    until(|| fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z "))).await;
    files.name(zombie.id(), files.lines.len());
    files.name_at_the_socket(zombie.id());
    let cluster = enter(scratch.path()).await.unwrap();
    assert_eq!(ask(&cluster, "SELECT 1").await.unwrap(), 1);
    leave(cluster).await;
    zombie.wait().unwrap();
}

#[tokio::test]
async fn a_server_that_has_yet_to_say_where_it_listens_is_found_there() {
    let scratch = Scratch::with_data().await;
    let files = Files::of(&scratch).await;
    // A program was killed that had just started it: it has its socket's lock, and its file says no more than three lines.
    let program = scratch.path().join("bin/postgres");
    fs::create_dir(program.parent().unwrap()).unwrap();
    fs::copy("/bin/sleep", &program).unwrap();
    let mut starting = std::process::Command::new(program);
    let mut starting = starting.arg("60").current_dir(files.postmaster.parent().unwrap()).spawn().unwrap();
    files.name(starting.id(), 3);
    files.name_at_the_socket(starting.id());
    let (found, ()) = tokio::join!(enter(scratch.path()), async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        files.name(starting.id(), files.lines.len());
    });
    let found = found.unwrap();
    assert_eq!(found.socket_dir(), files.socket);
    assert_eq!(found.postmaster_pid(), Some(starting.id() as i32));
    std::mem::forget(found);
    starting.kill().unwrap();
    starting.wait().unwrap();
    fs::remove_dir_all(&files.socket).unwrap();
}
