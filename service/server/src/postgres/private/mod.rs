//! The private PostgreSQL cluster, for whoever sets no `DATABASE_URL`: the same engine, SQL and migrations as in
//! production.
//!
//! **Where.** In `data_dir/postgres`. It listens on a Unix socket only, in a short directory of its own with mode 0700
//! (a socket's path may have 107 bytes), which is also why its local authentication is `trust`: who can reach the
//! socket is the cluster's owner, or root.
//!
//! **As whom.** As the user who runs this program; as an unprivileged one if that is root, since `initdb` refuses root.
//!
//! **Who starts and stops it.** Whoever uses it holds `cluster.lock` shared. Entering and leaving hold `cluster.gate`
//! alone: who enters starts what does not run; who leaves tries `cluster.lock` alone, and if that succeeds nobody else
//! uses it, and it is stopped. A killed process frees its locks, and leaves the cluster running for the next.

mod account;
mod binaries;
mod directory;
mod locks;

use account::Account;
use binaries::Binaries;
use locks::Lock;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// The bootstrap superuser's name.
const SUPERUSER: &str = "postgres";

/// The server's log, in the cluster itself.
const LOG: &str = "postgres.log";

/// A private cluster in use.
pub struct PrivateCluster {
    data_dir: PathBuf,
    cluster: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    binaries: Binaries,
    account: Account,
    in_use: Lock,
}

/// Why the private cluster cannot be used. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// No server programs.
    #[error(
        "no PostgreSQL server programs (14 or newer) were found: install them (Debian, Ubuntu: apt-get install postgresql), or set DATABASE_URL"
    )]
    NoBinaries,
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
}

pub(crate) fn file_error<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> PrivateError + 'a {
    move |source| PrivateError::File { what, path: path.display().to_string(), source }
}

/// Tells a person what goes on.
pub type Say<'a> = &'a (dyn Fn(&str) + Send + Sync);

impl PrivateCluster {
    /// Starts the cluster of `data_dir`, or joins it if it runs.
    ///
    /// # Errors
    /// See [`PrivateError`].
    pub async fn enter(data_dir: &Path, say: Say<'_>) -> Result<Self, PrivateError> {
        let account = Account::choose();
        let data_dir = directory::prepare_data_dir(data_dir)?;
        let _gate = Lock::exclusive(&data_dir.join("cluster.gate"), say).await?;
        let cluster = directory::cluster_dir(&data_dir, &account, say)?;
        let binaries = Binaries::find(&cluster)?;
        let socket = directory::socket_dir(&data_dir, &account)?;
        let in_use = Lock::shared(&data_dir.join("cluster.lock"))?;
        // In the cluster itself: the account that it runs as can write nowhere else for certain.
        let log = cluster.join(LOG);
        let this = Self { data_dir, cluster, socket, log, binaries, account, in_use };
        if !this.cluster.join("PG_VERSION").exists() {
            say("making a private PostgreSQL cluster (once; some seconds) …");
            this.initialize().await?;
        }
        directory::mend(&this.cluster, &this.account)?;
        if !this.runs().await {
            say("starting the private PostgreSQL …");
            this.start().await?;
        }
        Ok(this)
    }

    /// Connects as the bootstrap superuser.
    pub fn superuser(&self, database: &str) -> PgConnectOptions {
        self.login(SUPERUSER, database)
    }

    /// Connects as a role.
    pub fn login(&self, role: &str, database: &str) -> PgConnectOptions {
        // Said in full, so that none of the operator's PG* variables, which the driver reads, leads elsewhere.
        PgConnectOptions::new_without_pgpass()
            .socket(&self.socket)
            .port(5432)
            .ssl_mode(PgSslMode::Disable)
            .password("")
            .username(role)
            .database(database)
    }

    /// Where the cluster's files are.
    pub fn cluster_dir(&self) -> &Path {
        &self.cluster
    }

    /// The server process, while it runs.
    pub fn postmaster_pid(&self) -> Option<i32> {
        let file = std::fs::read_to_string(self.cluster.join("postmaster.pid")).ok()?;
        file.lines().next()?.trim().parse().ok()
    }

    /// Starts the server again if it died.
    ///
    /// # Errors
    /// See [`PrivateError`].
    pub async fn ensure_running(&self, say: Say<'_>) -> Result<bool, PrivateError> {
        if self.runs().await {
            return Ok(false);
        }
        let _gate = Lock::exclusive(&self.data_dir.join("cluster.gate"), say).await?;
        if self.runs().await {
            return Ok(false);
        }
        say("the private PostgreSQL has ended; starting it again …");
        self.start().await?;
        Ok(true)
    }

    /// Gives the cluster up. If nobody else uses it, it is stopped.
    ///
    /// # Errors
    /// See [`PrivateError`].
    pub async fn leave(self, say: Say<'_>) -> Result<(), PrivateError> {
        let _gate = Lock::exclusive(&self.data_dir.join("cluster.gate"), say).await?;
        let Self { data_dir, cluster, binaries, account, in_use, .. } = self;
        drop(in_use);
        let last = Lock::try_exclusive(&data_dir.join("cluster.lock"))?.is_some();
        // A server that died already needs no stopping.
        if last && server_runs(&account, &binaries, &cluster).await {
            let mut stop = account.command(&binaries.program("pg_ctl"));
            stop.args(["stop", "-w", "-t", "60", "-m", "fast", "-D"]).arg(&cluster);
            run("pg_ctl stop", stop, Duration::from_secs(70)).await?;
        }
        Ok(())
    }

