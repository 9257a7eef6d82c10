//! Looking at a cluster without starting, making or mending anything.

use super::account::Account;
use super::binaries::Binaries;
use super::locks::Lock;
use super::postmaster::{Found, look};
use super::{GATE, IN_USE, PrivateError, directory, file_error, place};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A cluster as it was found.
pub(crate) struct Inspection {
    /// Its directory.
    pub(crate) cluster: PathBuf,
    /// The major version of its programs, which is that of its data.
    pub(crate) major: u32,
    /// The mode of its directory; anything but 0700 is mended by the next start.
    pub(crate) mode: u32,
    /// Whether a server runs on it.
    pub(crate) standing: Standing,
    /// Whether a command of ours uses it; none if one is starting or stopping it.
    pub(crate) in_use: Option<bool>,
}

/// Whether a server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// None does.
    Stopped,
    /// One does, as this process.
    Running(i32),
    /// One was killed. Set if processes of it go on, beside which none can start.
    Killed {
        /// Whether there are such.
        left_processes: bool,
    },
}

/// Whether a data directory has a cluster.
///
/// # Errors
/// See [`PrivateError`].
pub(super) fn exists(data_dir: &Path) -> Result<bool, PrivateError> {
    Ok(cluster(data_dir, &Account::choose())?.is_some())
}

/// The data directory by its own path, and the cluster's; none if there is none yet.
fn cluster(data_dir: &Path, account: &Account) -> Result<Option<(PathBuf, PathBuf)>, PrivateError> {
    let data_dir = match data_dir.canonicalize() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        found => found.map_err(file_error("cannot look at", data_dir))?,
    };
    let cluster = place::find(&data_dir, account, &|_| {})?;
    Ok(place::version(&cluster)?.map(|_| (data_dir, cluster)))
}

/// Looks at the cluster of a data directory; none if there is none yet.
pub(crate) async fn inspect(data_dir: &Path) -> Result<Option<Inspection>, PrivateError> {
    let account = Account::choose();
    let Some((data_dir, cluster)) = cluster(data_dir, &account)? else { return Ok(None) };
    let mode = directory::owned(&cluster, &account)?;
    let major = Binaries::find(&cluster, &account).await?.major();
    let standing = match look(&cluster, &account) {
        Found::Nothing => Standing::Stopped,
        Found::Running(postmaster) => Standing::Running(postmaster.pid.as_raw()),
        Found::Dead(dead) => Standing::Killed { left_processes: dead.left_processes() },
    };
    Ok(Some(Inspection { in_use: in_use(&data_dir)?, cluster, major, mode, standing }))
}

/// The lock is tried with the gate held, as whoever enters does, or that one would find it taken.
fn in_use(data_dir: &Path) -> Result<Option<bool>, PrivateError> {
    let Some(_gate) = Lock::try_exclusive(&data_dir.join(GATE))? else { return Ok(None) };
    Ok(Some(Lock::try_exclusive(&data_dir.join(IN_USE))?.is_none()))
}
