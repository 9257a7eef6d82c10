//! No room on the disk, and none of it played: a small file system lies under the data, or a part of it, and is filled
//! while tokens are issued and revoked. What cannot be written is 503, nothing that was acknowledged is lost, and once
//! there is room all goes on in the same process.

mod small;
mod volume;

use crate::support::load::{Ledger, Load, People};
use crate::support::mounts::where_one_may_mount;
use crate::support::program::{INIT, Program, command, run, verify};
use crate::support::{PATIENCE, Scratch, is_soak, rounds, until};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use small::{Little, Small};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TOKENS: &str = "/v1/user/tokens";

/// How soon something is written again once there is room. The promise is five seconds, from when a database that had
/// ended is looked after at the latest; other tests keep the machine busy, so the long run, which has it alone, is nearer.
fn healed_within() -> Duration {
    Duration::from_secs(if is_soak() { 8 } else { 60 })
}

/// What there is no room for.
#[derive(Clone, Copy, PartialEq)]
enum Lacks {
    /// Tables: what cannot be stored is told so, and PostgreSQL goes on.
    Data,
    /// The write-ahead log, without which PostgreSQL ends.
    Log,
}

/// A service whose data lies, all of it or in part, on a small file system. Ended in this order.
struct Cramped {
    program: Program,
    disk: Small,
    people: People,
    ledger: Arc<Ledger>,
    lacks: Lacks,
    scratch: Scratch,
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

/// Asserts that a problem says "not now", and which of the reasons that a full disk has.
fn assert_not_now(problem: &Value) {
    let reasons = ["not-stored", "outcome-unknown", "database-unreachable", "database-recovering"];
    let kind = problem["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/"));
    assert!(kind.is_some_and(|kind| reasons.contains(&kind)), "{problem}");
    assert!(problem["detail"].as_str().unwrap().to_lowercase().contains("ask again"), "{problem}");
}

impl Cramped {
    /// Serves with a part of the data on a small file system: a path in the data directory.
    async fn with(part: &str, little: Little, lacks: Lacks) -> Self {
        let scratch = Scratch::with_data().await;
        let mut program = Program::serve(scratch.path()).await;
        let people = People::made_by(command(scratch.path(), &INIT), program.base()).await;
        program.stop().await;
        let disk = Small::under(&scratch.path().join(part), little);
        let program = Program::serve(scratch.path()).await;
        Self { program, disk, people, ledger: Arc::default(), lacks, scratch }
    }

    fn data_dir(&self) -> &Path {
        self.scratch.path()
    }

    fn base(&self) -> &str {
        self.program.base()
    }

    async fn issue(&self) -> (StatusCode, Value) {
        self.people.ask(self.base(), Method::POST, TOKENS).await.unwrap()
    }

    async fn revoke(&self, token: &Value) -> StatusCode {
        let path = format!("{TOKENS}/{}", token["id"].as_str().unwrap());
        self.people.ask(self.base(), Method::DELETE, &path).await.unwrap().0
    }

    /// Asks for tokens, with no room left, until that is refused as "not now", and PostgreSQL has ended if it has to.
    async fn until_refused(&self) {
        let since = Instant::now();
        loop {
            self.disk.fill();
            let (status, answer) = self.issue().await;
            match status {
                StatusCode::CREATED => drop(self.revoke(&answer).await),
                StatusCode::SERVICE_UNAVAILABLE => assert_not_now(&answer),
                _ => panic!("{status}: {answer}"),
            }
            let has_ended = || self.scratch.processes().is_empty();
            if status == StatusCode::SERVICE_UNAVAILABLE && (self.lacks == Lacks::Data || has_ended()) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "it goes on: {status}");
            if self.lacks == Lacks::Log {
                next_wal_file(self.data_dir()).await;
            }
        }
    }

    /// Who lives is told so, or that nobody knows now; and so all the while where PostgreSQL goes on, for what is asked
    /// needs no room.
    async fn is_known(&self, plaintext: &str) {
        let (status, answer) = self.people.introspection(self.base(), plaintext).await.unwrap();
        match status {
            StatusCode::OK => assert_eq!(answer["active"], true),
            _ => assert_eq!((status.as_u16(), &answer["error"]), (503, &"temporarily_unavailable".into())),
        }
        if self.lacks == Lacks::Data {
            self.people.until_active(self.base(), plaintext).await;
        }
    }

    /// Waits until `counterfoil doctor` finds the disk wrong, beside the service or without it.
    async fn until_doctor_sees_it(&self) {
        let judged = async || {
            let told = run(command(self.data_dir(), &["doctor", "--json"])).await;
            let report: Value = serde_json::from_slice(&told.stdout).unwrap();
            let checks = report["checks"].as_array().unwrap();
            checks.iter().any(|check| check["name"] == "disk" && check["judgement"] == "wrong")
        };
        until("the doctor sees the disk", judged).await;
    }

    /// Waits until a token is issued, now that there is room since a moment.
    async fn until_it_issues(&self, since: Instant) {
        let issued = async || {
            let (status, token) = self.issue().await;
            status == StatusCode::CREATED && self.revoke(&token).await == StatusCode::NO_CONTENT
        };
        until("a token is issued", issued).await;
        let took = since.elapsed();
        eprintln!("a token is issued {took:?} after there was room");
        assert!(took < healed_within(), "{took:?}");
    }

    /// Nothing that was acknowledged is lost, and nothing else is wrong.
    async fn is_whole(&self) {
        self.ledger.check(&self.people, self.base()).await;
        self.ledger.tidy(&self.people, self.base()).await;
        verify(self.data_dir()).await;
    }

    /// Is filled while it works, and works again once there is room.
    async fn is_filled_and_heals(&mut self) {
        let (_, witness) = self.issue().await;
        let load = Load::start(&self.people, self.base(), &self.ledger, false);
        self.ledger.some_more().await;
        self.until_refused().await;
        self.is_known(witness["plaintext"].as_str().unwrap()).await;
        self.until_doctor_sees_it().await;
        if self.lacks == Lacks::Log {
            self.program.until_it_says("(its volume is full)").await;
        }
        self.disk.make_room();
        self.until_it_issues(Instant::now()).await;
        self.ledger.some_more().await;
        load.stop().await;
        assert!(self.program.ended().is_none(), "it heals without a restart");
        self.is_whole().await;
    }

    /// Stops it, with nothing left that runs.
    async fn stop(&mut self) {
        self.program.stop().await;
        assert!(self.scratch.processes().is_empty());
    }
}

/// Fills a part of the cluster again and again.
async fn fills(part: &str, little: Little, lacks: Lacks) {
    let mut cramped = Cramped::with(part, little, lacks).await;
    for _ in 0..rounds(1, 10) {
        cramped.is_filled_and_heals().await;
    }
    cramped.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_room_for_data_is_not_now_and_heals() {
    let test = "disk::no_room_for_data_is_not_now_and_heals";
    where_one_may_mount(test, fills("postgres/base", Little::Room(16), Lacks::Data)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_room_for_the_write_ahead_log_is_not_now_and_heals() {
    let test = "disk::no_room_for_the_write_ahead_log_is_not_now_and_heals";
    where_one_may_mount(test, fills("postgres/pg_wal", Little::Room(160), Lacks::Log)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_files_for_the_write_ahead_log_is_not_now_and_heals() {
    let test = "disk::no_more_files_for_the_write_ahead_log_is_not_now_and_heals";
    where_one_may_mount(test, fills("postgres/pg_wal", Little::Files(12), Lacks::Log)).await;
}
