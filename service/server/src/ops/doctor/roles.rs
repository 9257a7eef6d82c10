//! Roles and grants.

use super::Patient;
use super::report::Check;
use crate::postgres::roles::{Arrangement, Past, TABLES, is_there, past_the_grants, quoted};
use sqlx::PgConnection;

/// Which arrangement is in force, and what it guards against; and that it is in force indeed: the role that the service
/// works as can neither change the schema nor become who can.
pub(super) async fn roles(patient: &mut Patient) -> Result<Vec<Check>, sqlx::Error> {
    const NAME: &str = "roles";
    let roles = patient.roles.clone();
    if roles.arrangement == Arrangement::One {
        return Ok(vec![arrangement(NAME, patient)]);
    }
    let (owner, service) = (&roles.owner, &roles.service);
    let sql = "SELECT s.rolcanlogin, pg_get_userbyid(n.nspowner)::text
        FROM pg_roles s, pg_roles o, pg_namespace n
        WHERE s.rolname = $1 AND o.rolname = $2 AND n.nspname = 'public'";
    let found: Option<(bool, String)> =
        sqlx::query_as(sql).bind(service).bind(owner).fetch_optional(&mut patient.administrator).await?;
    let Some((may_login, schema_owner)) = found else {
        let found = format!("the roles {owner} and {service} are not both there");
        return Ok(vec![Check::wrong(NAME, found, "counterfoil migrate")]);
    };
    let past = past_the_grants(&mut patient.administrator, service, owner).await?;
    let others = owned_by_others(&mut patient.administrator, owner).await?;
    let mut checks = Vec::new();
    let name = quoted(service);
    let mut wrong =
        |found: String, sql: String| checks.push(Check::wrong(NAME, found, patient.shell.run(&sql)));
    match past {
        Some(Past::Attributes) => wrong(
            format!("{service} may more than any grant says"),
            format!("ALTER ROLE {name} NOSUPERUSER NOCREATEROLE"),
        ),
        Some(Past::Programs) => wrong(
            format!("{service} may run programs, or write files, as the server"),
            format!("REVOKE pg_execute_server_program, pg_write_server_files FROM {name}"),
        ),
        Some(Past::Member) => wrong(
            format!("{service} can become {owner}, who can drop the trigger"),
            format!("REVOKE {} FROM {name}", quoted(owner)),
        ),
        Some(Past::Schema) => wrong(
            format!(
                "{service} is, or can become, {schema_owner}, who owns the schema and can drop the tables"
            ),
            format!("ALTER SCHEMA public OWNER TO {}", quoted(owner)),
        ),
        None => {}
    }
    for Held { holder, things, alter } in others {
        let belong = if things.len() == 1 { "belongs" } else { "belong" };
        let found = format!("{} {belong} to {holder} instead of {owner}", things.join(", "));
        wrong(found, alter.join("; "));
    }
    if !may_login && roles.arrangement == Arrangement::Apart {
        wrong(format!("{service} may not log in"), format!("ALTER ROLE {name} LOGIN"));
    }
    if checks.is_empty() {
        checks.push(arrangement(NAME, patient));
    }
    Ok(checks)
}

/// What another role than the owner owns of what is ours, and the statements that give it back.
#[derive(sqlx::FromRow)]
struct Held {
    holder: String,
    things: Vec<String>,
    alter: Vec<String>,
}

async fn owned_by_others(connection: &mut PgConnection, owner: &str) -> Result<Vec<Held>, sqlx::Error> {
    let sql = "WITH ours AS (
            SELECT relname::text AS name, relowner AS holder, 'TABLE public.' || quote_ident(relname) AS what
            FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname = ANY($2)
            UNION ALL
            SELECT proname::text, proowner, 'FUNCTION public.' || quote_ident(proname) || '()'
            FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname = 'refuse_to_edit_events'
        )
        SELECT pg_get_userbyid(holder)::text AS holder, array_agg(name ORDER BY name) AS things,
            array_agg('ALTER ' || what || ' OWNER TO ' || quote_ident($1) ORDER BY name) AS alter
        FROM ours WHERE holder <> (SELECT oid FROM pg_roles WHERE rolname = $1) GROUP BY ours.holder ORDER BY 1";
    sqlx::query_as(sql).bind(owner).bind(TABLES.as_slice()).fetch_all(connection).await
}

