//! Where the service's database is, and how it connects.

use super::migrate::{self, MigrateError};
use super::private::{PrivateCluster, PrivateError, Say};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgPool};
use std::path::Path;
use std::time::Duration;

/// The name of the database in the private cluster.
const PRIVATE_DATABASE: &str = "counterfoil";

/// A migrated database.
pub struct Database {
    /// How everything of the service connects.
    pub options: PgConnectOptions,
    /// For reads.
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
    /// `DATABASE_URL` makes no sense.
    #[error("DATABASE_URL is not a PostgreSQL address such as postgres://user@host/database: {0}")]
    Url(#[source] sqlx::Error),
    /// It did not answer.
    #[error("the database cannot be used: {0}")]
    Database(#[from] sqlx::Error),
    /// A setting under which no promise could be kept.
    #[error("the database's setting {name} is {found:?}; it must be {wanted}: {why}")]
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
    /// Opens the database of `url`, or the private cluster's, and migrates it.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn open(url: Option<&str>, data_dir: &Path, say: Say<'_>) -> Result<Self, DatabaseError> {
        let (options, private) = match url {
            Some(url) => {
                let options: PgConnectOptions = url.parse().map_err(DatabaseError::Url)?;
                let service = migrate::migrate(&options).await?;
                let options = match service {
                    Some(role) => options.options([("role", role)]),
                    None => options,
                };
                (options, None)
            }
            None => {
                let cluster = PrivateCluster::enter(data_dir, say).await?;
                migrate::ensure_database(&cluster.superuser("postgres"), PRIVATE_DATABASE).await?;
                let service = migrate::migrate(&cluster.superuser(PRIVATE_DATABASE)).await?;
                let role = service.unwrap_or_else(|| format!("{PRIVATE_DATABASE}_service"));
                (cluster.login(&role, PRIVATE_DATABASE), Some(cluster))
            }
        };
        let options = for_service(options);
        check_settings(&options).await?;
        let pool = PgPoolOptions::new()
            .max_connections(16)
            .acquire_timeout(Duration::from_secs(5))
            .connect_lazy_with(options.clone());
        Ok(Self { options, pool, private })
    }
}

/// The settings of every session of ours. Plans made on empty tables must not stay, or issuing becomes slower by
/// four within seconds; a server's time limits must not end the writer.
fn for_service(options: PgConnectOptions) -> PgConnectOptions {
    options
        .application_name("counterfoil")
        .options([
            ("plan_cache_mode", "force_custom_plan"),
            ("statement_timeout", "0"),
            ("lock_timeout", "0"),
            ("idle_session_timeout", "0"),
            ("idle_in_transaction_session_timeout", "0"),
            ("tcp_keepalives_idle", "5"),
            ("tcp_keepalives_interval", "2"),
            ("tcp_keepalives_count", "3"),
            ("timezone", "UTC"),
        ])
        .disable_statement_logging()
}

/// Settings without which no promise could be kept.
async fn check_settings(options: &PgConnectOptions) -> Result<(), DatabaseError> {
    let mut connection = options.connect().await?;
    for (name, wanted, why) in [
        ("fsync", "on", "an acknowledged event could be lost"),
        ("full_page_writes", "on", "a power cut could damage the log"),
        ("synchronous_commit", "on", "an acknowledged event could be lost"),
        ("server_encoding", "UTF8", "names and notes are Unicode"),
        (
            "default_transaction_isolation",
            "read committed",
            "the writer reads the head in the statement after the lock",
        ),
        ("statement_timeout", "0", "a cancelled commit can look like a success"),
        ("idle_session_timeout", "0", "the writer's session would be ended while it is idle"),
    ] {
        let found: String =
            sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(&mut connection).await?;
        if found != wanted {
            return Err(DatabaseError::Setting { name, found, wanted, why });
        }
    }
    connection.close().await?;
    Ok(())
}
