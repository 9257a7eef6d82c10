//! No room on the disk, and none of it played: a small file system lies under the cluster, or a part of it, and is
//! filled while tokens are issued and revoked. What cannot be written is 503, nothing that was acknowledged is lost,
//! and once there is room all goes on in the same process.

use crate::support::load::{Ledger, Load, People};
use crate::support::program::{INIT, Program, command, verify};
use crate::support::{Scratch, rounds};
use reqwest::{Method, StatusCode};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A directory on a file system of its own.
struct Small(PathBuf);

impl Small {
    /// Puts what is in a directory on one, with so much room beside it. None where that is not allowed here.
    fn under(directory: &Path, mib: u64) -> Option<Self> {
        let aside = tempfile::tempdir_in("/var/tmp").unwrap();
        let run = |program: &str, arguments: &[&str]| {
            Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
        };
        let (inside, copy) = (format!("{}/.", directory.display()), format!("{}/.", aside.path().display()));
        assert!(run("cp", &["-a", &inside, &copy]));
        let (of, used) = (fs::metadata(directory).unwrap(), bytes_in(directory) >> 20);
        let options =
            format!("size={}m,mode={:o},uid={},gid={}", used + mib, of.mode() & 0o7777, of.uid(), of.gid());
        if !run("mount", &["-t", "tmpfs", "-o", &options, "small", directory.to_str().unwrap()]) {
            return None;
        }
        let small = Self(directory.to_path_buf());
        assert!(run("cp", &["-a", &copy, &inside]));
        Some(small)
    }

    fn filling(&self) -> PathBuf {
        self.0.join("filling")
    }

    /// Leaves no room, not even for what is given back meanwhile.
    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.filling()).unwrap();
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.filling()).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn bytes_in(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata().unwrap() {
        found if found.is_dir() => bytes_in(&entry.path()),
        found => found.blocks() * 512,
    };
    entries.map(size).sum()
}

/// Makes PostgreSQL go on to its next file of WAL, if it can.
async fn next_wal_file(data_dir: &Path) {
    let Ok(text) = fs::read_to_string(data_dir.join("postgres/postmaster.pid")) else { return };
    let Some(socket) = text.lines().nth(4) else { return };
    let options = PgConnectOptions::new_without_pgpass().socket(socket).username("postgres");
    if let Ok(mut connection) = options.database("postgres").connect().await {
        let _ = sqlx::query("SELECT pg_switch_wal()").execute(&mut connection).await;
        let _ = connection.close().await;
    }
}

/// Asks for tokens, with no room left, until that is refused as "not now".
async fn until_refused(people: &People, program: &Program, data_dir: &Path, disk: &Small, wal: bool) {
    let since = Instant::now();
    loop {
        disk.fill();
        let (status, token) = people.ask(program.base(), Method::POST, "/v1/user/tokens").await.unwrap();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "it goes on: {status}");
        if status == StatusCode::CREATED {
            let path = format!("/v1/user/tokens/{}", token["id"].as_str().unwrap());
            let _ = people.ask(program.base(), Method::DELETE, &path).await.unwrap();
        }
        if wal {
            next_wal_file(data_dir).await;
        }
    }
}

/// Fills a part of the cluster.
async fn fills(part: &str, mib: u64) {
    let scratch = Scratch::with_data().await;
    let mut program = Program::serve(scratch.path()).await;
    let people = People::made_by(command(scratch.path(), &INIT), program.base()).await;
    program.stop().await;
    let Some(disk) = Small::under(&scratch.path().join("postgres").join(part), mib) else {
        return eprintln!("not tried: this account may mount no file system");
    };
    let mut program = Program::serve(scratch.path()).await;
    let (base, ledger) = (program.base().to_string(), Arc::new(Ledger::default()));
    for _ in 0..rounds(1, 10) {
        let (_, witness) = people.ask(&base, Method::POST, "/v1/user/tokens").await.unwrap();
        let load = Load::start(&people, &base, &ledger, false);
        ledger.some_more().await;
        until_refused(&people, &program, scratch.path(), &disk, part != "base").await;
        if part == "base" {
            // What is asked needs no room: who lives is told so all the while.
            people.until_active(&base, witness["plaintext"].as_str().unwrap()).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        disk.make_room();
        ledger.some_more().await;
        load.stop().await;
        ledger.check(&people, &base).await;
        ledger.tidy(&people, &base).await;
        assert!(program.ended().is_none(), "it heals without a restart");
        verify(scratch.path()).await;
    }
    program.stop().await;
    assert!(scratch.processes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_room_for_data_is_not_now_and_heals() {
    fills("base", 16).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_room_for_the_write_ahead_log_is_not_now_and_heals() {
    fills("pg_wal", 40).await;
}
