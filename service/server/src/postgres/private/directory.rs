//! The directories: whose they are, how open, how long.

use super::account::Account;
use super::{PrivateError, Say, file_error};
use counterfoil_domain::plaintext::Digest;
use nix::unistd::chown;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Makes the data directory and returns its one true path.
pub(crate) fn prepare_data_dir(data_dir: &Path) -> Result<PathBuf, PrivateError> {
    fs::create_dir_all(data_dir).map_err(file_error("cannot make the data directory", data_dir))?;
    data_dir.canonicalize().map_err(file_error("cannot find the data directory", data_dir))
}

/// Where the cluster is: in the data directory, or, if a directory above is closed to the account that PostgreSQL
/// runs as, under `/var/lib/counterfoil`.
pub(crate) fn cluster_dir(data_dir: &Path, account: &Account, say: Say<'_>) -> Result<PathBuf, PrivateError> {
    let inside = data_dir.join("postgres");
    if !account.steps_down
        || inside.join("PG_VERSION").exists()
        || data_dir.ancestors().all(|above| is_open(above, account))
    {
        return Ok(inside);
    }
    let parent = Path::new("/var/lib/counterfoil").join(short_name(data_dir));
    fs::create_dir_all(&parent).map_err(file_error("cannot make", &parent))?;
    let outside = parent.join("postgres");
    say(&format!(
        "{} is closed to the user that PostgreSQL runs as, so its files are in {}",
        data_dir.display(),
        outside.display()
    ));
    chown(&parent, Some(account.uid), Some(account.gid))
        .map_err(|error| file_error("cannot hand over", &parent)(error.into()))?;
    Ok(outside)
}

/// Whether the account may pass through a directory.
fn is_open(directory: &Path, account: &Account) -> bool {
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
fn short_name(path: &Path) -> String {
    Digest::of(path.as_os_str().as_bytes()).hex()[..16].to_string()
}

/// The socket's directory: short, private, and the same for everybody who uses this data directory.
pub(crate) fn socket_dir(data_dir: &Path, account: &Account) -> Result<PathBuf, PrivateError> {
    let socket = Path::new("/tmp").join(format!("counterfoil-{}", short_name(data_dir)));
    make_owned(&socket, account)?;
    Ok(socket)
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

/// Checks whose a directory is and closes it to others, as PostgreSQL demands. A link is not followed.
pub(crate) fn mend(path: &Path, account: &Account) -> Result<(), PrivateError> {
    let found = fs::symlink_metadata(path).map_err(file_error("cannot read", path))?;
    if !found.is_dir() || found.uid() != account.uid.as_raw() {
        return Err(PrivateError::OtherOwner {
            path: path.display().to_string(),
            owner: found.uid(),
            expected: account.uid.as_raw(),
        });
    }
    if found.mode() & 0o7777 != 0o700 {
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(file_error("cannot close to others", path))?;
    }
    Ok(())
}