    /// `initdb` into a directory beside, then a rename: what is half made is never taken for a cluster.
    async fn initialize(&self) -> Result<(), PrivateError> {
        let half = self.cluster.with_extension("making");
        if half.exists() {
            std::fs::remove_dir_all(&half).map_err(file_error("cannot remove", &half))?;
        }
        directory::make_owned(&half, &self.account)?;
        let mut initdb = self.account.command(&self.binaries.program("initdb"));
        initdb
            .args([
                "--data-checksums",
                "--encoding=UTF8",
                "--locale=C",
                "--auth=trust",
                "--username",
                SUPERUSER,
                "-D",
            ])
            .arg(&half);
        run("initdb", initdb, Duration::from_secs(120)).await?;
        let conf = half.join("postgresql.conf");
        let mut text = std::fs::read_to_string(&conf).map_err(file_error("cannot read", &conf))?;
        text.push_str(SETTINGS);
        std::fs::write(&conf, text).map_err(file_error("cannot write", &conf))?;
        if self.cluster.exists() {
            // Empty: it has no PG_VERSION, and `cluster_dir` refuses a directory with other things in it.
            std::fs::remove_dir(&self.cluster)
                .map_err(file_error("cannot replace (is it empty?)", &self.cluster))?;
        }
        std::fs::rename(&half, &self.cluster).map_err(file_error("cannot make", &self.cluster))
    }

    async fn runs(&self) -> bool {
        server_runs(&self.account, &self.binaries, &self.cluster).await
    }

    /// Starts the server and waits until it accepts connections, recovery included. `pg_ctl` puts it into a session
    /// of its own, so that Ctrl-C does not reach it. It also hands its arguments to a shell, so the paths, which may
    /// have any character, are said relative to the cluster; the socket's is made of hex digits.
    async fn start(&self) -> Result<(), PrivateError> {
        let socket = format!("-c unix_socket_directories='{}' -c listen_addresses=''", self.socket.display());
        let mut start = self.account.command(&self.binaries.program("pg_ctl"));
        start
            .current_dir(&self.cluster)
            .args(["start", "-w", "-t", "3600", "-D", ".", "-l", LOG, "-o"])
            .arg(socket);
        run("pg_ctl start", start, Duration::from_secs(3700)).await.map_err(|error| match error {
            PrivateError::Program { program, detail } => PrivateError::Program {
                program,
                detail: format!("{detail}; {} ends with: {}", self.log.display(), tail(&self.log)),
            },
            other => other,
        })
    }
}

/// Whether a server runs on a directory.
async fn server_runs(account: &Account, binaries: &Binaries, cluster: &Path) -> bool {
    let mut status = account.command(&binaries.program("pg_ctl"));
    status.args(["status", "-D"]).arg(cluster);
    run("pg_ctl status", status, Duration::from_secs(10)).await.is_ok()
}

/// What differs from the defaults of `initdb`. No statement text and no bind value gets into the server's log.
const SETTINGS: &str = "
# Counterfoil's private cluster.
listen_addresses = ''
max_connections = 60
shared_buffers = 256MB
max_wal_size = 2GB
wal_compression = on
timezone = 'UTC'
log_timezone = 'UTC'
log_statement = none
log_error_verbosity = terse
log_min_error_statement = panic
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
idle_session_timeout = 0
";

/// Runs a program to its end.
async fn run(program: &'static str, mut command: Command, limit: Duration) -> Result<(), PrivateError> {
    let failed = |detail: String| PrivateError::Program { program, detail };
    // Not through pipes: the server would inherit them, and they would never end.
    let said = tempfile_for(program)?;
    let (out, err) = (said.1.try_clone(), said.1.try_clone());
    let (Ok(out), Ok(err)) = (out, err) else { return Err(failed("no file for its output".into())) };
    let mut child = command.stdout(out).stderr(err).spawn().map_err(|error| failed(error.to_string()))?;
    let status = tokio::time::timeout(limit, child.wait()).await;
    let words = tail(&said.0);
    let _ = std::fs::remove_file(&said.0);
    match status {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(failed(format!("{status}: {words}"))),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no end after {} s: {words}", limit.as_secs()))),
    }
}

fn tempfile_for(program: &'static str) -> Result<(PathBuf, std::fs::File), PrivateError> {
    let name = format!(
        "counterfoil-{}-{}",
        std::process::id(),
        uuid::Uuid::from_bytes(crate::clock::random()).simple()
    );
    let path = std::env::temp_dir().join(name);
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    file.map(|file| (path, file))
        .map_err(|source| PrivateError::Program { program, detail: source.to_string() })
}

/// The last lines of a file, in one.
fn tail(path: &Path) -> String {
    let text =
        std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(4)..].join(" | ")
}
