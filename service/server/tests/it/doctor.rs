//! `counterfoil doctor`: what is whole is found whole, and whatever breaks is named with what mends it.

mod places;
mod servers;
mod services;

use crate::support::PATIENCE;
use crate::support::program::Program;
use counterfoil::postgres::private::PrivateCluster;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use std::process::Output;
use std::time::Instant;

/// What `doctor --json` printed.
struct Found(Value);

impl Found {
    fn of(output: &Output) -> Self {
        let document: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(document["ok"], output.status.success(), "{document}");
        Self(document)
    }

    /// Names and findings of one judgement.
    fn judged(&self, judgement: &str) -> Vec<(String, String)> {
        let text = |check: &Value, field: &str| check[field].as_str().unwrap().to_string();
        let checks = self.0["checks"].as_array().unwrap().iter();
        let judged = checks.filter(|check| check["judgement"] == judgement);
        judged.map(|check| (text(check, "name"), text(check, "found"))).collect()
    }

    fn assert_whole(&self, of: &str) {
        assert_eq!(self.judged("wrong"), [], "{of}");
        assert_eq!(self.judged("note"), [], "{of}");
    }

    /// What mends the one thing of this name that is found wrong, or noted.
    fn mend(&self, judgement: &str, name: &str, words: &str) -> String {
        let checks = self.0["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| {
            let found = check["found"].as_str().unwrap();
            check["name"] == name && check["judgement"] == judgement && found.contains(words)
        });
        let found = found.unwrap_or_else(|| panic!("{name} with {words:?} is not {judgement}: {}", self.0));
        found["mend"].as_str().unwrap().to_string()
    }
}

fn doctor(program: &Program) -> Found {
    Found::of(&program.beside("counterfoil").args(["doctor", "--json"]).output().unwrap())
}

/// Asks until what was set right shows: a service that was held up comes back within a moment.
fn until_whole(program: &Program, of: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = doctor(program);
        if found.judged("wrong").is_empty() || Instant::now() > until {
            return found.assert_whole(of);
        }
    }
}

/// Rotates the owner's token, and uses the new plaintext until the one before it is over.
async fn rotate_and_use(program: &Program) {
    let (client, old) = (reqwest::Client::new(), program.printed("owner", "token"));
    let about = |method, path: &str, token: &str| {
        client.request(method, format!("{}{path}", program.base())).bearer_auth(token)
    };
    let rotated = about(Method::POST, "/v1/token/rotate", &old).json(&json!({})).send().await.unwrap();
    let rotated: Value = rotated.error_for_status().unwrap().json().await.unwrap();
    let (new, until) = (rotated["plaintext"].as_str().unwrap(), Instant::now() + PATIENCE);
    while about(Method::GET, "/v1/token", &old).send().await.unwrap().status() != StatusCode::UNAUTHORIZED {
        about(Method::GET, "/v1/token", new).send().await.unwrap().error_for_status().unwrap();
        assert!(Instant::now() < until, "the old plaintext does not end");
    }
}

