//! Roles, grants, the trigger, migrations.

use super::Patient;
use super::report::Check;
use crate::postgres::migrate::{self, Difference, MIGRATOR, quoted};
use sqlx::Row;

/// Whether the log's table is there.
pub(super) async fn is_there(patient: &mut Patient) -> bool {
    let there = sqlx::query_scalar("SELECT to_regclass('public.events') IS NOT NULL");
    there.fetch_one(&mut patient.administrator).await.unwrap_or(false)
}

/// What was run is what there is.
pub(super) async fn migrations(patient: &mut Patient) -> Result<Vec<Check>, sqlx::Error> {
    const NAME: &str = "migrations";
    let found = migrate::differences(&mut patient.administrator).await?;
    if found.is_empty() {
        let count = MIGRATOR.iter().count();
        return Ok(vec![Check::good(NAME, format!("all {count} were run, and none but these"))]);
    }
    let restore = "run the version that made it; a changed schema is brought back from a backup";
    let check = |difference: &Difference| match difference {
        Difference::Empty => {
            Check::note(NAME, "none was run yet: the first start does that", "counterfoil migrate")
        }
        Difference::Missing(version) => {
            Check::wrong(NAME, format!("migration {version} was not run"), "counterfoil migrate")
        }
        Difference::Newer(version) => Check::wrong(
            NAME,
            format!("migration {version} is of a newer counterfoil"),
            "run that version: this one does not know what the tables mean",
        ),
        Difference::Changed(version) => {
            Check::wrong(NAME, format!("migration {version} is not the one of this version"), restore)
        }
        Difference::Unfinished(version) => {
            Check::wrong(NAME, format!("migration {version} was begun and not finished"), restore)
        }
    };
    Ok(found.iter().map(check).collect())
}

/// The role that the service works as can neither change the schema nor become who can.
pub(super) async fn roles(patient: &mut Patient) -> Result<Vec<Check>, sqlx::Error> {
    const NAME: &str = "roles";
    let (owner, service) = (patient.roles.owner.clone(), patient.roles.service.clone());
    let login: String =
        sqlx::query_scalar("SELECT session_user::text").fetch_one(&mut patient.administrator).await?;
    if !patient.two_roles {
        let found = format!(
            "one role, {login}, owns the tables and serves: the trigger guards the log against mistakes and injected \
             SQL, but this role can drop it; `verify` finds what was changed without rewriting the rest of the log"
        );
        let mend = format!("as an administrator: ALTER ROLE {} CREATEROLE, then start again", quoted(&login));
        return Ok(vec![Check::note(NAME, found, mend)]);
    }
    let sql = "SELECT s.rolsuper OR s.rolcreaterole OR s.rolbypassrls,
            pg_has_role(s.oid, o.oid, 'MEMBER'),
            pg_get_userbyid(c.relowner)::text,
            s.rolcanlogin
        FROM pg_roles s, pg_roles o, pg_class c
        WHERE s.rolname = $1 AND o.rolname = $2 AND c.oid = 'public.events'::regclass";
    let row = sqlx::query(sql).bind(&service).bind(&owner).fetch_optional(&mut patient.administrator).await?;
    let Some(row) = row else {
        let found = format!("the roles {owner} and {service} are not both there");
        return Ok(vec![Check::wrong(NAME, found, "counterfoil migrate")]);
    };
    let (strong, member, holder, may_login): (bool, bool, String, bool) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let mut checks = Vec::new();
    let name = quoted(&service);
    let mut wrong =
        |found: String, sql: String| checks.push(Check::wrong(NAME, found, patient.shell.run(&sql)));
    if strong {
        let sql = format!("ALTER ROLE {name} NOSUPERUSER NOCREATEROLE NOBYPASSRLS");
        wrong(format!("{service} may more than any grant says"), sql);
    } else if member {
        let sql = format!("REVOKE {} FROM {name}", quoted(&owner));
        wrong(format!("{service} can become {owner}, who can drop the trigger"), sql);
    }
    if holder != owner {
        let sql = format!("ALTER TABLE events OWNER TO {}", quoted(&owner));
        wrong(format!("events belongs to {holder} instead of {owner}"), sql);
    }
    if !may_login {
        wrong(format!("{service} may not log in"), format!("ALTER ROLE {name} LOGIN"));
    }
    if checks.is_empty() {
        checks
            .push(Check::good(NAME, format!("{owner} owns the tables, and the service works as {service}")));
    }
    Ok(checks)
}

