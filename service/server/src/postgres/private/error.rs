//! Why the private cluster cannot be used.

use std::path::Path;

/// Why the private cluster cannot be used. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// No server programs.
    #[error(
        "no PostgreSQL server programs (14 or newer) were found: install them (Debian, Ubuntu: apt-get install postgresql), or set DATABASE_URL"
    )]
    NoBinaries,
    /// There is no cluster, and none is to be made.
    #[error(
        "there is no private PostgreSQL cluster yet in {0}: `counterfoil serve` makes it, and so does `counterfoil init`. If there should be one, correct data_dir (COUNTERFOIL__DATA_DIR), or set DATABASE_URL"
    )]
    NotMade(String),
    /// The data is of another major version.
    #[error(
        "the data in {cluster} is of PostgreSQL {found}, but only {installed} is installed: install postgresql-{found}, or upgrade the data with pg_upgrade; nothing was changed"
    )]
    OtherVersion {
        /// The cluster's directory.
        cluster: String,
        /// Its version.
        found: String,
        /// What is installed.
        installed: String,
    },
    /// A directory that holds something, but no cluster.
    #[error(
        "{cluster} holds files but is no PostgreSQL cluster ({why}): move it away to begin with an empty one; nothing was changed"
    )]
    NoCluster {
        /// The directory.
        cluster: String,
        /// What is missing.
        why: String,
    },
    /// The cluster is not where it was.
    #[error(
        "the data of this service is in {cluster}, says {marker}, but it is not there: bring it back, or write its new place into {marker}, or remove {marker} to begin with an empty one; nothing was changed"
    )]
    Missing {
        /// Where it was.
        cluster: String,
        /// The file that says so.
        marker: String,
    },
    /// The directory is not ours.
    #[error(
        "{path} belongs to another user (uid {owner}): run as that user, or give it back with chown -R {expected} {path}; nothing was changed"
    )]
    OtherOwner {
        /// The directory.
        path: String,
        /// Whose it is.
        owner: u32,
        /// Whose it would have to be.
        expected: u32,
    },
    /// A link or a file where a directory must be.
    #[error("{0} is not a directory (links are not followed there); nothing was changed")]
    NoDirectory(String),
    /// The environment reaches into our own connections.
    #[error("PGOPTIONS is set, and would change the service's own connections: unset it")]
    Environment,
    /// Something with a file or directory.
    #[error("{what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// A program failed.
    #[error("{program} failed: {detail}")]
    Program {
        /// Which.
        program: &'static str,
        /// Its last words.
        detail: String,
    },
    /// The server ended instead of serving.
    #[error("the private PostgreSQL does not start ({status}); {log} ends with: {words}")]
    Ended {
        /// How it ended.
        status: String,
        /// Its log.
        log: String,
        /// The log's end.
        words: String,
    },
    /// Processes of a server that was killed go on.
    #[error(
        "processes of an earlier private PostgreSQL still use {cluster} after {seconds} s: end them (the server's log, {log}, names them), then start again"
    )]
    LeftOver {
        /// The cluster's directory.
        cluster: String,
        /// The server's log.
        log: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// It does not stop.
    #[error("the private PostgreSQL (process {0}) does not stop")]
    WillNotStop(i32),
}

pub(crate) fn file_error<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> PrivateError + 'a {
    move |source| PrivateError::File { what, path: path.display().to_string(), source }
}
