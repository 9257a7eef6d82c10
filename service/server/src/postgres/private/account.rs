//! As whom PostgreSQL's programs run.

use nix::unistd::{Gid, Uid, User, getegid, geteuid};
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// The user that the cluster belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    /// Whether this program is root and steps down.
    pub(crate) steps_down: bool,
}

impl Account {
    /// Ourselves; if that is root, the system's `postgres`, else `nobody`.
    pub(crate) fn choose() -> Self {
        if !geteuid().is_root() {
            return Self { uid: geteuid(), gid: getegid(), steps_down: false };
        }
        let found = ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten());
        let (uid, gid) =
            found.map_or((Uid::from_raw(65534), Gid::from_raw(65534)), |user| (user.uid, user.gid));
        Self { uid, gid, steps_down: true }
    }

    /// A program to be run as this user, with none of the operator's `PG*`, `LC_*` and `TZ` variables, and no
    /// directory that may be closed to it.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
        command.current_dir("/").stdin(Stdio::null()).process_group(0);
        if self.steps_down {
            command.uid(self.uid.as_raw()).gid(self.gid.as_raw());
        }
        command
    }
}
