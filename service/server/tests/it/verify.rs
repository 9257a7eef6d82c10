//! `verify` and `replay`: what is whole is found whole, and every planted corruption is named.

mod beside;
mod corruptions;
mod downloads;
mod instants;
mod rebuilds;
mod replays;

use crate::support::{Service, everything};
use crate::whole::whole;
use corruptions::corruptions;
use counterfoil::clock::Clock;
use counterfoil::event_log::replay::{self, Replayed};
use counterfoil::event_log::verify::{self, Difference, Progress, Until, Verified};
use counterfoil_domain::event::Event;
use counterfoil_domain::timestamp::Timestamp;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

async fn verified(service: &Service) -> Verified {
    verify::verify(&service.database.pool, &Arc::new(Progress::default())).await.unwrap()
}

async fn of_file(path: &Path) -> Verified {
    verify::download(path, &Arc::new(Progress::default())).await.unwrap()
}

async fn replayed(service: &Service, until: Option<Until>) -> Replayed {
    let now = Clock::system().now();
    replay::database(&service.database.pool, until, now, &Arc::new(Progress::default())).await.unwrap()
}

/// The program, on the service's own data.
pub(crate) fn program(service: &Service, arguments: &[&str]) -> Output {
    let cluster = service.database.private.as_ref().unwrap();
    Command::new(env!("CARGO_BIN_EXE_counterfoil"))
        .args(arguments)
        .env("COUNTERFOIL__DATA_DIR", cluster.cluster_dir().parent().unwrap())
        .output()
        .unwrap()
}

/// Every table that is put back after each corruption.
const TABLES: [&str; 12] = [
    "events",
    "organizations",
    "environments",
    "users",
    "gateways",
    "tokens",
    "claimed_slots",
    "claimed_digests",
    "slot_eras",
    "personal_values",
    "sign_in_names",
    "password_hashes",
];

/// Tables that nothing can be said of by the log: they are not derived from it.
const NOT_DERIVED: [&str; 5] =
    ["_sqlx_migrations", "idempotency_keys", "operator_requests", "sessions", "token_usage"];

async fn run(superuser: &mut PgConnection, sql: &str) -> u64 {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(superuser)
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e}"))
        .rows_affected()
}

/// An administrator of the database, past the trigger, with a copy of everything.
async fn administrator(service: &Service) -> PgConnection {
    let cluster = service.database.private.as_ref().unwrap();
    let mut superuser = cluster.superuser("counterfoil").connect().await.unwrap();
    run(&mut superuser, "SET session_replication_role = replica; CREATE SCHEMA saved").await;
    // As after some hundred changes.
    run(&mut superuser, "INSERT INTO slot_eras SELECT DISTINCT user_id, 7 FROM claimed_slots").await;
    run(&mut superuser, "UPDATE claimed_slots SET era = 7").await;
    for table in TABLES {
        run(&mut superuser, &format!("CREATE TABLE saved.{table} AS TABLE {table}")).await;
    }
    superuser
}

