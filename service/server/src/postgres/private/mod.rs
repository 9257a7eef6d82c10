//! The private PostgreSQL cluster, for whoever sets no `DATABASE_URL`: the same engine, SQL and migrations as in
//! production.
//!
//! **Where.** In `data_dir/postgres`, or where `data_dir/cluster.place` says. It listens on a Unix socket only, in a
//! short directory of its own with mode 0700 (a socket's path may have 107 bytes), which is also why its local
//! authentication is `trust`: who can reach the socket is the cluster's owner, or root.
//!
//! **As whom.** As the user who runs this program; as an unprivileged one if that is root, since `initdb` refuses root.
//!
//! **Who starts and stops it.** Whoever uses it holds `cluster.lock` shared. Entering and leaving hold `cluster.gate`
//! alone: who enters starts what does not run; who leaves tries `cluster.lock` alone, and if that succeeds nobody else
//! uses it, and it is stopped. A killed process frees its locks, and leaves the cluster running for the next. While
//! it is in use, a server that dies is started again.

mod account;
mod binaries;
mod directory;
mod error;
mod initialize;
mod inspect;
mod locks;
mod log;
mod place;
mod postmaster;
mod server;
mod watch;

pub(crate) use binaries::OLDEST;
pub use error::PrivateError;
pub(crate) use error::file_error;
pub(crate) use inspect::{Inspection, Standing, inspect};
pub(crate) use server::Progress;

use account::Account;
use binaries::Binaries;
use locks::Lock;
use postmaster::Found;
use server::Server;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::process::Command;
use tokio::task::JoinHandle;

/// The bootstrap superuser's name.
const SUPERUSER: &str = "postgres";
/// Held alone by whoever enters or leaves.
const GATE: &str = "cluster.gate";
/// Held shared by whoever uses the cluster.
const IN_USE: &str = "cluster.lock";

/// A private cluster in use. Dropping it without [`PrivateCluster::leave`] only asks the server to stop.
pub struct PrivateCluster {
    server: Arc<Server>,
    /// The directories that have lock files, in the order in which they are locked: the data directory, and the
    /// cluster's parent if that is another, since copies of a data directory may name one cluster.
    homes: Vec<PathBuf>,
    /// None once it is given up.
    in_use: Option<Vec<Lock>>,
    watch: Option<JoinHandle<()>>,
}

/// Tells a person what goes on.
pub type Say<'a> = &'a (dyn Fn(&str) + Send + Sync);

