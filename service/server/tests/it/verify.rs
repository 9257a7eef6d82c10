//! `verify` and `replay`: what is whole is found whole, and every planted corruption is named.

use crate::audit::stream;
use crate::support::{Service, everything};
use counterfoil::clock::Clock;
use counterfoil::event_log::replay::{self, Replayed};
use counterfoil::event_log::verify::{self, Progress, Until, Verified};
use counterfoil_domain::event::Event;
use counterfoil_domain::ids::TokenId;
use reqwest::Method;
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
fn program(service: &Service, arguments: &[&str]) -> Output {
    let cluster = service.database.private.as_ref().unwrap();
    Command::new(env!("CARGO_BIN_EXE_counterfoil"))
        .args(arguments)
        .env("COUNTERFOIL__DATA_DIR", cluster.cluster_dir().parent().unwrap())
        .output()
        .unwrap()
}

/// Every table that is put back after each corruption.
const TABLES: [&str; 11] = [
    "events",
    "organizations",
    "environments",
    "users",
    "gateways",
    "tokens",
    "claimed_slots",
    "claimed_digests",
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
    for table in TABLES {
        run(&mut superuser, &format!("CREATE TABLE saved.{table} AS TABLE {table}")).await;
    }
    superuser
}

async fn put_back(superuser: &mut PgConnection) {
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
    assert_eq!((clean.events, clean.erased), (clean.head, 0));
    let printed = program(&service, &["verify", "--json"]);
    let document: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert!(printed.status.success());
    assert_eq!(
        (&document["ok"], &document["events"], &document["chain"]),
        (&json!(true), &json!(clean.head), &json!(clean.chain))
    );
    assert!(document["events_per_second"].as_u64().unwrap() > 0);

    let (narrow, revoked) = (made.narrow, made.revoked);
    let (owner, member) = (service.made.owner.id, made.member.user);
    let organization = service.made.organization.id;
    let of = |name: &str, token: TokenId| {
        format!("(SELECT max(seq) FROM events WHERE type = '{name}' AND subject_id = '{token}')")
    };
    let (scoped, ended) = (of("token.scoped", narrow), of("token.revoked", revoked));
    let digest = "decode(repeat('ab', 32), 'hex')";
    let corruptions: Vec<(String, &str, &str)> = vec![
        // The tables.
        (format!("UPDATE tokens SET digest = {digest} WHERE id = '{narrow}'"), "tokens", "digest is"),
        (format!("UPDATE tokens SET scopes = 'read write' WHERE id = '{narrow}'"), "tokens", "scopes is"),
        (format!("UPDATE tokens SET scopes = '' WHERE id = '{narrow}'"), "tokens", "cannot be read"),
        (format!("UPDATE tokens SET expires_at = NULL WHERE id = '{narrow}'"), "tokens", "expires_at is"),
        (format!("UPDATE tokens SET since = 1 WHERE id = '{narrow}'"), "tokens", "since is"),
        (
            format!(
                "UPDATE tokens SET ended_seq = NULL, ended_at = NULL, ended_how = NULL WHERE id = '{revoked}'"
            ),
            "tokens",
            "ended is null",
        ),
        (format!("UPDATE tokens SET user_id = '{member}' WHERE id = '{narrow}'"), "tokens", "owner is"),
        (
            format!(
                "INSERT INTO tokens SELECT gen_random_uuid(), kind, user_id, gateway_id, home, {digest}, hint, generation, scopes, expires_at, note_id, note_commitment, issued_by, since, issued_at, issued_seq, disabled, slot, previous, ended_seq, ended_at, ended_how, seq FROM tokens WHERE id = '{narrow}'"
            ),
            "tokens",
            "no event made it",
        ),
        (format!("DELETE FROM tokens WHERE id = '{revoked}'"), "tokens", "is not there"),
        (
            format!(
                "UPDATE users SET memberships = replace(memberships, 'member', 'owner') WHERE id = '{member}'"
            ),
            "users",
            "memberships is",
        ),
        ("UPDATE gateways SET removed = NULL".into(), "gateways", "removed is null"),
        (
            format!("UPDATE gateways SET kinds = 'personal admin caller' WHERE id = '{}'", made.gateway),
            "gateways",
            "kinds is",
        ),
        ("UPDATE organizations SET revoked_all = 5".into(), "organizations", "revoked_all is 5"),
        ("UPDATE environments SET number = number + 1".into(), "environments", "number is"),
        ("DELETE FROM environments".into(), "environments", "is not there"),
        (
            format!("UPDATE tokens SET id = gen_random_uuid() WHERE id = '{revoked}'"),
            "tokens",
            "is not there",
        ),
        // The claims.
        (format!("DELETE FROM claimed_slots WHERE token_id = '{narrow}'"), "claimed_slots", "not claimed"),
        (
            format!("UPDATE claimed_slots SET slot = 49 WHERE token_id = '{narrow}'"),
            "claimed_slots",
            "slot 49 is claimed",
        ),
        (
            format!("UPDATE claimed_slots SET expires_at = '2090-01-01' WHERE token_id = '{narrow}'"),
            "claimed_slots",
            "has another expires_at",
        ),
        (
            format!("DELETE FROM claimed_digests WHERE token_id = '{narrow}'"),
            "claimed_digests",
            "not claimed",
        ),
        (
            format!("INSERT INTO claimed_digests VALUES ({digest}, 0, '{narrow}')"),
            "claimed_digests",
            "not its own",
        ),
        ("UPDATE claimed_digests SET era = 1".into(), "claimed_digests", "not its own"),
        // What the events only commit to.
        (
            "UPDATE personal_values SET value = 'x', folded = 'x' WHERE value = 'renamed'".into(),
            "personal_values",
            "not the value",
        ),
        (
            "UPDATE personal_values SET salt = decode(repeat('00', 16), 'hex')".into(),
            "personal_values",
            "not the value",
        ),
        (
            "UPDATE personal_values SET folded = 'x' WHERE value = 'renamed'".into(),
            "personal_values",
            "folded",
        ),
        (
            format!("UPDATE personal_values SET subject = '{member}' WHERE subject = '{owner}'"),
            "personal_values",
            "subject",
        ),
        (
            format!(
                "INSERT INTO personal_values VALUES (gen_random_uuid(), '{owner}', 'x', 'x', decode(repeat('00', 16), 'hex'))"
            ),
            "personal_values",
            "no event",
        ),
        (
            format!("UPDATE sign_in_names SET key = 'thief@example.com' WHERE user_id = '{owner}'"),
            "sign_in_names",
            "not the user's",
        ),
        (format!("DELETE FROM sign_in_names WHERE user_id = '{owner}'"), "sign_in_names", "not there"),
        (
            format!("INSERT INTO password_hashes VALUES ('{}', 'x')", made.without_password),
            "password_hashes",
            "without an event",
        ),
        (format!("DELETE FROM password_hashes WHERE user_id = '{owner}'"), "password_hashes", "missing"),
        // The log.
        (format!("DELETE FROM events WHERE seq = {ended}"), "", "the log has a gap"),
        (format!("DELETE FROM events WHERE seq = {ended}"), "tokens", "ended is"),
        ("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)".into(), "tokens", "no event made it"),
        ("DELETE FROM events WHERE seq = 1".into(), "", "the log has a gap"),
        (
            format!(
                "UPDATE events SET record = replace(record, '[\"read\"]', '[\"write\"]') WHERE seq = {scoped}"
            ),
            "",
            "chain value",
        ),
        (
            format!(
                "UPDATE events SET record = replace(record, '[\"read\"]', '[\"write\"]') WHERE seq = {scoped}"
            ),
            "tokens",
            "scopes is",
        ),
        (
            format!(
                "UPDATE events SET record = replace(record, '{{\"seq\"', '{{ \"seq\"') WHERE seq = {scoped}"
            ),
            "",
            "chain value",
        ),
        (
            format!(
                "UPDATE events SET record = replace(record, 'token.scoped', 'token.eaten') WHERE seq = {scoped}"
            ),
            "",
            "unknown event type",
        ),
        (format!("UPDATE events SET chain = {digest} WHERE seq = {scoped}"), "", "chain value"),
        (
            format!(
                "UPDATE events e SET record = replace(record, '[\"read\"]', '[\"write\"]'), chain = sha256((SELECT p.chain FROM events p WHERE p.seq = e.seq - 1) || convert_to(replace(record, '[\"read\"]', '[\"write\"]'), 'UTF8')) WHERE seq = {scoped}"
            ),
            "",
            "chain value",
        ),
        ("UPDATE events SET seq = seq + 1000".into(), "", "the column seq differs"),
        (
            format!("UPDATE events SET type = 'token.enabled' WHERE seq = {scoped}"),
            "",
            "the column type differs",
        ),
        (
            format!("UPDATE events SET organization_id = '{organization}' WHERE seq = {scoped}"),
            "",
            "the column organization_id differs",
        ),
        (
            format!("UPDATE events SET subject_id = '{member}' WHERE seq = {scoped}"),
            "",
            "the column subject_id differs",
        ),
        (format!("UPDATE events SET user_id = NULL WHERE seq = {scoped}"), "", "the column user_id differs"),
        (
            format!(
                "UPDATE events SET decided_at = decided_at + interval '1 microsecond' WHERE seq = {scoped}"
            ),
            "",
            "the column decided_at differs",
        ),
    ];
    let mut superuser = administrator(&service).await;
    for (sql, table, what) in corruptions {
        assert_ne!(run(&mut superuser, &sql).await, 0, "{sql}");
        let found = verified(&service).await.findings;
        let named = found.first.iter().any(|difference| {
            difference.table.unwrap_or_default() == table && difference.what.contains(what)
        });
        assert!(named, "{sql}: {:#?}", found.first);
        assert!(found.count < 200, "{sql}: {:#?}", found.first);
        put_back(&mut superuser).await;
    }
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
    // Erasing is allowed, and said.
    run(&mut superuser, "DELETE FROM personal_values WHERE value = 'renamed'").await;
    let erased = verified(&service).await;
    assert_eq!((erased.findings.first, erased.erased), (vec![], 2));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_gives_what_was_live() {
    let service = Service::start().await;
    let made = everything(&service).await;
    let now = replayed(&service, None).await;
    let sql = "SELECT id FROM tokens WHERE ended_seq IS NULL AND NOT disabled
        AND (expires_at IS NULL OR expires_at > clock_timestamp()) ORDER BY id";
    let live: Vec<uuid::Uuid> = sqlx::query_scalar(sql).fetch_all(&service.database.pool).await.unwrap();
    assert_eq!(now.live.iter().map(|token| token.id.0).collect::<Vec<_>>(), live);
    let scopes_of = |replayed: &Replayed, id| {
        replayed.live.iter().find(|token| token.id == id).map(|token| token.scopes.join(" "))
    };
    assert_eq!(scopes_of(&now, made.narrow).as_deref(), Some("read"));
    assert_eq!(scopes_of(&now, made.revoked), None);
    // At each step of a token's life.
    let sql = "SELECT seq FROM events WHERE subject_id = $1 AND type = $2";
    let seq = |id: TokenId, name: &'static str| {
        let pool = service.database.pool.clone();
        async move {
            sqlx::query_scalar::<_, i64>(sql).bind(id.0).bind(name).fetch_one(&pool).await.unwrap() as u64
        }
    };
    let (issued, scoped) = (seq(made.narrow, "token.issued").await, seq(made.narrow, "token.scoped").await);
    let (disabled, ended) =
        (seq(made.narrow, "token.disabled").await, seq(made.revoked, "token.revoked").await);
    for (until, id, expected) in [
        (issued - 1, made.narrow, None),
        (issued, made.narrow, Some("read write")),
        (scoped, made.narrow, Some("read")),
        (disabled, made.narrow, None),
        (ended - 1, made.revoked, Some("read write")),
        (ended, made.revoked, None),
    ] {
        let then = replayed(&service, Some(Until::Seq(until))).await;
        assert_eq!((scopes_of(&then, id).as_deref(), then.seq), (expected, until));
    }
    // An instant is the end before which something was decided, and after the last the log has no answer.
    let sql = "SELECT decided_at FROM events WHERE seq = $1";
    let at: time::OffsetDateTime =
        sqlx::query_scalar(sql).bind(scoped as i64).fetch_one(&service.database.pool).await.unwrap();
    let at = counterfoil_domain::timestamp::Timestamp::from_offset_date_time(at);
    let before = replayed(&service, Some(Until::Instant(at))).await;
    assert_eq!(scopes_of(&before, made.narrow).as_deref(), Some("read write"));
    assert_eq!(before.at, at);
    let after = replayed(&service, Some(Until::Instant(at.plus_seconds(5000)))).await;
    assert_eq!(scopes_of(&after, made.narrow), None, "it expires within 5000 seconds");
    let beyond = program(&service, &["replay", "--until", "100000"]);
    assert_eq!(beyond.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&beyond.stderr).contains("the log ends at event"), "{beyond:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_as_good_as_the_database() {
    let service = Service::start().await;
    everything(&service).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events.ndjson");
    let text = stream(&service, &service.made.owner.token, "").await;
    std::fs::write(&file, &text).unwrap();
    let whole = of_file(&file).await;
    assert_eq!(whole.findings.first, []);
    let database = verified(&service).await;
    assert_eq!((whole.events, &whole.chain), (database.events, &database.chain));
    assert_eq!((whole.extent.missing, whole.extent.end), (0, Some((database.head, true))));
    // The same list, to the byte, from the database and from the file alone.
    let path = file.to_str().unwrap();
    for until in ["20", &Clock::system().now().to_string()] {
        let [database, download] = [
            vec!["replay", "--json", "--until", until],
            vec!["replay", "--json", "--until", until, "--from", path],
        ]
        .map(|arguments| serde_json::from_slice::<Value>(&program(&service, &arguments).stdout).unwrap());
        assert_eq!(database["live"], download["live"]);
        assert_eq!((&database["totals"], &database["chain"]), (&download["totals"], &download["chain"]));
        assert_ne!(database["live"], json!([]));
    }
    let line = |text: &str, place: usize| text.lines().nth(place).unwrap().to_string();
    for (name, changed, what) in [
        (
            "a changed event",
            text.replacen("\"token.scoped\",\"version\":1", "\"token.scoped\", \"version\":1", 1),
            "chain value",
        ),
        (
            "two that trade places",
            text.replace(&line(&text, 3), "\u{1}")
                .replace(&line(&text, 4), &line(&text, 3))
                .replace('\u{1}', &line(&text, 4)),
            "the order is broken",
        ),
        ("a line of something else", text.replacen('\n', "\n{}\n", 1), "line 2: this is no line"),
        (
            "a repeated line",
            text.replacen('\n', &format!("\n{}\n", line(&text, 0)), 1),
            "the order is broken",
        ),
    ] {
        std::fs::write(&file, changed).unwrap();
        let found = of_file(&file).await.findings;
        assert!(
            found.first.iter().any(|difference| difference.what.contains(what)),
            "{name}: {:?}",
            found.first
        );
        assert_eq!(program(&service, &["verify", "--from", path]).status.code(), Some(1), "{name}");
    }
    // Cut within a line: what is there holds, and that it was cut is said.
    std::fs::write(&file, &text[..text.len() / 2]).unwrap();
    let cut = of_file(&file).await;
    assert_eq!((cut.findings.count, cut.extent.end), (0, None));
    // What a member may see has gaps: what is there holds, and what cannot be shown is said.
    let (_, token) = service.call(Method::GET, "/v1/token", &service.made.owner.token, None).await;
    let query = format!("?subject={}", token["id"].as_str().unwrap());
    std::fs::write(&file, stream(&service, &service.made.owner.token, &query).await).unwrap();
    let filtered = of_file(&file).await;
    assert_eq!((filtered.findings.count, filtered.extent.unfolded), (0, 0));
    assert!(filtered.extent.missing > 0);
    let printed = program(&service, &["verify", "--from", path]);
    assert!(printed.status.success());
    assert!(String::from_utf8_lossy(&printed.stdout).contains("are not in the download"));
    let printed = program(&service, &["replay", "--from", path]);
    assert!(String::from_utf8_lossy(&printed.stdout).contains(token["id"].as_str().unwrap()), "{printed:?}");
    assert!(String::from_utf8_lossy(&printed.stderr).contains("tokens may be missing"), "{printed:?}");
    service.stop().await;
}