async fn run(administrator: &mut PgConnection, sql: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(administrator).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// How a thing is broken, under which name and words that is found, and what undoes it: nothing where the command
/// that doctor names does.
type Break = (&'static str, &'static str, &'static str, Option<&'static str>);

const SCHEMA: [Break; 30] = [
    ("DROP TRIGGER events_are_append_only ON events", "trigger", "not there", None),
    ("ALTER TABLE events DISABLE TRIGGER events_are_append_only", "trigger", "disabled", None),
    (
        "CREATE OR REPLACE TRIGGER events_are_append_only BEFORE UPDATE OR DELETE ON events
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_edit_events()",
        "trigger",
        "every UPDATE, DELETE and TRUNCATE",
        None,
    ),
    (
        "CREATE OR REPLACE TRIGGER events_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
            FOR EACH STATEMENT WHEN (current_user = 'nobody') EXECUTE FUNCTION refuse_to_edit_events()",
        "trigger",
        "every UPDATE, DELETE and TRUNCATE",
        None,
    ),
    (
        "CREATE OR REPLACE FUNCTION refuse_to_edit_events() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RETURN NULL; END $$",
        "trigger",
        "not the one that was made",
        None,
    ),
    (
        "ALTER ROLE counterfoil_service SET session_replication_role = replica",
        "trigger",
        "does not fire",
        Some(
            "ALTER ROLE counterfoil_service RESET session_replication_role;
             ALTER TABLE events ENABLE TRIGGER events_are_append_only",
        ),
    ),
    ("GRANT UPDATE ON events TO counterfoil_service", "grants", "has UPDATE", None),
    ("GRANT UPDATE (record) ON events TO counterfoil_service", "grants", "has UPDATE", None),
    ("GRANT DELETE, TRUNCATE ON events TO PUBLIC", "grants", "has DELETE, TRUNCATE", None),
    ("REVOKE INSERT ON events FROM counterfoil_service", "grants", "needs SELECT and INSERT", None),
    ("REVOKE DELETE ON tokens FROM counterfoil_service", "grants", "cannot work on tokens", None),
    ("GRANT counterfoil_owner TO counterfoil_service", "roles", "can become counterfoil_owner", None),
    ("ALTER ROLE counterfoil_service CREATEROLE", "roles", "more than any grant", None),
    ("GRANT pg_write_server_files TO counterfoil_service", "roles", "write files, as the server", None),
    ("ALTER SCHEMA public OWNER TO counterfoil_service", "roles", "owns the schema", None),
    ("ALTER TABLE events OWNER TO postgres", "roles", "events belongs to postgres", None),
    (
        "REASSIGN OWNED BY counterfoil_owner TO postgres",
        "roles",
        "_sqlx_migrations, claimed_digests, claimed_slots",
        None,
    ),
    ("ALTER ROLE counterfoil_service NOLOGIN", "roles", "may not log in", None),
    (
        "ALTER ROLE counterfoil_owner RENAME TO elsewhere",
        "roles",
        "are not both there",
        Some("ALTER ROLE elsewhere RENAME TO counterfoil_owner"),
    ),
    (
        "ALTER ROLE counterfoil_service RENAME TO elsewhere",
        "grants",
        "there is no counterfoil_service",
        Some("ALTER ROLE elsewhere RENAME TO counterfoil_service"),
    ),
    ("ALTER DATABASE counterfoil SET synchronous_commit = off", "settings", "synchronous_commit", None),
    (
        "ALTER ROLE counterfoil_service SET default_transaction_isolation = 'repeatable read'",
        "settings",
        "default_transaction_isolation",
        None,
    ),
    (
        "ALTER ROLE counterfoil_service IN DATABASE counterfoil SET default_transaction_read_only = on",
        "settings",
        "transaction_read_only",
        None,
    ),
    // Whoever migrates is refused as the service is.
    ("ALTER ROLE postgres SET synchronous_commit = off", "settings", "synchronous_commit", None),
    ("ALTER ROLE postgres SET default_transaction_read_only = on", "settings", "transaction_read_only", None),
    // Who mends it finds a session that only reads, too.
    (
        "ALTER DATABASE counterfoil SET default_transaction_read_only = on",
        "settings",
        "transaction_read_only",
        None,
    ),
    (
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            VALUES (9999, 'later', true, 'x', 0)",
        "migrations",
        "migration 9999 is of a newer counterfoil",
        Some("DELETE FROM _sqlx_migrations WHERE version = 9999"),
    ),
    (
        "UPDATE _sqlx_migrations SET success = false WHERE version = 2",
        "migrations",
        "migration 2 was begun",
        Some("UPDATE _sqlx_migrations SET success = true WHERE version = 2"),
    ),
    (
        "UPDATE _sqlx_migrations SET checksum = checksum || 'x' WHERE version = 1",
        "migrations",
        "migration 1 is not the one",
        Some(
            "UPDATE _sqlx_migrations SET checksum = substring(checksum for length(checksum) - 1)
                WHERE version = 1",
        ),
    ),
    (
        "CREATE TABLE kept AS TABLE _sqlx_migrations; DELETE FROM _sqlx_migrations WHERE version = 3",
        "migrations",
        "migration 3 was not run",
        Some("INSERT INTO _sqlx_migrations SELECT * FROM kept WHERE version = 3; DROP TABLE kept"),
    ),
];

const TABLES: [Break; 7] = [
    (
        "CREATE TABLE kept AS SELECT * FROM claimed_digests LIMIT 1;
         DELETE FROM claimed_digests c USING kept WHERE c.digest = kept.digest",
        "claims",
        "1 digests of standing tokens are not claimed",
        Some("INSERT INTO claimed_digests SELECT * FROM kept; DROP TABLE kept"),
    ),
    (
        "INSERT INTO claimed_digests (digest, token_id) SELECT decode(repeat('00', 32), 'hex'), id FROM tokens LIMIT 1",
        "claims",
        "1 digests are claimed by no standing token",
        Some("DELETE FROM claimed_digests WHERE digest = decode(repeat('00', 32), 'hex')"),
    ),
    (
        "CREATE TABLE kept AS SELECT * FROM claimed_slots; DELETE FROM claimed_slots",
        "claims",
        "1 standing personal tokens do not hold their slot",
        Some("INSERT INTO claimed_slots SELECT * FROM kept; DROP TABLE kept"),
    ),
    (
        "INSERT INTO claimed_slots SELECT user_id, 49, id, expires_at FROM tokens WHERE slot IS NOT NULL",
        "claims",
        "1 slots are held by no standing token",
        Some("DELETE FROM claimed_slots WHERE slot = 49"),
    ),
    (
        "INSERT INTO slot_eras SELECT user_id, 7 FROM claimed_slots",
        "claims",
        "1 slots are held by no standing token",
        Some("DELETE FROM slot_eras"),
    ),
    // The tables say that a token ended, which the index of the running service was never told.
    (
        "UPDATE tokens SET ended_seq = 1 WHERE slot IS NOT NULL",
        "index",
        "digests where the tables have 1",
        Some("UPDATE tokens SET ended_seq = NULL WHERE slot IS NOT NULL"),
    ),
    (
        "SET session_replication_role = replica;
         UPDATE events SET decided_at = decided_at + interval '1 hour' WHERE seq = (SELECT max(seq) FROM events)",
        "last event",
        "s ahead of the clocks",
        Some(
            "UPDATE events SET decided_at = decided_at - interval '1 hour' WHERE seq = (SELECT max(seq) FROM events);
             RESET session_replication_role",
        ),
    ),
];

/// Breaks things one after the other beside a running service.
async fn breaks(breaks: &[Break]) {
    let program = Program::made().await;
    let cluster = PrivateCluster::enter(program.data_dir(), &|_| {}).await.unwrap();
    let mut administrator = cluster.superuser("counterfoil").connect().await.unwrap();
    until_whole(&program, "untouched");
    for (sql, name, words, undo) in breaks {
        run(&mut administrator, sql).await;
        let mend = doctor(&program).mend("wrong", name, words);
        match undo {
            Some(undo) => run(&mut administrator, undo).await,
            None => {
                let done = program.beside("bash").args(["-euc", &mend]).output().unwrap();
                assert!(done.status.success(), "{mend}: {}", String::from_utf8_lossy(&done.stderr));
            }
        }
        until_whole(&program, sql);
    }
    administrator.close().await.unwrap();
    cluster.leave(&|_| {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_in_roles_settings_and_schema_is_named_and_the_named_command_mends_it() {
    breaks(&SCHEMA).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_between_the_log_the_tables_and_the_index_is_named() {
    breaks(&TABLES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_service_is_whole_while_it_runs_and_after() {
    let mut program = Program::made().await;
    until_whole(&program, "beside");
    rotate_and_use(&program).await;
    until_whole(&program, "after a rotation");
    let shown = program.beside("counterfoil").arg("doctor").output().unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    for name in [
        "api.addr",
        "metrics.addr",
        "sealing key",
        "private cluster",
        "disk",
        "connection",
        "pooler",
        "version",
        "settings",
        "migrations",
        "clock",
        "roles",
        "grants",
        "trigger",
        "last event",
        "claims",
        "index",
    ] {
        assert!(text.lines().any(|line| line.starts_with(&format!("✓ {name}: "))), "{name}: {text}");
    }
    assert!(text.lines().all(|line| line.starts_with('✓')), "{text}");
    assert!(
        text.contains("is held by a running counterfoil") && text.contains("has applied event"),
        "{text}"
    );
    program.stop().await;
    let found = doctor(&program);
    found.assert_whole("after");
    let good = found.judged("good");
    assert!(
        good.iter().any(|(name, found)| name == "index" && found.contains("no service runs")),
        "{good:?}"
    );
    assert!(good.iter().any(|(name, found)| name == "api.addr" && found.contains("is free")), "{good:?}");
    assert!(!program.data_dir().join("postgres/postmaster.pid").exists(), "it started it and stops it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_a_running_service_cannot_apply_shows_in_the_index() {
    let program = Program::made().await;
    let cluster = PrivateCluster::enter(program.data_dir(), &|_| {}).await.unwrap();
    let mut administrator = cluster.superuser("counterfoil").connect().await.unwrap();
    until_whole(&program, "untouched");
    let sql =
        "INSERT INTO events SELECT seq + 1, '{}', chain, 'unheard.of', NULL, subject_id, NULL, decided_at
        FROM events ORDER BY seq DESC LIMIT 1";
    run(&mut administrator, sql).await;
    let until = Instant::now() + PATIENCE;
    while doctor(&program).judged("wrong").iter().all(|(name, _)| name != "index") {
        assert!(Instant::now() < until);
    }
    administrator.close().await.unwrap();
    cluster.leave(&|_| {}).await.unwrap();
}
