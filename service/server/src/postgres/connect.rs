//! Where the service's database is, and how it connects.

use super::given::Given;
use super::migrate::{self, Difference, MigrateError};
use super::private::{OLDEST, PrivateCluster, PrivateError, Say};
use super::roles::Roles;
use super::{patience, settings};
use crate::config::Config;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgPool};
use std::io;
use std::path::Path;
use std::time::Duration;

/// The name of the database in the private cluster.
pub const PRIVATE_DATABASE: &str = "counterfoil";

/// How long the database may take over a statement that reads or writes little.
const STATEMENT: Duration = Duration::from_secs(10);

/// Runs such a statement. A connection that fell silent would hold it for as long as TCP has patience.
///
/// # Errors
/// The database's.
pub(crate) async fn in_time<T>(
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let done = tokio::time::timeout(STATEMENT, statement).await;
    done.unwrap_or_else(|_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())))
}

/// A migrated database.
pub struct Database {
    /// How everything of the service connects.
    pub options: PgConnectOptions,
    /// For reads, with a limit of what one may cost.
    pub pool: PgPool,
    /// The private cluster, if it is in one.
    pub private: Option<PrivateCluster>,
}

/// Why there is no usable database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The private cluster.
    #[error(transparent)]
    Private(#[from] PrivateError),
    /// Roles and migrations.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// An address makes no sense.
    #[error("{variable} is not a PostgreSQL address such as postgres://user@host/database: {source}")]
    Url {
        /// Where it was given.
        variable: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// The database lacks what only somebody else may make.
    #[error(
        "the tables are not those of this version, and {0}, as whom DATABASE_URL logs in, may not change them: run `counterfoil migrate` with DATABASE_MIGRATE_URL"
    )]
    NotMigrated(String),
    /// Nobody has made the tables.
    #[error("the database has no tables of this service yet: `counterfoil serve` makes them")]
    NotMade,
    /// The tables are to be changed first, and this program was not to.
    #[error("the tables are not those of this version: `counterfoil migrate` makes them so, or says why not")]
    Outdated,
    /// The addresses are of different databases.
    #[error("DATABASE_URL does not lead to the database that DATABASE_MIGRATE_URL migrated")]
    Elsewhere,
    /// Migrating was asked of who may not.
    #[error(
        "{0}, as whom DATABASE_URL logs in, may serve and not migrate: give DATABASE_MIGRATE_URL, which logs in as a role that may"
    )]
    OnlyServes(String),
    /// It did not answer.
    #[error("the database cannot be used: {0}")]
    Database(#[from] sqlx::Error),
    /// It is too old.
    #[error(
        "the database is PostgreSQL {0}, and it must be {OLDEST} or newer: upgrade it (pg_upgrade), or set DATABASE_URL to another; nothing was changed"
    )]
    TooOld(String),
    /// A pooler in between.
    #[error(
        "DATABASE_URL leads to a connection pooler, but a `serve` needs sessions of PostgreSQL's own, for its lock and its settings: transaction pooling shares them, and session pooling refuses the settings. Connect to PostgreSQL itself"
    )]
    Pooler,
    /// A setting under which no promise could be kept.
    #[error(
        "the database's setting {name} is {found:?}; it must be {wanted}: {why}. `counterfoil doctor` names what mends it"
    )]
    Setting {
        /// Which.
        name: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        wanted: &'static str,
        /// Why.
        why: &'static str,
    },
}