/// The service may add to the log and read it, and nothing else.
pub(super) async fn grants(patient: &mut Patient) -> Result<Vec<Check>, sqlx::Error> {
    const NAME: &str = "grants";
    let login: String =
        sqlx::query_scalar("SELECT session_user::text").fetch_one(&mut patient.administrator).await?;
    let role = if patient.two_roles { patient.roles.service.clone() } else { login };
    let there: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_roles WHERE rolname = $1")
        .bind(&role)
        .fetch_optional(&mut patient.administrator)
        .await?;
    if there.is_none() {
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
    if !more.is_empty() && patient.two_roles {
        let more = more.join(", ");
        let mend = format!("REVOKE {more} ON events FROM {}, PUBLIC", quoted(&role));
        let found = format!("{role} has {more} on events, which only the trigger holds back");
        checks.push(Check::wrong(NAME, found, patient.shell.run(&mend)));
    }
    if checks.is_empty() {
        checks.push(Check::good(
            NAME,
            match patient.two_roles {
                true => format!("{role} may INSERT and SELECT on events, and nothing else there"),
                false => format!(
                    "{role} may do everything on events, as its owner; only the trigger holds it back"
                ),
            },
        ));
    }
    Ok(checks)
}

/// BEFORE, for each statement, UPDATE, DELETE and TRUNCATE: the bits of `pg_trigger.tgtype`.
const REFUSES: i16 = 2 | 8 | 16 | 32;

/// What refuses to edit events is there, whole, enabled, and as it was made.
pub(super) async fn trigger(patient: &mut Patient) -> Result<Vec<Check>, sqlx::Error> {
    const NAME: &str = "trigger";
    let sql =
        "SELECT t.tgenabled::text, t.tgtype, t.tgqual IS NULL AND cardinality(t.tgattr::int2[]) = 0, p.prosrc
        FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
        WHERE t.tgrelid = 'public.events'::regclass AND t.tgname = 'events_are_append_only'";
    let found: Option<(String, i16, bool, String)> =
        sqlx::query_as(sql).fetch_optional(&mut patient.administrator).await?;
    let made = "CREATE TRIGGER events_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_edit_events()";
    let wrong = |patient: &Patient, found: &str, sql: &str| {
        vec![Check::wrong(NAME, found, format!("{} && counterfoil verify", patient.shell.run(sql)))]
    };
    let Some((enabled, kind, always, source)) = found else {
        return Ok(wrong(
            patient,
            "the trigger that refuses to edit events is not there: they may have been edited",
            made,
        ));
    };
    if !["O", "A"].contains(&enabled.as_str()) {
        let enable = "ALTER TABLE events ENABLE TRIGGER events_are_append_only";
        return Ok(wrong(
            patient,
            "the trigger that refuses to edit events is disabled: they may have been edited",
            enable,
        ));
    }
    if kind != REFUSES || !always {
        let anew = made.replacen("CREATE TRIGGER", "CREATE OR REPLACE TRIGGER", 1);
        return Ok(wrong(patient, "the trigger does not refuse every UPDATE, DELETE and TRUNCATE", &anew));
    }
    if !is_as_made(&source) {
        let anew = "CREATE OR REPLACE FUNCTION refuse_to_edit_events() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'events are append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation'; END $$";
        return Ok(wrong(patient, "the trigger's function is not the one that was made", anew));
    }
    let mut session = super::bounded(&patient.service).await?;
    let role: String = sqlx::query_scalar("SELECT current_setting('session_replication_role')")
        .fetch_one(&mut session)
        .await?;
    if role == "replica" && enabled != "A" {
        let always = "ALTER TABLE events ENABLE ALWAYS TRIGGER events_are_append_only";
        return Ok(wrong(patient, "session_replication_role is replica: the trigger does not fire", always));
    }
    Ok(vec![Check::good(NAME, "UPDATE, DELETE and TRUNCATE on events are refused")])
}

/// Whether a function's body is the one that a migration gave it, but for blanks.
fn is_as_made(source: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let body = words(source);
    body.contains("RAISE EXCEPTION")
        && MIGRATOR.iter().any(|migration| words(migration.sql.as_str()).contains(&format!("$$ {body} $$")))
}
