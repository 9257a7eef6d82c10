//! Roles and migrations.
//!
//! `<database>_owner` (no login) owns the schema; the service works as `<database>_service`, which may INSERT and
//! SELECT on `events` and nothing more there. Roles belong to the whole cluster, so they are made under an advisory
//! lock. Without the right to make roles there is one role, and the trigger alone guards the log.

use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

/// The numbered files of `migrations/`, built in.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// The lock under which roles are made and migrations run.
const MIGRATE_LOCK: i64 = 0x0063_665f_6d69_6772;

/// Why the schema is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database did not answer, or refused.
    #[error("the database cannot be migrated: {0}")]
    Database(#[from] sqlx::Error),
    /// A migration was changed or failed.
    #[error("the database cannot be migrated: {0}")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A newer program was here.
    #[error(
        "a newer counterfoil has migrated this database (migration {0} is not known here): run that version; nothing was changed"
    )]
    Newer(i64),
}

impl From<sqlx::migrate::MigrateError> for MigrateError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::VersionMissing(version) => Self::Newer(version),
            other => Self::Migrate(other),
        }
    }
}

/// How the schema differs from what this program would make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// No migration was ever run.
    Empty,
    /// A migration is still to be run.
    Missing(i64),
    /// A newer program ran one that is not known here.
    Newer(i64),
    /// What was run under this number is not what this program has.
    Changed(i64),
    /// One was begun and not finished.
    Unfinished(i64),
}

/// Compares what was run with what there is, and changes nothing.
pub(crate) async fn differences(connection: &mut PgConnection) -> Result<Vec<Difference>, sqlx::Error> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('public._sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(vec![Difference::Empty]);
    }
    let rows: Vec<(i64, Vec<u8>, bool)> =
        sqlx::query_as("SELECT version, checksum, success FROM public._sqlx_migrations ORDER BY version")
            .fetch_all(connection)
            .await?;
    let mut found = Vec::new();
    for (version, checksum, success) in &rows {
        match MIGRATOR.iter().find(|known| known.version == *version) {
            None => found.push(Difference::Newer(*version)),
            Some(_) if !success => found.push(Difference::Unfinished(*version)),
            Some(known) if known.checksum[..] != checksum[..] => found.push(Difference::Changed(*version)),
            Some(_) => {}
        }
    }
    let missing = MIGRATOR.iter().filter(|known| !rows.iter().any(|(version, ..)| *version == known.version));
    found.extend(missing.map(|known| Difference::Missing(known.version)));
    Ok(found)
}

/// Whether two roles are made, or there is one only.
pub(crate) async fn may_make_roles(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user")
        .fetch_one(connection)
        .await
}

/// The names of the two roles of a database.
#[derive(Clone, Debug)]
pub struct Roles {
    /// Owns the schema.
    pub owner: String,
    /// What the service works as.
    pub service: String,
}

impl Roles {
    /// By the database's name.
    pub fn of(database: &str) -> Self {
        Self { owner: format!("{database}_owner"), service: format!("{database}_service") }
    }
}

/// A name as SQL text.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Makes a database if it is not there.
///
/// # Errors
/// The database's.
pub async fn ensure_database(options: &PgConnectOptions, database: &str) -> Result<(), MigrateError> {
    let mut connection = options.connect().await?;
    let there: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_database WHERE datname = $1")
        .bind(database)
        .fetch_optional(&mut connection)
        .await?;
    if there.is_none() {
        let sql = format!(
            "CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
            quoted(database)
        );
        match sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await {
            // Somebody else made it at the same moment, and that is seen in one way or the other.
            Err(sqlx::Error::Database(error))
                if matches!(error.code().as_deref(), Some("42P04" | "23505")) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
    }
    connection.close().await?;
    Ok(())
}

/// Makes the roles and runs the migrations. Returns the role that the service is to work as, if there is one.
///
/// # Errors
/// See [`MigrateError`].
pub async fn migrate(options: &PgConnectOptions) -> Result<Option<String>, MigrateError> {
    // "Already exists, skipping" and the like are of no use to anybody.
    let quiet = options.clone().options([("client_min_messages", "warning")]);
    let mut connection = quiet.connect().await?;
    sqlx::query("SELECT pg_advisory_lock($1)").bind(MIGRATE_LOCK).execute(&mut connection).await?;
    let database: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&mut connection).await?;
    let roles = Roles::of(&database);
    let may = may_make_roles(&mut connection).await?;
    if may {
        make_roles(&mut connection, &roles, &database).await?;
        sqlx::query(AssertSqlSafe(format!("SET ROLE {}", quoted(&roles.owner))))
            .execute(&mut connection)
            .await?;
    }
    MIGRATOR.run(&mut connection).await.map_err(MigrateError::from)?;
    if may {
        grant(&mut connection, &roles).await?;
        sqlx::query("RESET ROLE").execute(&mut connection).await?;
    }
    connection.close().await?;
    Ok(may.then_some(roles.service))
}

async fn make_roles(connection: &mut PgConnection, roles: &Roles, database: &str) -> Result<(), sqlx::Error> {
    let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
        .fetch_one(&mut *connection)
        .await?;
    for (role, login) in [(&roles.owner, "NOLOGIN"), (&roles.service, "LOGIN")] {
        let there: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_roles WHERE rolname = $1")
            .bind(role)
            .fetch_optional(&mut *connection)
            .await?;
        let role = quoted(role);
        if there.is_none() {
            sqlx::query(AssertSqlSafe(format!("CREATE ROLE {role} {login}")))
                .execute(&mut *connection)
                .await?;
        }
        // Since PostgreSQL 16 the right to SET ROLE is a grant of its own.
        let with = if version >= 160_000 { "WITH SET TRUE" } else { "" };
        sqlx::query(AssertSqlSafe(format!("GRANT {role} TO CURRENT_USER {with}")))
            .execute(&mut *connection)
            .await?;
    }
    let (database, owner, service) = (quoted(database), quoted(&roles.owner), quoted(&roles.service));
    for sql in [
        format!("GRANT CREATE, CONNECT ON DATABASE {database} TO {owner}"),
        format!("GRANT CONNECT ON DATABASE {database} TO {service}"),
        format!("GRANT CREATE, USAGE ON SCHEMA public TO {owner}"),
        format!("GRANT USAGE ON SCHEMA public TO {service}"),
    ] {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *connection).await?;
    }
    Ok(())
}

/// What the service may. History stays: no UPDATE and no DELETE on `events`. In one transaction, for a service may be
/// running, and between the statements it would have too few rights, or too many.
async fn grant(connection: &mut PgConnection, roles: &Roles) -> Result<(), sqlx::Error> {
    let service = quoted(&roles.service);
    let mut transaction = connection.begin().await?;
    for sql in [
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {service}"),
        format!("REVOKE ALL ON events FROM {service}"),
        format!("GRANT SELECT, INSERT ON events TO {service}"),
        format!("REVOKE ALL ON _sqlx_migrations FROM {service}"),
        format!("GRANT SELECT ON _sqlx_migrations TO {service}"),
    ] {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}
