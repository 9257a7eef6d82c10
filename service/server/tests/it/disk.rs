//! No room on the disk, and none of it played: a small file system lies under the cluster, or a part of it, and is
//! filled while tokens are issued and revoked. What cannot be written is 503, nothing that was acknowledged is lost,
//! and once there is room all goes on in the same process.

use crate::support::load::{Ledger, Load, People};
use crate::support::mounts::where_one_may_mount;
use crate::support::program::{INIT, Program, command, run, verify};
use crate::support::{Scratch, rounds, until};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a file system has little of.
#[derive(Clone, Copy)]
enum Little {
    /// Room: so many MiB.
    Room(u64),
    /// Files: so many.
    Files(u64),
}

/// A directory on a file system of its own.
struct Small {
    place: PathBuf,
    little: Little,
}

impl Small {
    /// Puts what is in a directory on one, with little beside it.
    fn under(directory: &Path, little: Little) -> Self {
        let aside = tempfile::tempdir_in("/var/tmp").unwrap();
        let copy = |from: &Path, to: &Path| {
            let (from, to) = (format!("{}/.", from.display()), format!("{}/.", to.display()));
            assert!(Command::new("cp").args(["-a", &from, &to]).status().unwrap().success());
        };
        copy(directory, aside.path());
        let (of, (bytes, files)) = (fs::metadata(directory).unwrap(), used_in(directory));
        let (room, files) = match little {
            Little::Room(mib) => (mib, 0),
            Little::Files(more) => (512, files + more),
        };
        let (mode, uid, gid) = (of.mode() & 0o7777, of.uid(), of.gid());
        let options =
            format!("size={}m,nr_inodes={files},mode={mode:o},uid={uid},gid={gid}", (bytes >> 20) + room);
        mount(Some("small"), directory, Some("tmpfs"), MsFlags::empty(), Some(&*options)).unwrap();
        let small = Self { place: directory.to_path_buf(), little };
        copy(aside.path(), directory);
        small
    }

    fn filling(&self) -> PathBuf {
        self.place.join("filling")
    }

    /// Leaves nothing, not even what is given back meanwhile.
    fn fill(&self) {
        match self.little {
            Little::Room(_) => {
                let mut file = File::options().create(true).append(true).open(self.filling()).unwrap();
                for size in [1 << 20, 4096, 1] {
                    while file.write_all(&vec![0; size]).is_ok() {}
                }
            }
            Little::Files(_) => {
                let _ = fs::create_dir(self.filling());
                let numbers = fs::read_dir(self.filling()).map_or(0, Iterator::count)..;
                numbers
                    .map(|n| self.filling().join(n.to_string()))
                    .take_while(|p| File::create(p).is_ok())
                    .count();
            }
        }
    }

    fn make_room(&self) {
        match self.little {
            Little::Room(_) => fs::remove_file(self.filling()).unwrap(),
            Little::Files(_) => fs::remove_dir_all(self.filling()).unwrap(),
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount2(&self.place, MntFlags::MNT_DETACH);
    }
}

/// Bytes and files in a directory, itself among them.
fn used_in(directory: &Path) -> (u64, u64) {
    let entries = fs::read_dir(directory).unwrap().flatten();
    entries.fold((0, 1), |(bytes, files), entry| match entry.metadata().unwrap() {
        found if found.is_dir() => {
            let inside = used_in(&entry.path());
            (bytes + inside.0, files + inside.1)
        }
        found => (bytes + found.blocks() * 512, files + 1),
    })
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

/// Waits until `counterfoil doctor` judges the disk so, beside the service.
async fn until_doctor_says(data_dir: &Path, judgement: &str) {
    let judged = async || {
        let told = run(command(data_dir, &["doctor", "--json"])).await;
        let report: Value = serde_json::from_slice(&told.stdout).unwrap();
        let checks = report["checks"].as_array().unwrap();
        checks.iter().any(|check| check["name"] == "disk" && check["judgement"] == judgement)
    };
    until("the doctor sees the disk", judged).await;
}

/// Fills a part of the cluster.
async fn fills(part: &str, little: Little) {
    let scratch = Scratch::with_data().await;
    let mut program = Program::serve(scratch.path()).await;
    let people = People::made_by(command(scratch.path(), &INIT), program.base()).await;
    program.stop().await;
    let disk = Small::under(&scratch.path().join("postgres").join(part), little);
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
        until_doctor_says(scratch.path(), "wrong").await;
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
    where_one_may_mount("disk::no_room_for_data_is_not_now_and_heals", fills("base", Little::Room(16))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_room_for_the_write_ahead_log_is_not_now_and_heals() {
    let test = "disk::no_room_for_the_write_ahead_log_is_not_now_and_heals";
    where_one_may_mount(test, fills("pg_wal", Little::Room(160))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_files_for_the_write_ahead_log_is_not_now_and_heals() {
    let test = "disk::no_more_files_for_the_write_ahead_log_is_not_now_and_heals";
    where_one_may_mount(test, fills("pg_wal", Little::Files(12))).await;
}
