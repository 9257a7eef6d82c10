//! A database of the operator's: who migrates it, and as whom the service logs in.

use super::connect::{DatabaseError, refuse_other_tables};
use super::migrate;
use super::private::Say;
use super::roles::{Arrangement, Roles};
use super::{patience, pooler, settings, version};
use crate::config::Config;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};

/// Its addresses.
pub(crate) struct Given {
    /// `DATABASE_URL`.
    pub(crate) serving: PgConnectOptions,
    /// `DATABASE_MIGRATE_URL`.
    pub(crate) migrating: Option<PgConnectOptions>,
}

impl Given {
    /// What was configured, if it was.
    pub(crate) fn of(config: &Config) -> Result<Option<Self>, DatabaseError> {
        let url = config.database_url.as_deref();
        url.map(|url| Self::parse(url, config.database_migrate_url.as_deref())).transpose()
    }

    /// Reads the addresses.
    pub(crate) fn parse(url: &str, migrate_url: Option<&str>) -> Result<Self, DatabaseError> {
        let read =
            |variable, url: &str| address(url).map_err(|source| DatabaseError::Url { variable, source });
        let migrating = migrate_url.map(|url| read("DATABASE_MIGRATE_URL", url)).transpose()?;
        Ok(Self { serving: read("DATABASE_URL", url)?, migrating })
    }

    /// Migrates it.
    pub(super) async fn migrate(&self, say: Say<'_>) -> Result<Roles, DatabaseError> {
        match self.who_only_serves(say).await? {
            Some(roles) => Err(DatabaseError::OnlyServes(roles.service)),
            None => self.migrate_as_arranged(say).await,
        }
    }

    /// Migrates it, unless `DATABASE_URL` logs in as who may not, and says how the service connects.
    pub(super) async fn open(&self, say: Say<'_>) -> Result<PgConnectOptions, DatabaseError> {
        if let Some(roles) = self.who_only_serves(say).await? {
            return self.as_it_is(roles).await;
        }
        let roles = self.migrate_as_arranged(say).await?;
        if self.migrating.is_none() {
            return Ok(self.service(&roles));
        }
        // The service's own address has not been looked at yet. Whoever is found there can edit nothing, or it is elsewhere.
        judge(&self.serving, say).await?;
        self.as_it_is(self.found_by_service().await?.ok_or(DatabaseError::Elsewhere)?).await
    }

    /// How the service connects.
    pub(crate) fn service(&self, roles: &Roles) -> PgConnectOptions {
        let serving = self.serving.clone();
        settings::for_service(match roles.arrangement {
            Arrangement::SetRole => serving.options([("role", &roles.service)]),
            Arrangement::Apart | Arrangement::One => serving,
        })
    }

    /// Before anything is made in a database that is refused afterwards.
    async fn migrate_as_arranged(&self, say: Say<'_>) -> Result<Roles, DatabaseError> {
        let Some(migrating) = &self.migrating else {
            return Ok(migrate::migrate(&self.serving, None, say).await?);
        };
        judge(migrating, say).await?;
        Ok(migrate::migrate(migrating, Some(self.serving.get_username()), say).await?)
    }

    /// The roles, if nobody was given who migrates and `DATABASE_URL` logs in as who may only serve.
    async fn who_only_serves(&self, say: Say<'_>) -> Result<Option<Roles>, DatabaseError> {
        if self.migrating.is_some() {
            return Ok(None);
        }
        judge(&self.serving, say).await?;
        self.found_by_service().await
    }

    async fn found_by_service(&self) -> Result<Option<Roles>, DatabaseError> {
        let mut connection = settings::for_service(self.serving.clone()).connect().await?;
        let roles = Roles::of_who_only_serves(&mut connection).await?;
        connection.close().await?;
        Ok(roles)
    }

    /// Takes the database as somebody else migrated it.
    async fn as_it_is(&self, roles: Roles) -> Result<PgConnectOptions, DatabaseError> {
        let options = self.service(&roles);
        refuse_other_tables(&options).await.map_err(|error| match error {
            DatabaseError::Outdated => DatabaseError::NotMigrated(roles.service),
            other => other,
        })?;
        Ok(options)
    }

    /// Takes the database as it is, and says how the service connects, whoever it was that migrated it.
    pub(super) async fn open_as_it_is(&self, say: Say<'_>) -> Result<PgConnectOptions, DatabaseError> {
        judge(&self.serving, say).await?;
        // Before anything was made there is no role to work as.
        refuse_other_tables(&settings::for_service(self.serving.clone())).await?;
        let mut connection = settings::for_service(self.serving.clone()).connect().await?;
        let roles = match Roles::of_who_only_serves(&mut connection).await? {
            Some(roles) => roles,
            None if self.migrating.is_some() => return Err(DatabaseError::Elsewhere),
            None => Roles::arranged_by(&mut connection, None).await?,
        };
        connection.close().await?;
        Ok(self.service(&roles))
    }
}

/// Reads an address. The driver would take any scheme.
pub(crate) fn address(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(sqlx::Error::Configuration("it does not begin with postgres://".into()));
    }
    url.parse()
}

/// Waits for the server, and refuses one that is too old, or through which, or under whose settings, no promise could be
/// kept.
async fn judge(options: &PgConnectOptions, say: Say<'_>) -> Result<(), DatabaseError> {
    // Without our settings first: an old server does not know each of them, and would speak of that one only.
    let version = patience::until_it_answers(options, say).await?;
    version.map_or(Ok(()), version::refuse_old)?;
    let options = settings::for_service(options.clone());
    pooler::refuse(&options).await?;
    settings::check(&options).await
}
