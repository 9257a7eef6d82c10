//! A directory on a small file system, and how that is filled.

use crate::support::end_all_in;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a file system has little of.
#[derive(Clone, Copy)]
pub(super) enum Little {
    /// Room: so many MiB.
    Room(u64),
    /// Files: so many.
    Files(u64),
}

/// A directory on a file system of its own.
pub(super) struct Small {
    place: PathBuf,
    little: Little,
}

impl Small {
    /// Puts what is in a directory on one, with little beside it.
    pub(super) fn under(directory: &Path, little: Little) -> Self {
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
    pub(super) fn fill(&self) {
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

    pub(super) fn make_room(&self) {
        match self.little {
            Little::Room(_) => fs::remove_file(self.filling()).unwrap(),
            Little::Files(_) => fs::remove_dir_all(self.filling()).unwrap(),
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Whoever works here is found by the place, which is not to be seen any more once it is detached.
        end_all_in(&self.place);
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
