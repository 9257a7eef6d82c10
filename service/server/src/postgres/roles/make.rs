//! Making the roles, and what each may.

use super::{Arrangement, Roles, past_the_grants, quoted};
use crate::postgres::migrate::MigrateError;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::time::Duration;
use tokio::time::sleep;

/// The tables that are ours. A schema may hold others' as well, and those are nobody's here to give.
pub(crate) const TABLES: [&str; 17] = [
    "_sqlx_migrations",
    "claimed_digests",
    "claimed_slots",
    "environments",
    "events",
    "gateways",
    "idempotency_keys",
    "operator_requests",
    "organizations",
    "password_hashes",
    "personal_values",
    "sessions",
    "sign_in_names",
    "slot_eras",
    "token_usage",
    "tokens",
    "users",
];

async fn run(connection: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(sql)).execute(connection).await.map(drop)
}

/// How often a change of a role is tried again that met another one.
const TRIES: usize = 20;

/// Changes what belongs to the whole cluster. Our lock is the database's, so whoever migrates another database of the
/// cluster may do the same at the same moment: what is so already by then is fine, and what met is done again.
async fn run_beside_others(connection: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        match run(connection, sql.clone()).await.map_err(|error| (of_two(&error), error)) {
            Err((Some(Meeting::Done), _)) => return Ok(()),
            Err((Some(Meeting::Again), _)) if tries < TRIES => sleep(Duration::from_millis(25)).await,
            done => return done.map_err(|(_, error)| error),
        }
    }
}

/// What is known when two changed a role at once.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meeting {
    /// The other one did what was to be done.
    Done,
    /// The other one was in between.
    Again,
}

fn of_two(error: &sqlx::Error) -> Option<Meeting> {
    let error = error.as_database_error()?;
    match error.code()?.as_ref() {
        // There already, or there since a moment: the latter is seen by an index.
        "42710" | "23505" => Some(Meeting::Done),
        // An internal error by its code, which has nothing else to be told by.
        "XX000" if error.message().contains("concurrently") => Some(Meeting::Again),
        _ => None,
    }
}

/// Makes the roles that are not there, lets them reach the schema, and refuses a service that could edit the log.
pub(in crate::postgres) async fn make(
    connection: &mut PgConnection,
    roles: &Roles,
) -> Result<(), MigrateError> {
    let Roles { arrangement, owner, service } = roles;
    make_role(connection, owner, "NOLOGIN").await?;
    make_role(connection, service, "LOGIN").await?;
    join(connection, owner).await?;
    match arrangement {
        Arrangement::One => return Ok(()),
        Arrangement::SetRole => join(connection, service).await?,
        Arrangement::Apart => {
            if let Some(past) = past_the_grants(connection, service, owner).await? {
                return Err(MigrateError::NotHeldBack {
                    service: service.clone(),
                    owner: owner.clone(),
                    past,
                });
            }
        }
    }
    let database: String =
        sqlx::query_scalar("SELECT current_database()").fetch_one(&mut *connection).await?;
    let database = quoted(&database);
    for (role, has, grant) in [
        (
            owner,
            "has_database_privilege($1, current_database(), 'CREATE')",
            format!("CREATE, CONNECT ON DATABASE {database}"),
        ),
        (
            service,
            "has_database_privilege($1, current_database(), 'CONNECT')",
            format!("CONNECT ON DATABASE {database}"),
        ),
        (owner, "has_schema_privilege($1, 'public', 'CREATE')", "CREATE, USAGE ON SCHEMA public".into()),
        (service, "has_schema_privilege($1, 'public', 'USAGE')", "USAGE ON SCHEMA public".into()),
    ] {
        // Who migrates may hold less than the right to grant it, where an administrator has done so already.
        let has: bool = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {has}")))
            .bind(role)
            .fetch_one(&mut *connection)
            .await?;
        if !has {
            run_beside_others(connection, format!("GRANT {grant} TO {}", quoted(role))).await?;
        }
    }
    Ok(())
}

async fn make_role(connection: &mut PgConnection, role: &str, login: &str) -> Result<(), MigrateError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1), rolcreaterole OR rolsuper
        FROM pg_roles WHERE rolname = session_user";
    let (there, may_make): (bool, bool) = sqlx::query_as(sql).bind(role).fetch_one(&mut *connection).await?;
    match (there, may_make) {
        (true, _) => Ok(()),
        (false, true) => {
            Ok(run_beside_others(connection, format!("CREATE ROLE {} {login}", quoted(role))).await?)
        }
        (false, false) => Err(MigrateError::NoRole(role.into())),
    }
}

/// Lets the login become a role. Since PostgreSQL 16 membership alone does not say that.
async fn join(connection: &mut PgConnection, role: &str) -> Result<(), sqlx::Error> {
    let sql = "SELECT current_setting('server_version_num')::int >= 160000";
    let by_option: bool = sqlx::query_scalar(sql).fetch_one(&mut *connection).await?;
    let (right, with) = if by_option { ("SET", " WITH SET TRUE") } else { ("MEMBER", "") };
    let joined: bool = sqlx::query_scalar("SELECT pg_has_role(session_user, $1::name, $2)")
        .bind(role)
        .bind(right)
        .fetch_one(&mut *connection)
        .await?;
    if !joined {
        run_beside_others(connection, format!("GRANT {} TO CURRENT_USER{with}", quoted(role))).await?;
    }
    Ok(())
}

/// Gives the owner what the login made while there was one role.
pub(in crate::postgres) async fn hand_over(
    connection: &mut PgConnection,
    owner: &str,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c, pg_class e
        WHERE e.oid = 'public.events'::regclass AND c.relnamespace = e.relnamespace AND c.relowner = e.relowner
          AND c.relkind = 'r' AND c.relname = ANY($1)",
    )
    .bind(TABLES.as_slice())
    .fetch_all(&mut *transaction)
    .await?;
    let owner = quoted(owner);
    for table in tables {
        run(&mut transaction, format!("ALTER TABLE public.{} OWNER TO {owner}", quoted(&table))).await?;
    }
    run(&mut transaction, format!("ALTER FUNCTION public.refuse_to_edit_events() OWNER TO {owner}")).await?;
    transaction.commit().await
}

/// What the service may, of our tables by name: others' in the same schema stay as they are. History stays: no UPDATE
/// and no DELETE on `events`. In one transaction, for a service may be running, and between the statements it would
/// have too few rights, or too many.
pub(in crate::postgres) async fn grant(
    connection: &mut PgConnection,
    service: &str,
) -> Result<(), sqlx::Error> {
    let service = quoted(service);
    let mut transaction = connection.begin().await?;
    for table in TABLES {
        let may = match table {
            "events" => "SELECT, INSERT",
            "_sqlx_migrations" => "SELECT",
            _ => "SELECT, INSERT, UPDATE, DELETE",
        };
        let less = format!("REVOKE ALL ON public.{table} FROM {service}");
        run(&mut transaction, less).await?;
        run(&mut transaction, format!("GRANT {may} ON public.{table} TO {service}")).await?;
    }
    transaction.commit().await
}