impl PrivateCluster {
    /// The same as [`PrivateCluster::enter`] for a cluster that is there: none is made.
    ///
    /// # Errors
    /// See [`PrivateError`].
    pub async fn enter_existing(data_dir: &Path, say: Say<'_>) -> Result<Self, PrivateError> {
        if inspect::exists(data_dir)? {
            return Self::enter(data_dir, say).await;
        }
        let shown = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.into());
        Err(PrivateError::NotMade(shown.display().to_string()))
    }

    /// Starts the cluster of `data_dir`, or joins it if it runs, and waits until it accepts connections.
    ///
    /// # Errors
    /// See [`PrivateError`].
    pub async fn enter(data_dir: &Path, say: Say<'_>) -> Result<Self, PrivateError> {
        // The driver reads it, and nothing said later takes it back.
        if std::env::var_os("PGOPTIONS").is_some_and(|options| !options.is_empty()) {
            return Err(PrivateError::Environment);
        }
        let account = Account::choose();
        let data_dir = directory::prepare_data_dir(data_dir)?;
        let mut gates = vec![Lock::exclusive(&data_dir.join(GATE), say).await?];
        let cluster = place::find(&data_dir, &account, say)?;
        let binaries = Binaries::find(&cluster, &account).await?;
        if place::version(&cluster)?.is_none() {
            say("making a private PostgreSQL cluster (once; some seconds) …");
            initialize::initialize(&cluster, &binaries, &account, &gates[0]).await?;
        }
        place::note(&data_dir, &cluster)?;
        directory::mend(&cluster, &account)?;
        let mut homes = vec![data_dir];
        homes.extend(cluster.parent().filter(|parent| *parent != homes[0]).map(Path::to_path_buf));
        for home in &homes[1..] {
            gates.push(Lock::exclusive(&home.join(GATE), say).await?);
        }
        let in_use = homes.iter().map(|home| Lock::shared(&home.join(IN_USE))).collect::<Result<_, _>>()?;
        let socket = match postmaster::look(&cluster, &account) {
            Found::Running(postmaster) if postmaster.socket.is_absolute() => postmaster.socket,
            _ => directory::socket_dir(&cluster, &account),
        };
        let leaving = AtomicBool::new(false);
        let server = Arc::new(Server { cluster, socket, binaries, account, leaving });
        let mut this = Self { server, homes, in_use: Some(in_use), watch: None };
        if !this.server.until_ready(say).await {
            say("starting the private PostgreSQL …");
            this.server.start(say).await?;
        }
        this.look_where_it_listens();
        this.watch = Some(tokio::spawn(watch::watch(this.server.clone(), this.homes.clone())));
        Ok(this)
    }

    /// Takes the server at its word. One that a killed program was starting had not yet said where it listens, or was found
    /// only after a place was chosen. To be called before the watch shares the server.
    fn look_where_it_listens(&mut self) {
        let said = self.server.running().map(|postmaster| postmaster.socket);
        if let (Some(said), Some(server)) = (said, Arc::get_mut(&mut self.server))
            && said.is_absolute()
        {
            server.socket = said;
        }
    }

    /// Connects as the bootstrap superuser.
    pub fn superuser(&self, database: &str) -> PgConnectOptions {
        self.login(SUPERUSER, database)
    }

    /// Connects as a role.
    pub fn login(&self, role: &str, database: &str) -> PgConnectOptions {
        // Said in full, so that none of the operator's PG* variables, which the driver reads, leads elsewhere.
        PgConnectOptions::new_without_pgpass()
            .socket(&self.server.socket)
            .port(5432)
            .ssl_mode(PgSslMode::Disable)
            .password("")
            .username(role)
            .database(database)
            .application_name("counterfoil")
    }

    /// PostgreSQL's own shell, as the bootstrap superuser.
    pub fn psql(&self, database: &str) -> Command {
        let beside = self.server.binaries.program("psql");
        let mut psql = Command::new(if beside.exists() { &beside } else { Path::new("psql") });
        psql.arg("--host").arg(&self.server.socket);
        psql.args(["--port", "5432", "--username", SUPERUSER, "--dbname", database]);
        psql
    }

    /// Where the cluster's files are.
    pub fn cluster_dir(&self) -> &Path {
        &self.server.cluster
    }

    /// The directory of the socket.
    pub fn socket_dir(&self) -> &Path {
        &self.server.socket
    }

    /// The server process, while it runs.
    pub fn postmaster_pid(&self) -> Option<i32> {
        self.server.running().map(|postmaster| postmaster.pid.as_raw())
    }

    /// Gives the cluster up. If nobody else uses it, it is stopped.
    ///
    /// # Errors
    /// See [`PrivateError`].
    pub async fn leave(mut self, say: Say<'_>) -> Result<(), PrivateError> {
        self.server.leaving.store(true, Ordering::Release);
        if let Some(watch) = self.watch.take() {
            let _ = watch.await;
        }
        let mut gates = Vec::new();
        for home in &self.homes {
            gates.push(Lock::exclusive(&home.join(GATE), say).await?);
        }
        drop(self.in_use.take());
        if self.is_last()?.is_some() {
            self.server.stop(say).await?;
            directory::remove_socket_dir(&self.server.socket);
        }
        Ok(())
    }

    /// The locks that nobody who uses the cluster lets one have.
    fn is_last(&self) -> Result<Option<Vec<Lock>>, PrivateError> {
        self.homes.iter().map(|home| Lock::try_exclusive(&home.join(IN_USE))).collect()
    }
}

impl Drop for PrivateCluster {
    fn drop(&mut self) {
        self.server.leaving.store(true, Ordering::Release);
        if self.in_use.take().is_some() && matches!(self.is_last(), Ok(Some(_))) {
            self.server.ask_to_stop();
        }
    }
}
