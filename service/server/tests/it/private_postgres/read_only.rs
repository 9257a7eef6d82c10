//! A place that cannot be written: the start says which and why, and leaves it as it was.

use super::places::{has_the_table, with_a_table};
use crate::support::Scratch;
use crate::support::mounts::where_one_may_mount;
use crate::support::program::{Program, command};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::geteuid;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A directory that nobody can write, as on a disk that the system mounted read only after an error. Dropping it gives
/// the directory back.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn over(directory: &Path) -> Self {
        let nothing = None::<&str>;
        mount(Some(directory), directory, nothing, MsFlags::MS_BIND, nothing).unwrap();
        let read_only = Self(directory.to_path_buf());
        // In a namespace, what the file system forbids already stays forbidden.
        let stays = FsFlags::ST_NOSUID | FsFlags::ST_NODEV | FsFlags::ST_NOEXEC;
        let stays = statvfs(directory).unwrap().flags() & stays;
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(nothing, directory, nothing, flags | MsFlags::from_bits_retain(stays.bits()), nothing).unwrap();
        read_only
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// What is in a directory, itself among it: names, modes, sizes and when each was changed.
fn listed(directory: &Path) -> Vec<String> {
    let found = fs::symlink_metadata(directory).unwrap();
    let (mode, size, changed) = (found.mode(), found.size(), (found.mtime(), found.mtime_nsec()));
    let mut all = vec![format!("{}: {mode:o} {size} {changed:?}", directory.display())];
    if found.is_dir() {
        all.extend(fs::read_dir(directory).unwrap().flat_map(|entry| listed(&entry.unwrap().path())));
    }
    all.sort();
    all
}

/// A start that cannot be: it ends by itself, names what it could not do and why, and nothing below a directory is
/// another than before.
async fn refuses(scratch: &Scratch, data_dir: &Path, what: &str, path: &Path, why: &str) {
    let before = listed(scratch.path());
    let mut program = Program::start(command(data_dir, &["serve"]));
    assert!(!program.until_it_ends().await.success(), "{}", program.said());
    let expected = format!("{what} {}: {why}", path.display());
    assert!(program.said().contains(&expected), "{expected:?} is not in: {}", program.said());
    assert_eq!(listed(scratch.path()), before);
    assert!(scratch.processes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_file_system_is_named_and_left_as_it_was() {
    let test = "private_postgres::read_only::a_read_only_file_system_is_named_and_left_as_it_was";
    let it = async {
        let (scratch, why) = (Scratch::new(), "Read-only file system");
        let (data_dir, disk) = (scratch.path().join("disk/data"), scratch.path().join("disk"));
        let gate = data_dir.join("cluster.gate");
        fs::create_dir(&disk).unwrap();
        {
            let _read_only = ReadOnly::over(&disk);
            refuses(&scratch, &data_dir, "cannot make the data directory", &data_dir, why).await;
        }
        fs::create_dir(&data_dir).unwrap();
        {
            let _read_only = ReadOnly::over(&disk);
            refuses(&scratch, &data_dir, "cannot open", &gate, why).await;
        }
        with_a_table(&data_dir).await;
        {
            let _read_only = ReadOnly::over(&disk);
            refuses(&scratch, &data_dir, "cannot open", &gate, why).await;
        }
        {
            let cluster = data_dir.join("postgres");
            let _read_only = ReadOnly::over(&cluster);
            refuses(&scratch, &data_dir, "cannot open", &cluster.join("postgres.log"), why).await;
        }
        has_the_table(&data_dir).await;
    };
    where_one_may_mount(test, it).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_closed_to_us_is_named_and_left_as_it_was() {
    // To root none is.
    if geteuid().is_root() {
        return;
    }
    let (scratch, why) = (Scratch::new(), "Permission denied");
    let data_dir = scratch.path().join("data");
    with_a_table(&data_dir).await;
    let close =
        |directory: &Path, mode| fs::set_permissions(directory, Permissions::from_mode(mode)).unwrap();
    for name in ["cluster.gate", "cluster.lock"] {
        fs::remove_file(data_dir.join(name)).unwrap();
    }
    close(&data_dir, 0o555);
    refuses(&scratch, &data_dir, "cannot open", &data_dir.join("cluster.gate"), why).await;
    let below = data_dir.join("below");
    refuses(&scratch, &below, "cannot make the data directory", &below, why).await;
    close(&data_dir, 0o755);
    has_the_table(&data_dir).await;
}
