//! Lock files. The system frees them when their process ends, however it ends.

use super::{PrivateError, Say, file_error};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::Duration;

/// A lock file that is held.
pub(crate) struct Lock {
    held: Flock<File>,
}

impl Lock {
    /// The file, for a program that is to go on holding the lock if this one is killed.
    pub(crate) fn to_share(&self) -> std::io::Result<File> {
        self.held.try_clone()
    }

    fn open(path: &Path) -> Result<File, PrivateError> {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(file_error("cannot open", path))
    }

    fn held(path: &Path, how: FlockArg) -> Result<Option<Self>, PrivateError> {
        match Flock::lock(Self::open(path)?, how) {
            Ok(held) => Ok(Some(Self { held })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(file_error("cannot lock", path)(error.into())),
        }
    }

    /// Takes it alone, if nobody holds it.
    pub(crate) fn try_exclusive(path: &Path) -> Result<Option<Self>, PrivateError> {
        Self::held(path, FlockArg::LockExclusiveNonblock)
    }

    /// Takes it alone, waiting for others.
    pub(crate) async fn exclusive(path: &Path, say: Say<'_>) -> Result<Self, PrivateError> {
        for round in 0.. {
            if let Some(lock) = Self::try_exclusive(path)? {
                return Ok(lock);
            }
            if round == 40 {
                say("another command is starting or stopping the private PostgreSQL; waiting for it …");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        unreachable!("the loop ends by returning")
    }

    /// Takes it beside others. The gate is held, so nobody holds it alone for longer than a moment.
    pub(crate) fn shared(path: &Path) -> Result<Self, PrivateError> {
        let busy = || file_error("cannot lock", path)(std::io::ErrorKind::WouldBlock.into());
        Self::held(path, FlockArg::LockSharedNonblock)?.ok_or_else(busy)
    }
}
