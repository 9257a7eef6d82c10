//! The directories: whose they are, how open, how long.

use super::account::Account;
use super::postmaster::listens_in;
use super::{PrivateError, file_error};
use counterfoil_domain::plaintext::Digest;
use nix::unistd::chown;
use std::fs::{self, Permissions};
use std::iter;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The socket's name, and the lock file beside it.
const SOCKET: &str = ".s.PGSQL.5432";
pub(crate) const SOCKET_LOCK: &str = ".s.PGSQL.5432.lock";

/// Makes the data directory and returns its one true path.
pub(crate) fn prepare_data_dir(data_dir: &Path) -> Result<PathBuf, PrivateError> {
    fs::create_dir_all(data_dir).map_err(file_error("cannot make the data directory", data_dir))?;
    data_dir.canonicalize().map_err(file_error("cannot find the data directory", data_dir))
}

/// Whether the account may pass through a directory.
pub(crate) fn is_open(directory: &Path, account: &Account) -> bool {
    fs::metadata(directory).is_ok_and(|found| {
        let mode = found.mode();
        let bit = if found.uid() == account.uid.as_raw() {
            0o100
        } else if found.gid() == account.gid.as_raw() {
            0o010
        } else {
            0o001
        };
        mode & bit != 0
    })
}

/// A short name for a path of any length.
pub(crate) fn short_name(path: &Path) -> String {
    Digest::of(path.as_os_str().as_bytes()).hex()[..16].to_string()
}

/// The socket's directory: short, and the same whenever this cluster is started, unless the server of an earlier one
/// in the same place, whose files somebody removed, still listens there, or somebody else has made it.
pub(crate) fn socket_dir(cluster: &Path, account: &Account) -> PathBuf {
    let usual = format!("/tmp/counterfoil-{}", short_name(cluster));
    let others = (2..10).map(|number| format!("{usual}-{number}"));
    let mut all = iter::once(usual.clone()).chain(others).map(PathBuf::from);
    let is_ours = |path: &PathBuf| {
        fs::symlink_metadata(path).map_or(true, |found| found.is_dir() && found.uid() == account.uid.as_raw())
    };
    all.find(|path| is_ours(path) && listens_in(path) != Some(true)).unwrap_or_else(|| usual.into())
}

/// Removes what a killed server left in the socket's directory: PostgreSQL would take a zombie or a stranger with its
/// number for a server that listens. Nothing is removed that names no process: a server that a killed program started
/// may be about to make it.
pub(crate) fn clear_socket_dir(socket: &Path) {
    if listens_in(socket) == Some(false) {
        for name in [SOCKET, SOCKET_LOCK] {
            let _ = fs::remove_file(socket.join(name));
        }
    }
}

/// Removes the socket's directory, and what a killed server left in it.
pub(crate) fn remove_socket_dir(socket: &Path) {
    clear_socket_dir(socket);
    // Whatever else is in it is not ours to remove; then it stays.
    let _ = fs::remove_dir(socket);
}

/// Makes a directory of the account's with mode 0700, or checks that it is one: somebody else may have made it first.
pub(crate) fn make_owned(path: &Path, account: &Account) -> Result<(), PrivateError> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) if account.steps_down => chown(path, Some(account.uid), Some(account.gid))
            .map_err(|error| file_error("cannot hand over", path)(error.into())),
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => mend(path, account),
        Err(error) => Err(file_error("cannot make", path)(error)),
    }
}

/// Checks whose a directory is. A link is not followed. Returns its mode.
pub(crate) fn owned(path: &Path, account: &Account) -> Result<u32, PrivateError> {
    let found = fs::symlink_metadata(path).map_err(file_error("cannot read", path))?;
    if !found.is_dir() {
        return Err(PrivateError::NoDirectory(path.display().to_string()));
    }
    if found.uid() != account.uid.as_raw() {
        return Err(PrivateError::OtherOwner {
            path: path.display().to_string(),
            owner: found.uid(),
            expected: account.uid.as_raw(),
        });
    }
    Ok(found.mode() & 0o7777)
}

/// Checks whose a directory is and closes it to others, as PostgreSQL demands.
pub(crate) fn mend(path: &Path, account: &Account) -> Result<(), PrivateError> {
    if owned(path, account)? != 0o700 {
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(file_error("cannot close to others", path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::{Uid, getegid, geteuid};

    #[test]
    fn a_socket_directory_of_somebody_else_is_not_in_the_way() {
        let ours = Account { uid: geteuid(), gid: getegid(), steps_down: false };
        let other = Account { uid: Uid::from_raw(ours.uid.as_raw() + 1), ..ours };
        let cluster = Path::new("/somewhere/nobody/has/a/cluster");
        let usual = socket_dir(cluster, &ours);
        make_owned(&usual, &ours).unwrap();
        assert_eq!(socket_dir(cluster, &ours), usual);
        assert_eq!(socket_dir(cluster, &other), PathBuf::from(format!("{}-2", usual.display())));
        remove_socket_dir(&usual);
    }
}
