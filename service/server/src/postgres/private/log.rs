//! The server's log, in the cluster itself: the account that it runs as can write nowhere else for certain.

use super::account::Account;
use super::initialize::last_lines;
use super::{PrivateError, file_error};
use nix::fcntl::OFlag;
use nix::sys::statvfs::statvfs;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// The log's name.
const NAME: &str = "postgres.log";
/// A log that is longer is put aside at a start, or, where no start comes, begun anew.
const LONG: u64 = 16 << 20;

/// The log's path.
pub(crate) fn path(cluster: &Path) -> PathBuf {
    cluster.join(NAME)
}

/// Opens it for a server that starts, and puts a long one aside. Two are kept at most. A link is not followed: the
/// directory is the account's, and this program may be root.
pub(crate) fn open(cluster: &Path, account: &Account) -> Result<File, PrivateError> {
    let path = path(cluster);
    if std::fs::symlink_metadata(&path).is_ok_and(|found| found.len() > LONG) {
        std::fs::rename(&path, path.with_extension("log.1"))
            .map_err(file_error("cannot put aside", &path))?;
    }
    let open = || {
        let mut how = OpenOptions::new();
        how.append(true).create(true).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
        let file = how.open(&path)?;
        if account.steps_down {
            fchown(&file, Some(account.uid.as_raw()), Some(account.gid.as_raw()))?;
        }
        Ok(file)
    };
    open().map_err(file_error("cannot open", &path))
}

/// Empties a log that grew long while its server ran. The server appends, so it goes on at the beginning.
pub(crate) fn bound(cluster: &Path) {
    let mut how = OpenOptions::new();
    how.write(true).custom_flags(OFlag::O_NOFOLLOW.bits());
    let Ok(file) = how.open(path(cluster)) else { return };
    if file.metadata().is_ok_and(|found| found.len() > 4 * LONG) && file.set_len(0).is_ok() {
        tracing::warn!("the private PostgreSQL's log had grown long and was emptied");
    }
}

/// Its last lines, of those from `start` on, or why there are none. Where there is no room, they alone may not say so: the
/// line that does was cut, or others came after it.
pub(crate) fn words(cluster: &Path, start: u64) -> String {
    let words = tail(cluster, start);
    let is_full = is_full(cluster) || is_full(&cluster.join("pg_wal"));
    match (is_full, words.trim().is_empty()) {
        (true, true) => "nothing (its volume is full)".into(),
        (true, false) => format!("{words} (its volume is full)"),
        (false, _) => words,
    }
}

/// Whether there is no room beside what is in a directory for another file of the write-ahead log. PostgreSQL takes the
/// beginning of one away again.
fn is_full(directory: &Path) -> bool {
    const FILE: u64 = 16 << 20;
    statvfs(directory).is_ok_and(|volume| {
        let no_files = volume.files() > 0 && volume.files_available() == 0;
        no_files || volume.blocks_available() * volume.fragment_size() < FILE
    })
}

fn tail(cluster: &Path, start: u64) -> String {
    let mut text = Vec::new();
    let mut read = || {
        let mut file = File::open(path(cluster))?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.min(end).max(end.saturating_sub(4096))))?;
        file.read_to_end(&mut text)
    };
    match read() {
        Ok(_) => last_lines(&text),
        Err(error) => error.to_string(),
    }
}
