//! Migrations, and the trigger.

use super::Patient;
use super::report::Check;
use crate::postgres::migrate::{self, Difference, MIGRATOR};

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
