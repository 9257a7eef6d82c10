//! A volume that holds all of the data, the log of PostgreSQL among it, is filled: beneath a service, and before one is
//! started. Whoever starts it is told why it does not, though PostgreSQL has nowhere to write that down.

use super::small::Little;
use super::{Cramped, Lacks};
use crate::support::load::Load;
use crate::support::mounts::where_one_may_mount;
use crate::support::program::{Program, command};
use crate::support::rounds;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// What a file system gives a file at a time: the last of a log has room where the volume has none.
const BLOCK: u64 = 4096;

/// Leaves the log of PostgreSQL so many bytes, if it has as many.
fn leave_the_log(data_dir: &Path, bytes: u64) {
    let mut log = File::options().append(true).open(data_dir.join("postgres/postgres.log")).unwrap();
    let room = (BLOCK - log.metadata().unwrap().len() % BLOCK) % BLOCK;
    log.write_all(&vec![b'\n'; room.saturating_sub(bytes) as usize]).unwrap();
}

/// Starts it in vain; what is said.
async fn refused(data_dir: &Path) -> String {
    let mut program = Program::start(command(data_dir, &["serve"]));
    let ended = program.until_it_ends().await;
    assert!(!ended.success(), "{}", program.said());
    program.said()
}

impl Cramped {
    /// Is stopped with no room left, does not start and says why, and starts once there is room.
    async fn starts_once_there_is_room(&mut self) {
        let load = Load::start(&self.people, self.base(), &self.ledger, false);
        self.ledger.some_more().await;
        self.until_refused().await;
        load.stop().await;
        self.stop().await;
        self.disk.fill();
        // As much as the log has; then half a line, and nothing.
        for left in [None, Some(30), Some(0)] {
            left.inspect(|left| leave_the_log(self.data_dir(), *left));
            let said = refused(self.data_dir()).await;
            assert!(said.contains("the private PostgreSQL does not start"), "{said}");
            assert!(said.contains("(its volume is full)"), "{left:?}: {said}");
            assert!(self.scratch.processes().is_empty());
        }
        self.until_doctor_sees_it().await;
        self.disk.make_room();
        let since = Instant::now();
        self.program = Program::serve(self.data_dir()).await;
        self.until_it_issues(since).await;
        self.is_whole().await;
    }
}

/// Fills the whole volume again and again; not more often, for PostgreSQL keeps more of the write-ahead log from one time to
/// the next, until there is no room with nothing else there.
async fn fills(lacks: Lacks) {
    let mut cramped = Cramped::with("", Little::Room(160), lacks).await;
    for _ in 0..rounds(1, 3) {
        cramped.is_filled_and_heals().await;
        cramped.starts_once_there_is_room().await;
    }
    cramped.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_volume_beneath_all_of_the_data_is_not_now_and_heals() {
    let test = "disk::volume::a_full_volume_beneath_all_of_the_data_is_not_now_and_heals";
    where_one_may_mount(test, fills(Lacks::Data)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_volume_on_which_postgres_ends_is_not_now_and_heals() {
    let test = "disk::volume::a_full_volume_on_which_postgres_ends_is_not_now_and_heals";
    where_one_may_mount(test, fills(Lacks::Log)).await;
}
