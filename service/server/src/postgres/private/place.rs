//! Where the cluster is. Once it was made, `data_dir/cluster.place` names it, so that no later start, as another user
//! or from a moved directory, takes its absence from one place for a first start and begins with an empty one.

use super::account::Account;
use super::directory::{is_open, short_name};
use super::{PrivateError, Say, file_error};
use nix::unistd::chown;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The file's name. It holds a path, relative to the data directory or absolute.
const MARKER: &str = "cluster.place";
/// The cluster's name in the data directory.
const INSIDE: &str = "postgres";
/// Where clusters are whose data directory is closed to the account that PostgreSQL runs as.
const OUTSIDE: &str = "/var/lib/counterfoil";

/// The cluster's directory, which may be still to be made.
pub(crate) fn find(data_dir: &Path, account: &Account, say: Say<'_>) -> Result<PathBuf, PrivateError> {
    if let Some(named) = read_marker(data_dir)? {
        return match version(&named)? {
            Some(_) => Ok(named),
            None => Err(PrivateError::Missing {
                cluster: named.display().to_string(),
                marker: data_dir.join(MARKER).display().to_string(),
            }),
        };
    }
    let inside = data_dir.join(INSIDE);
    if version(&inside)?.is_some() {
        return Ok(inside);
    }
    let outside = Path::new(OUTSIDE).join(short_name(data_dir)).join(INSIDE);
    let closed = account.steps_down && !data_dir.ancestors().all(|above| is_open(above, account));
    let earlier = account.steps_down && version(&outside)?.is_some();
    if !closed && !earlier {
        return Ok(inside);
    }
    say(&if earlier {
        format!("{} has its data in {} since earlier", data_dir.display(), outside.display())
    } else {
        format!(
            "{} is closed to the user that PostgreSQL runs as, so its files are in {}",
            data_dir.display(),
            outside.display()
        )
    });
    Ok(outside)
}

/// Makes the directory above the cluster, which must be the account's own for the cluster to be made in it.
pub(crate) fn make_parent(cluster: &Path, account: &Account) -> Result<(), PrivateError> {
    let Some(parent) = cluster.parent().filter(|parent| parent.starts_with(OUTSIDE)) else { return Ok(()) };
    fs::create_dir_all(parent).map_err(file_error("cannot make", parent))?;
    chown(parent, Some(account.uid), Some(account.gid))
        .map_err(|error| file_error("cannot hand over", parent)(error.into()))
}

/// The major version of the cluster in a directory; none if there is nothing. What cannot be read is not nothing.
pub(crate) fn version(cluster: &Path) -> Result<Option<String>, PrivateError> {
    let file = cluster.join("PG_VERSION");
    let no_cluster = |why: String| PrivateError::NoCluster { cluster: cluster.display().to_string(), why };
    match fs::read_to_string(&file) {
        Ok(text) if !text.trim().is_empty() && text.trim().chars().all(|c| c.is_ascii_digit()) => {
            Ok(Some(text.trim().into()))
        }
        Ok(text) => Err(no_cluster(format!("PG_VERSION holds {:?}", text.trim()))),
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::read_dir(cluster) {
            Ok(mut entries) => match entries.next() {
                Some(_) => Err(no_cluster("PG_VERSION is missing".into())),
                None => Ok(None),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file_error("cannot read", cluster)(error)),
        },
        Err(error) => Err(file_error("cannot read", &file)(error)),
    }
}

fn read_marker(data_dir: &Path) -> Result<Option<PathBuf>, PrivateError> {
    let marker = data_dir.join(MARKER);
    match fs::read(&marker) {
        Ok(mut bytes) => {
            while bytes.last() == Some(&b'\n') {
                bytes.pop();
            }
            Ok(Some(data_dir.join(std::ffi::OsString::from_vec(bytes))))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error("cannot read", &marker)(error)),
    }
}

/// Notes where the cluster is, once there is one.
pub(crate) fn note(data_dir: &Path, cluster: &Path) -> Result<(), PrivateError> {
    let marker = data_dir.join(MARKER);
    if marker.exists() {
        return Ok(());
    }
    let named = cluster.strip_prefix(data_dir).unwrap_or(cluster);
    let half = data_dir.join("cluster.place.making");
    let write = || {
        let mut file = fs::File::create(&half)?;
        file.write_all(named.as_os_str().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&half, &marker)
    };
    write().map_err(file_error("cannot write", &marker))
}