impl Database {
    /// Opens the configured database, and migrates it if that is this program's to do.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn configured(config: &Config, say: Say<'_>) -> Result<Self, DatabaseError> {
        match Given::of(config)? {
            Some(given) => Self::with(given.open(say).await?).await,
            None => Self::open_private(&config.data_dir, say).await,
        }
    }

    /// Opens the configured database as it is. Whoever only looks at it makes no cluster, no role and no table, and changes
    /// none.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn existing(config: &Config, say: Say<'_>) -> Result<Self, DatabaseError> {
        match Given::of(config)? {
            Some(given) => Self::with(given.open_as_it_is(say).await?).await,
            None => {
                let cluster = PrivateCluster::enter_existing(&config.data_dir, say).await?;
                let as_it_is = async {
                    patience::until_it_answers(&cluster.superuser("postgres"), say).await?;
                    let options = private_service(&cluster);
                    refuse_other_tables(&options).await?;
                    Self::with(options).await
                };
                let prepared = as_it_is.await;
                Self::within(cluster, prepared, say).await
            }
        }
    }

    /// Opens the database of `url`, or the private cluster's, and migrates it. Waits for one that is not there yet.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn open(url: Option<&str>, data_dir: &Path, say: Say<'_>) -> Result<Self, DatabaseError> {
        match url {
            Some(url) => Self::with(Given::parse(url, None)?.open(say).await?).await,
            None => Self::open_private(data_dir, say).await,
        }
    }

    /// Migrates the configured database and leaves it.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn migrate(config: &Config, say: Say<'_>) -> Result<Roles, DatabaseError> {
        match Given::of(config)? {
            Some(given) => given.migrate(say).await,
            None => {
                let cluster = Self::open_private(&config.data_dir, say).await?.private;
                if let Some(cluster) = cluster {
                    cluster.leave(say).await?;
                }
                Ok(Roles::private(PRIVATE_DATABASE))
            }
        }
    }

    async fn open_private(data_dir: &Path, say: Say<'_>) -> Result<Self, DatabaseError> {
        let cluster = PrivateCluster::enter(data_dir, say).await?;
        let migrated = async {
            let superuser = cluster.superuser("postgres");
            patience::until_it_answers(&superuser, say).await?;
            migrate::ensure_database(&superuser, PRIVATE_DATABASE).await?;
            let superuser = cluster.superuser(PRIVATE_DATABASE);
            settings::check(&settings::for_service(superuser.clone())).await?;
            migrate::migrate(&superuser, Some(&Roles::private(PRIVATE_DATABASE).service), say).await?;
            Self::with(private_service(&cluster)).await
        };
        let prepared = migrated.await;
        Self::within(cluster, prepared, say).await
    }

    /// What was prepared in a cluster, which is given up if that failed.
    async fn within(
        cluster: PrivateCluster,
        prepared: Result<Self, DatabaseError>,
        say: Say<'_>,
    ) -> Result<Self, DatabaseError> {
        match prepared {
            Ok(database) => Ok(Self { private: Some(cluster), ..database }),
            Err(error) => {
                // The first error is the one to tell.
                if let Err(second) = cluster.leave(say).await {
                    say(&second.to_string());
                }
                Err(error)
            }
        }
    }

    async fn with(options: PgConnectOptions) -> Result<Self, DatabaseError> {
        settings::check(&options).await?;
        let pool = PgPoolOptions::new()
            .max_connections(16)
            .acquire_timeout(Duration::from_secs(5))
            .after_connect(|connection, _| Box::pin(settings::look_for_the_client(connection)))
            // What was given up amid a statement may be on a connection that fell silent: it keeps no place. (The driver
            // asks once more, without an end: silence between the two costs a place until TCP loses its patience.)
            .after_release(|connection, _| {
                Box::pin(async { in_time(connection.ping()).await.map(|()| true) })
            })
            .connect_lazy_with(settings::for_reads(options.clone()));
        Ok(Self { options, pool, private: None })
    }
}

/// How the service connects to the private cluster.
fn private_service(cluster: &PrivateCluster) -> PgConnectOptions {
    let Roles { service, .. } = Roles::private(PRIVATE_DATABASE);
    settings::for_service(cluster.login(&service, PRIVATE_DATABASE))
}

/// Refuses a database whose tables are not those of this version.
pub(super) async fn refuse_other_tables(options: &PgConnectOptions) -> Result<(), DatabaseError> {
    let mut connection = match options.connect().await {
        // There is no such database.
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("3D000") => {
            return Err(DatabaseError::NotMade);
        }
        connected => connected?,
    };
    let differences = migrate::differences(&mut connection).await?;
    if differences.contains(&Difference::Empty) {
        return Err(DatabaseError::NotMade);
    }
    migrate::refuse_newer(&mut connection).await?;
    connection.close().await?;
    if differences.is_empty() { Ok(()) } else { Err(DatabaseError::Outdated) }
}
