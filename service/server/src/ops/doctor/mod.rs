//! `counterfoil doctor`: looks at everything that the service stands on, and names what mends it.
//!
//! It takes no serving lock, migrates nothing and makes no cluster, so it can be asked beside a running service as well as
//! before the first start. A private cluster that is there is entered as a start enters it, which mends the modes of its
//! directories; one that does not run is started for the look, and stopped again.

mod database;
mod index;
mod log;
mod machine;
mod probe;
mod report;
mod roles;
mod schema;
mod space;

pub use report::{Check, Judgement, Report};

use crate::clock::Clock;
use crate::config::Config;
use crate::postgres::connect::{DatabaseError, PRIVATE_DATABASE};
use crate::postgres::given::Given;
use crate::postgres::private::{Inspection, PrivateCluster, Say, inspect};
use crate::postgres::roles::{Roles, is_there};
use crate::postgres::{pooler, settings, version};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use std::time::Duration;

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A database that answers.
struct Patient {
    /// By whom it would be migrated.
    administrator: PgConnection,
    /// How the service would connect.
    service: PgConnectOptions,
    /// How the sessions begin that migrate.
    migrating: PgConnectOptions,
    roles: Roles,
    /// How an operator runs SQL on it.
    shell: Shell,
}

/// How an operator runs SQL.
struct Shell(String);

impl Shell {
    fn run(&self, sql: &str) -> String {
        format!("{} -c {}", self.0, in_quotes(sql))
    }

    /// The same where sessions begin with transactions that only read.
    fn run_writing(&self, sql: &str) -> String {
        let first = in_quotes("SET default_transaction_read_only = off");
        format!("{} -v ON_ERROR_STOP=1 -c {first} -c {}", self.0, in_quotes(sql))
    }
}