async fn put_back(superuser: &mut PgConnection) {
    run(superuser, "DROP TABLE IF EXISTS saved.planted").await;
    for table in TABLES {
        run(
            superuser,
            &format!("BEGIN; TRUNCATE {table}; INSERT INTO {table} SELECT * FROM saved.{table}; COMMIT"),
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_corruption_is_named() {
    let service = Service::start().await;
    let made = everything(&service).await;
    whole(&service).await;
    let names: BTreeSet<String> = sqlx::query_scalar("SELECT DISTINCT type FROM events")
        .fetch_all(&service.database.pool)
        .await
        .unwrap()
        .into_iter()
        .collect();
    assert_eq!(names, Event::NAMES.iter().map(ToString::to_string).collect(), "something never happened");
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
            .fetch_all(&service.database.pool)
            .await
            .unwrap();
    let known: BTreeSet<&str> = TABLES.into_iter().chain(NOT_DERIVED).collect();
    assert_eq!(tables, known.into_iter().collect::<Vec<_>>(), "a table that verify does not know");
    let clean = verified(&service).await;
    assert_eq!(clean.findings.first, []);
    assert_eq!(clean.events, clean.head);
    let printed = program(&service, &["verify", "--json"]);
    let document: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert!(printed.status.success());
    assert_eq!(
        (&document["ok"], &document["events"], &document["chain"]),
        (&json!(true), &json!(clean.head), &json!(clean.chain))
    );
    assert!(document["events_per_second"].as_u64().unwrap() > 0);

    let mut superuser = administrator(&service).await;
    for (sql, table, what) in corruptions(&service, &made) {
        assert_ne!(run(&mut superuser, &sql).await, 0, "{sql}");
        let found = verified(&service).await.findings;
        let named = found.first.iter().any(|difference| {
            difference.table.unwrap_or_default() == table && difference.what.contains(what)
        });
        assert!(named, "{sql}: {:#?}", found.first);
        assert!(found.count < 200, "{sql}: {:#?}", found.first);
        put_back(&mut superuser).await;
    }
    let narrow = made.narrow;
    run(&mut superuser, &format!("UPDATE tokens SET scopes = 'read write' WHERE id = '{narrow}'")).await;
    let printed = program(&service, &["verify"]);
    assert_eq!(printed.status.code(), Some(1));
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(
        text.contains(&format!(
            "tokens {narrow}: scopes is [\"read\",\"write\"] in the table and [\"read\"] by the log"
        )),
        "{text}"
    );
    put_back(&mut superuser).await;
    gaps_before_a_moment(&service, &mut superuser).await;
    without_keys(&service, &mut superuser).await;
    without_a_value(&service, &mut superuser).await;
    service.stop().await;
}

/// The last event before a moment is gone: what comes after it would show that, and is not walked.
async fn gaps_before_a_moment(service: &Service, superuser: &mut PgConnection) {
    let sql = "SELECT e.seq, after.decided_at FROM events e JOIN events after ON after.seq = e.seq + 1
        WHERE e.decided_at < after.decided_at ORDER BY e.seq DESC LIMIT 1";
    let (seq, at): (i64, time::OffsetDateTime) =
        sqlx::query_as(sql).fetch_one(&mut *superuser).await.unwrap();
    run(superuser, &format!("DELETE FROM events WHERE seq = {seq}")).await;
    for until in [Until::Seq(seq as u64), Until::Instant(Timestamp::from_offset_date_time(at))] {
        let found = replayed(service, Some(until)).await.findings.first;
        let gap = |difference: &Difference| {
            difference.seq == Some(seq as u64) && difference.what.contains("the log has a gap")
        };
        assert!(found.iter().any(gap), "{until:?}: {found:#?}");
    }
    put_back(superuser).await;
}

/// Who may drop keys and constraints may have rows twice, and values of any length: each is named, and ends nothing.
async fn without_keys(service: &Service, superuser: &mut PgConnection) {
    run(superuser, "ALTER TABLE events DROP CONSTRAINT events_chain_check").await;
    run(superuser, "UPDATE events SET chain = 'short' WHERE seq = 3").await;
    let found = verified(service).await.findings.first;
    let of_the_chain = |seq| {
        move |difference: &&Difference| difference.seq == Some(seq) && difference.what.contains("chain value")
    };
    assert_eq!(found.iter().filter(of_the_chain(3)).count(), 1, "{found:#?}");
    put_back(superuser).await;
    for table in TABLES.into_iter().filter(|table| *table != "events") {
        let keys = format!(
            "DO $$ DECLARE key name; BEGIN FOR key IN SELECT conname FROM pg_constraint
                WHERE conrelid = '{table}'::regclass AND contype IN ('p', 'u')
             LOOP EXECUTE format('ALTER TABLE {table} DROP CONSTRAINT %I', key); END LOOP; END $$"
        );
        run(superuser, &keys).await;
        run(superuser, &format!("INSERT INTO {table} SELECT * FROM {table} LIMIT 1")).await;
        let found = verified(service).await.findings.first;
        let twice = found
            .iter()
            .any(|difference| difference.table == Some(table) && difference.what.contains("more than once"));
        assert!(twice, "{table}: {found:#?}");
        put_back(superuser).await;
    }
}

/// Who may drop constraints may leave any field out: the row is named, and the walk goes on.
async fn without_a_value(service: &Service, superuser: &mut PgConnection) {
    // Keys are gone already.
    let sql = "DO $$ DECLARE checked record; BEGIN
        FOR checked IN SELECT conrelid::regclass AS relation, conname FROM pg_constraint
            WHERE contype IN ('c', 'p') AND connamespace = 'public'::regnamespace
        LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', checked.relation, checked.conname); END LOOP; END $$";
    run(superuser, sql).await;
    let sql = "SELECT attrelid::regclass::text, attname::text FROM pg_attribute
        WHERE attrelid = ANY ($1::regclass[]) AND attnum > 0 AND attnotnull ORDER BY attrelid::regclass::text, attnum";
    let columns: Vec<(String, String)> =
        sqlx::query_as(sql).bind(TABLES.map(String::from)).fetch_all(&mut *superuser).await.unwrap();
    assert!(columns.len() > 40, "{columns:?}");
    for (table, column) in columns {
        run(superuser, &format!("ALTER TABLE {table} ALTER {column} DROP NOT NULL")).await;
        let sql = format!("UPDATE {table} SET {column} = NULL WHERE ctid = (SELECT max(ctid) FROM {table})");
        assert_eq!(run(superuser, &sql).await, 1, "{table}.{column}");
        let found = verified(service).await.findings.first;
        let of_it = |difference: &&Difference| match &*table {
            "events" => difference.seq.is_some(),
            _ => difference.table == Some(&table),
        };
        let named: Vec<_> = found.iter().filter(of_it).collect();
        assert!(!named.is_empty(), "{table}.{column}: {found:#?}");
        // Whoever is there is not missed besides.
        let is_its_id =
            ["id", "token_id", "user_id", "seq", "digest", "slot", "era", "key"].contains(&&*column);
        let missed = named.iter().any(|difference| difference.what.contains("is not there"));
        assert!(is_its_id || !missed, "{table}.{column}: {named:#?}");
        put_back(superuser).await;
    }
}
