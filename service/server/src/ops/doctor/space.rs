//! Room on the disks.

use super::Patient;
use super::report::Check;
use nix::sys::statvfs::statvfs;
use std::path::{Path, PathBuf};

const NAME: &str = "disk";
/// Below this it is to be looked at.
const LITTLE: u64 = 1 << 30;
/// Below this PostgreSQL is about to stop: one segment of its log has 16 MiB, and a start needs some.
const NONE: u64 = 128 << 20;
/// Below this many, no file can be made before long.
const FEW_FILES: u64 = 1000;

/// What a file system has left.
struct Left {
    bytes: u64,
    /// Files that can be made; none where the file system does not count them.
    files: Option<u64>,
}

fn left(path: &Path) -> Option<Left> {
    let found = statvfs(path).ok()?;
    let bytes = found.blocks_available() * found.fragment_size();
    Some(Left { bytes, files: (found.files() > 0).then(|| found.files_available()) })
}

fn judge(what: &str, path: &Path, left: &Left) -> Check {
    let mib = left.bytes >> 20;
    let found = format!("{mib} MiB are free for {what} ({})", path.display());
    let mend =
        "df -h; then free some, or move the data to a larger disk: writes are refused while it is full";
    match left {
        Left { files: Some(files), .. } if *files < FEW_FILES => Check::wrong(
            NAME,
            format!("{files} more files can be made for {what} ({})", path.display()),
            mend,
        ),
        Left { bytes, .. } if *bytes < NONE => Check::wrong(NAME, found, mend),
        Left { bytes, .. } if *bytes < LITTLE => Check::note(NAME, found, mend),
        _ => Check::good(NAME, found),
    }
}

fn look(what: &str, path: &Path) -> Option<Check> {
    Some(judge(what, path, &left(path)?))
}

/// The private cluster's: its files, and its tables and its log where those are elsewhere.
pub(super) fn of_cluster(data_dir: &Path, cluster: &Path) -> Vec<Check> {
    let (tables, wal) = (cluster.join("base"), cluster.join("pg_wal"));
    let places = [
        ("the data directory", data_dir),
        ("the cluster", cluster),
        ("its tables", &tables),
        ("its write-ahead log", &wal),
    ];
    let mut seen = Vec::new();
    let mut checks = Vec::new();
    for (what, path) in places {
        let device = std::fs::metadata(path).map(|found| std::os::unix::fs::MetadataExt::dev(&found)).ok();
        if !seen.contains(&device) {
            seen.push(device);
            checks.extend(look(what, path));
        }
    }
    checks
}

/// That of a database which may be elsewhere: where it is on this machine and says where, its tablespace is looked at.
pub(super) async fn of_database(patient: &mut Patient) -> Result<Vec<Check>, sqlx::Error> {
    let sql = "SELECT pg_database_size(current_database()) >> 20,
            inet_server_addr() IS NULL OR inet_server_addr() <<= '127.0.0.0/8' OR inet_server_addr() = '::1',
            CASE WHEN pg_has_role(current_user, 'pg_read_all_settings', 'USAGE')
                 THEN current_setting('data_directory') END,
            pg_tablespace_location(dattablespace)
        FROM pg_database WHERE datname = current_database()";
    let (size, is_here, directory, tablespace): (i64, bool, Option<String>, String) =
        sqlx::query_as(sql).fetch_one(&mut patient.administrator).await?;
    let path = if tablespace.is_empty() { directory } else { Some(tablespace) };
    let found = path.filter(|_| is_here).map(PathBuf::from).and_then(|path| look("the tablespace", &path));
    Ok(vec![found.unwrap_or_else(|| {
        let found = format!("the database has {size} MiB; the room on its disk cannot be seen from here");
        Check::note(NAME, found, "watch it where PostgreSQL runs: writes are refused while it is full")
    })])
}

#[cfg(test)]
mod tests {
    use super::super::report::Judgement;
    use super::*;

    #[test]
    fn a_full_disk_is_wrong_and_an_almost_full_one_is_noted() {
        let judged = |bytes, files| judge("x", Path::new("/"), &Left { bytes, files }).judgement;
        assert_eq!(judged(10 << 30, Some(1 << 20)), Judgement::Good);
        assert_eq!(judged(10 << 30, None), Judgement::Good);
        assert_eq!(judged((1 << 30) - 1, Some(1 << 20)), Judgement::Note);
        assert_eq!(judged(1 << 20, Some(1 << 20)), Judgement::Wrong);
        assert_eq!(judged(10 << 30, Some(3)), Judgement::Wrong);
    }

    #[test]
    fn what_is_not_there_is_not_judged() {
        assert!(look("x", Path::new("/nowhere/at/all")).is_none());
        assert!(look("x", Path::new("/")).is_some());
    }
}