/// A word of a shell's.
fn in_quotes(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Looks at everything.
pub async fn examine(config: &Config, clock: &Clock, say: Say<'_>) -> Report {
    let mut report = Report::default();
    let ports = machine::ports(config).await;
    report.add(ports.checks.clone());
    report.add([machine::sealing_key()]);
    match Given::of(config) {
        Ok(Some(database)) => given(&database, clock, &ports, &mut report).await,
        Ok(None) => private(config, clock, &ports, &mut report, say).await,
        Err(error) => report.add([Check::wrong("connection", error.to_string(), "correct it")]),
    }
    report
}

async fn private(config: &Config, clock: &Clock, ports: &machine::Ports, report: &mut Report, say: Say<'_>) {
    let inspected = inspect(&config.data_dir).await;
    report.add(machine::cluster(&config.data_dir, &inspected));
    let Ok(Some(inspection)) = inspected else { return };
    report.add(space::of_cluster(&config.data_dir, &inspection.cluster));
    let cluster = match PrivateCluster::enter(&config.data_dir, say).await {
        Ok(cluster) => cluster,
        Err(error) => {
            report.add([Check::wrong("connection", error.to_string(), log_of(&inspection))]);
            return;
        }
    };
    match connect_private(&cluster).await {
        Ok(Some(patient)) => {
            let answers = format!("the private PostgreSQL answers at {}", cluster.socket_dir().display());
            report.add([Check::good("connection", answers)]);
            report.add([Check::good("pooler", "none: it is reached by a socket of its own")]);
            ask(patient, clock, ports, report).await;
        }
        Ok(None) => report.add([Check::note(
            "connection",
            "the private PostgreSQL has no database of this service yet",
            "counterfoil serve",
        )]),
        Err(error) => report.add([Check::wrong("connection", error.to_string(), log_of(&inspection))]),
    }
    if let Err(error) = cluster.leave(say).await {
        say(&error.to_string());
    }
}

fn log_of(inspection: &Inspection) -> String {
    format!("tail -n 20 {}", inspection.cluster.join("postgres.log").display())
}

async fn connect_private(cluster: &PrivateCluster) -> Result<Option<Patient>, sqlx::Error> {
    let options = cluster.superuser(PRIVATE_DATABASE);
    let roles = Roles::private(PRIVATE_DATABASE);
    match bounded(&options).await {
        Ok(administrator) => Ok(Some(Patient {
            administrator,
            service: settings::for_service(cluster.login(&roles.service, PRIVATE_DATABASE)),
            migrating: settings::for_service(options),
            roles,
            // It is stopped again after this, if nobody uses it.
            shell: Shell("counterfoil psql".into()),
        })),
        // There is no such database.
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("3D000") => Ok(None),
        Err(error) => Err(error),
    }
}

async fn given(given: &Given, clock: &Clock, ports: &machine::Ports, report: &mut Report) {
    let mend = match given.migrating {
        None => "start the database, or correct DATABASE_URL",
        Some(_) => "counterfoil migrate makes the role; start the database, or correct DATABASE_URL",
    };
    // An old server does not know each of our settings, and would speak of that one only.
    if let Ok(connection) = bounded(&given.serving).await
        && let Some(number) = connection.server_version_num().filter(|number| !version::is_supported(*number))
    {
        report.add([database::judge(&version::text(number), number)]);
        return;
    }
    match pooler::refuse(&settings::for_service(given.serving.clone())).await {
        Ok(()) => report.add([Check::good("pooler", "none: each session is one of PostgreSQL's own")]),
        Err(DatabaseError::Pooler) => {
            let found = DatabaseError::Pooler.to_string();
            let mend = "give DATABASE_URL the host and port of PostgreSQL itself";
            report.add([Check::wrong("pooler", found, mend)]);
            return;
        }
        Err(error) => {
            report.add([Check::wrong("connection", format!("by DATABASE_URL, {error}"), mend)]);
            return;
        }
    }
    match connect_given(given).await {
        Ok(patient) => {
            report.add([Check::good("connection", "the database of DATABASE_URL answers")]);
            ask(patient, clock, ports, report).await;
        }
        Err(error) => report.add([Check::wrong("connection", error.to_string(), "correct it")]),
    }
}

/// Connects as who migrates. Where only who serves was given, that has to do.
async fn connect_given(given: &Given) -> Result<Patient, DatabaseError> {
    const MIGRATE: &str = "DATABASE_MIGRATE_URL";
    let (mut administrator, variable) = match &given.migrating {
        Some(migrating) => (bounded(&settings::in_our_schema(migrating.clone())).await?, MIGRATE),
        None => (bounded(&settings::in_our_schema(given.serving.clone())).await?, "DATABASE_URL"),
    };
    let serves = given.migrating.as_ref().map(|_| given.serving.get_username());
    let alone = match serves {
        Some(_) => None,
        None => Roles::of_who_only_serves(&mut administrator).await?,
    };
    let (roles, variable) = match alone {
        Some(roles) => (roles, MIGRATE),
        None => (Roles::arranged_by(&mut administrator, serves).await?, variable),
    };
    let shell = Shell(format!(r#"psql "${variable}""#));
    // Before the first start there may be no role to work as.
    let is_made = is_there(&mut administrator, &roles.service).await?;
    let service = if is_made { given.service(&roles) } else { settings::for_service(given.serving.clone()) };
    let migrating = settings::for_service(given.migrating.as_ref().unwrap_or(&given.serving).clone());
    Ok(Patient { administrator, service, migrating, roles, shell })
}

async fn bounded(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let answer = tokio::time::timeout(PATIENCE, options.connect()).await;
    answer.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

/// Asks a database that answers.
async fn ask(mut patient: Patient, clock: &Clock, ports: &machine::Ports, report: &mut Report) {
    report.add_found("version", database::version(&mut patient).await);
    report.add_found("settings", database::settings(&mut patient).await);
    report.add_found("migrations", schema::migrations(&mut patient).await);
    report.add_found("disk", space::of_database(&mut patient).await);
    report.add_found("clock", log::clock(&mut patient, clock).await);
    if schema::is_there(&mut patient).await {
        report.add_found("roles", roles::roles(&mut patient).await);
        report.add_found("grants", roles::grants(&mut patient).await);
        report.add_found("trigger", schema::trigger(&mut patient).await);
        report.add_found("last event", log::last_event(&mut patient, clock).await);
        report.add_found("claims", index::claims(&mut patient).await);
        report.add_found("index", index::against_head(&mut patient, ports).await);
    }
    let _ = patient.administrator.close().await;
}
