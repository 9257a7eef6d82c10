//! PostgreSQL itself: its version, and the settings under which our sessions run.

use super::report::Check;
use super::{Patient, bounded};
use crate::postgres::private::OLDEST;
use crate::postgres::roles::quoted;
use crate::postgres::{settings, version};
use sqlx::Connection;

/// It is one of those that are supported.
pub(super) async fn version(patient: &mut Patient) -> Result<Vec<Check>, sqlx::Error> {
    let sql = "SELECT current_setting('server_version'), current_setting('server_version_num')::int";
    let (text, number): (String, i32) = sqlx::query_as(sql).fetch_one(&mut patient.administrator).await?;
    Ok(vec![judge(&text, number as u32)])
}

pub(super) fn judge(text: &str, number: u32) -> Check {
    let found = format!("PostgreSQL {text}");
    if version::is_supported(number) {
        return Check::good("version", found);
    }
    let mend = format!("upgrade it (pg_upgrade) to {OLDEST} or newer");
    Check::wrong("version", format!("{found} is older than {OLDEST}"), mend)
}

/// The sessions of ours have the settings without which no promise could be kept: those that serve, and those that migrate,
/// without which none serves.
pub(super) async fn settings(patient: &mut Patient) -> Result<Vec<Check>, sqlx::Error> {
    // It reads only, whatever is set: no setting mends that.
    if sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&mut patient.administrator).await? {
        return Ok(vec![standby(patient)]);
    }
    let mut checks: Vec<Check> = Vec::new();
    for options in [&patient.service, &patient.migrating] {
        let mut session = bounded(options).await?;
        for settings::Wrong { name, found, wanted, why } in settings::wrong(&mut session).await? {
            let mend = mend(patient, &mut session, name, wanted).await?;
            let found = format!("{name} is {found:?} and must be {wanted:?}: {why}");
            // What was set for all shows in each.
            if checks.iter().all(|check| check.mend.as_ref() != Some(&mend)) {
                checks.push(Check::wrong("settings", found, mend));
            }
        }
        session.close().await?;
    }
    if checks.is_empty() {
        let found = format!("all {} that matter are as they must be in a session of ours", settings::COUNT);
        checks.push(Check::good("settings", found));
    }
    Ok(checks)
}

fn standby(patient: &Patient) -> Check {
    let found = "the server is a standby: nothing can be written to it, and what it shows may be old";
    let promote = patient.shell.run("SELECT pg_promote()");
    Check::wrong("settings", found, format!("connect to the primary; if that is lost for good: {promote}"))
}

/// What sets it right, where it was set wrong.
async fn mend(
    patient: &Patient,
    session: &mut sqlx::PgConnection,
    name: &str,
    wanted: &str,
) -> Result<String, sqlx::Error> {
    if name == "server_encoding" {
        return Ok("make a database with ENCODING 'UTF8' TEMPLATE template0, and move the data to it".into());
    }
    if name == "plan_cache_mode" {
        return Ok("connect to PostgreSQL itself instead of a pooler".into());
    }
    // `transaction_*` follow a default; that is what can be set.
    let set = if name == "transaction_read_only" { "default_transaction_read_only" } else { name };
    let source: String = sqlx::query_scalar("SELECT source FROM pg_settings WHERE name = $1")
        .bind(set)
        .fetch_one(&mut *session)
        .await?;
    let (database, role): (String, String) =
        sqlx::query_as("SELECT current_database()::text, session_user::text").fetch_one(session).await?;
    let sql = match source.as_str() {
        "database" => format!("ALTER DATABASE {} RESET {set}", quoted(&database)),
        "user" => format!("ALTER ROLE {} RESET {set}", quoted(&role)),
        "database user" => {
            format!("ALTER ROLE {} IN DATABASE {} RESET {set}", quoted(&role), quoted(&database))
        }
        _ => {
            let set = patient.shell.run(&format!("ALTER SYSTEM SET {set} = '{wanted}'"));
            return Ok(format!("{set} && {}", patient.shell.run("SELECT pg_reload_conf()")));
        }
    };
    Ok(match set {
        "default_transaction_read_only" => patient.shell.run_writing(&sql),
        _ => patient.shell.run(&sql),
    })
}

#[cfg(test)]
mod tests {
    use super::super::report::Judgement;
    use super::*;

    #[test]
    fn an_old_version_is_wrong() {
        assert_eq!(judge("13.14", 130_014).judgement, Judgement::Wrong);
        assert_eq!(judge("14.0", 140_000).judgement, Judgement::Good);
        assert_eq!(judge("19beta1", 190_000).judgement, Judgement::Good);
    }
}