/// What the arrangement guards against, and what would guard against more.
fn arrangement(name: &'static str, patient: &Patient) -> Check {
    let roles = &patient.roles;
    let apart = |service: &str| {
        format!(
            r#"then start with DATABASE_MIGRATE_URL="$DATABASE_URL" and DATABASE_URL=postgres://{service}:PASSWORD@HOST/DATABASE"#
        )
    };
    match roles.arrangement {
        Arrangement::Apart => Check::good(
            name,
            format!("{roles}, which can never become it: no mistake and no injected SQL edits the log"),
        ),
        Arrangement::SetRole => {
            let service = &roles.service;
            let found = format!(
                "{roles}: no mistake edits the log, but injected SQL can end that (SET ROLE NONE) and drop the trigger"
            );
            let password = patient.shell.run(&format!(r"\password {}", quoted(service)));
            Check::note(name, found, format!("{password}; {}", apart(service)))
        }
        Arrangement::One => {
            let found = format!(
                "{roles}: the trigger guards the log against mistakes, but this role can drop it; `verify` finds what was changed without rewriting the rest of the log"
            );
            let mend = "as an administrator: CREATE ROLE counterfoil_service LOGIN PASSWORD 'PASSWORD'";
            Check::note(name, found, format!("{mend}; {}", apart("counterfoil_service")))
        }
    }
}

/// The service may add to the log and read it, and nothing else.
pub(super) async fn grants(patient: &mut Patient) -> Result<Vec<Check>, sqlx::Error> {
    const NAME: &str = "grants";
    let (role, held_back) = (patient.roles.service.clone(), patient.roles.arrangement != Arrangement::One);
    if !is_there(&mut patient.administrator, &role).await? {
        return Ok(vec![Check::wrong(
            NAME,
            format!("there is no {role} to have any"),
            "counterfoil migrate",
        )]);
    }
    let held = "SELECT p FROM UNNEST(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p
        WHERE has_table_privilege($1, 'public.events', p)
           OR p IN ('UPDATE', 'REFERENCES') AND has_any_column_privilege($1, 'public.events', p)";
    let held: Vec<String> =
        sqlx::query_scalar(held).bind(&role).fetch_all(&mut patient.administrator).await?;
    let lacking = "SELECT c.relname::text FROM pg_class c, pg_class e
        WHERE e.oid = 'public.events'::regclass AND c.relnamespace = e.relnamespace AND c.relkind = 'r'
          AND c.relowner = e.relowner AND c.relname NOT IN ('events', '_sqlx_migrations')
          AND NOT (has_table_privilege($1, c.oid, 'SELECT') AND has_table_privilege($1, c.oid, 'INSERT')
               AND has_table_privilege($1, c.oid, 'UPDATE') AND has_table_privilege($1, c.oid, 'DELETE'))
        ORDER BY 1";
    let lacking: Vec<String> =
        sqlx::query_scalar(lacking).bind(&role).fetch_all(&mut patient.administrator).await?;
    let mut checks = Vec::new();
    let (needed, more): (Vec<_>, Vec<_>) =
        held.into_iter().partition(|privilege| ["SELECT", "INSERT"].contains(&privilege.as_str()));
    if needed.len() < 2 {
        let found = format!("{role} needs SELECT and INSERT on events and has {needed:?}");
        checks.push(Check::wrong(NAME, found, "counterfoil migrate"));
    }
    if !lacking.is_empty() {
        let found = format!("{role} cannot work on {}", lacking.join(", "));
        checks.push(Check::wrong(NAME, found, "counterfoil migrate"));
    }
    if !more.is_empty() && held_back {
        let more = more.join(", ");
        let mend = format!("REVOKE {more} ON events FROM {}, PUBLIC", quoted(&role));
        let found = format!("{role} has {more} on events, which only the trigger holds back");
        checks.push(Check::wrong(NAME, found, patient.shell.run(&mend)));
    }
    if checks.is_empty() {
        checks.push(Check::good(
            NAME,
            match held_back {
                true => format!("{role} may INSERT and SELECT on events, and nothing else there"),
                false => format!(
                    "{role} may do everything on events, as its owner; only the trigger holds it back"
                ),
            },
        ));
    }
    Ok(checks)
}
