//! As whom the service works: three arrangements, and what each refuses.

use super::Server;
use crate::support::load::People;
use crate::support::program::{INIT, Program, command, run};
use counterfoil::config::Config;
use counterfoil::postgres::connect::Database;
use counterfoil::postgres::roles::Arrangement;
use reqwest::{Method, StatusCode};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection};
use std::path::Path;
use std::process::Command;

/// PostgreSQL's codes: a role may not; our trigger refuses.
const MAY_NOT: &str = "42501";
const TRIGGER: &str = "23001";

const EDITS: [&str; 3] = ["UPDATE events SET record = ''", "DELETE FROM events", "TRUNCATE events"];

/// What would take the trigger away, or make one who can.
const WAYS_OUT: [&str; 10] = [
    "SET ROLE shop_owner",
    "SET ROLE maker",
    "SET SESSION AUTHORIZATION maker",
    "GRANT shop_owner TO app",
    "ALTER TABLE events DISABLE TRIGGER events_are_append_only",
    "DROP TRIGGER events_are_append_only ON events",
    "CREATE OR REPLACE FUNCTION refuse_to_edit_events() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "ALTER TABLE events RENAME TO others",
    "DROP TABLE events",
    "SET session_replication_role = replica",
];

/// The code with which each of these is refused.
async fn refused_with(connection: &mut PgConnection, all: &[&str], code: &str) {
    for sql in all {
        let done = connection.execute(sqlx::raw_sql(AssertSqlSafe(*sql))).await;
        let error = done.err().unwrap_or_else(|| panic!("{sql} was done"));
        let found = error.as_database_error().and_then(|error| error.code()).unwrap_or_default();
        assert_eq!(found, code, "{sql}: {error}");
    }
}

/// A server with who migrates, with and without the right to make roles, and who serves.
async fn server() -> Server {
    let mut server = Server::start().await;
    for sql in [
        "CREATE ROLE maker LOGIN CREATEROLE",
        "CREATE ROLE alone LOGIN",
        "CREATE ROLE app LOGIN",
        "ALTER DATABASE shop OWNER TO maker",
        "CREATE DATABASE kiosk OWNER alone",
    ] {
        server.run(sql).await;
    }
    server
}

pub(super) fn config(url: &str, migrate_url: Option<&str>) -> Config {
    Config {
        data_dir: "/nowhere".into(),
        database_url: Some(url.into()),
        database_migrate_url: migrate_url.map(String::from),
        ..Config::default()
    }
}

async fn migrated(url: &str, migrate_url: Option<&str>) -> Result<String, String> {
    let done = Database::migrate(&config(url, migrate_url), &|_| {}).await;
    done.map(|roles| roles.to_string()).map_err(|error| error.to_string())
}

async fn opened(url: &str, migrate_url: Option<&str>) -> Result<Database, String> {
    let opened = Database::configured(&config(url, migrate_url), &|_| {}).await;
    opened.map_err(|error| error.to_string())
}

/// A session of the service's, as it would be made.
async fn session(url: &str, migrate_url: Option<&str>) -> PgConnection {
    opened(url, migrate_url).await.unwrap().options.connect().await.unwrap()
}

#[tokio::test]
async fn with_a_migrate_url_the_service_edits_nothing_and_becomes_nobody() {
    let server = server().await;
    let (serve, migrate) = (server.url_as("app", "shop"), server.url_as("maker", "shop"));
    let mut service = session(&serve, Some(&migrate)).await;
    refused_with(&mut service, &EDITS, MAY_NOT).await;
    refused_with(&mut service, &WAYS_OUT, MAY_NOT).await;
    for reset in ["RESET ROLE", "SET ROLE NONE", "RESET SESSION AUTHORIZATION", "RESET ALL"] {
        service.execute(reset).await.unwrap();
        refused_with(&mut service, &EDITS, MAY_NOT).await;
    }
    // Whoever gets past the grants meets the trigger.
    for role in ["maker", "postgres"] {
        let mut session = session(&server.url_as(role, "shop"), None).await;
        session.execute("SET ROLE shop_owner").await.unwrap();
        refused_with(&mut session, &EDITS, TRIGGER).await;
    }
    // Without the right to make roles, who migrates owns the tables.
    let (serve, migrate) = (server.url_as("app", "kiosk"), server.url_as("alone", "kiosk"));
    assert_eq!(
        migrated(&serve, Some(&migrate)).await.unwrap(),
        "alone owns the tables, and the service logs in as app"
    );
    let mut service = session(&serve, None).await;
    refused_with(&mut service, &EDITS, MAY_NOT).await;
    refused_with(&mut service, &WAYS_OUT[4..], MAY_NOT).await;
    server.stop().await;
}

#[tokio::test]
async fn by_set_role_a_mistake_is_refused_and_what_undoes_it_meets_the_trigger() {
    let server = server().await;
    let url = server.url_as("maker", "shop");
    let mut service = session(&url, None).await;
    for stays in ["SELECT 1", "RESET ROLE", "RESET ALL"] {
        service.execute(stays).await.unwrap();
        refused_with(&mut service, &EDITS, MAY_NOT).await;
    }
    for undone in ["SET ROLE NONE", "SET ROLE shop_owner"] {
        service.execute(undone).await.unwrap();
        refused_with(&mut service, &EDITS, TRIGGER).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn with_one_role_the_trigger_refuses() {
    let server = server().await;
    let mut service = session(&server.url_as("alone", "kiosk"), None).await;
    refused_with(&mut service, &EDITS, TRIGGER).await;
    server.stop().await;
}

#[tokio::test]
async fn a_service_that_could_edit_the_log_is_refused_before_anything_is_made() {
    let mut server = server().await;
    let migrate = server.url_as("maker", "shop");
    for sql in [
        "CREATE ROLE strong LOGIN CREATEROLE",
        "CREATE ROLE programs LOGIN; GRANT pg_execute_server_program TO programs",
        "CREATE ROLE shop_owner; CREATE ROLE member LOGIN; GRANT shop_owner TO member; GRANT shop_owner TO maker",
    ] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut server.superuser).await.unwrap();
    }
    for (role, why) in [
        ("postgres", "more than any grant says"),
        ("strong", "more than any grant says"),
        ("programs", "run programs"),
        ("member", "can become shop_owner"),
        ("maker", "more than any grant says"),
    ] {
        let serve = server.url_as(role, "shop");
        for said in [
            migrated(&serve, Some(&migrate)).await,
            opened(&serve, Some(&migrate)).await.map(|_| String::new()),
        ] {
            let said = said.err().unwrap_or_else(|| panic!("{role} was accepted"));
            assert!(said.contains(role) && said.contains(why), "{role}: {said}");
        }
    }
    let mut shop = server.cluster.superuser("shop").connect().await.unwrap();
    shop.execute("ALTER SCHEMA public OWNER TO app").await.unwrap();
    let said = migrated(&server.url_as("app", "shop"), Some(&server.url("shop"))).await.unwrap_err();
    assert!(said.contains("owns the schema or the database"), "{said}");
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        .fetch_one(&mut shop)
        .await
        .unwrap();
    assert_eq!(tables, 0);
    drop(shop);
    server.stop().await;
}

#[tokio::test]
async fn what_who_serves_may_not_do_is_asked_of_who_migrates() {
    let server = server().await;
    let (serve, migrate) = (server.url_as("app", "shop"), server.url_as("maker", "shop"));
    // A role that nobody made yet.
    let said = migrated(&server.url_as("nobody_yet", "kiosk"), Some(&server.url_as("alone", "kiosk"))).await;
    assert!(said.unwrap_err().contains("CREATE ROLE nobody_yet LOGIN"));
    assert!(migrated(&server.url_as("made_by_it", "shop"), Some(&migrate)).await.is_ok());
    // Two addresses of two databases.
    let said = opened(&server.url_as("app", "kiosk"), Some(&migrate)).await.err().unwrap();
    assert!(said.contains("does not lead to the database"), "{said}");

    assert!(migrated(&serve, Some(&migrate)).await.is_ok());
    assert!(opened(&serve, None).await.is_ok(), "whoever only serves needs to know of nobody else");
    assert!(migrated(&serve, None).await.unwrap_err().contains("give DATABASE_MIGRATE_URL"));
    let said = migrated(&serve, Some(&server.url_as("alone", "shop"))).await.unwrap_err();
    assert!(said.contains("belong to shop_owner, whom alone cannot become"), "{said}");
    let mut shop = server.cluster.superuser("shop").connect().await.unwrap();
    shop.execute("DROP INDEX sessions_by_expiry; DELETE FROM _sqlx_migrations WHERE version = 8")
        .await
        .unwrap();
    let said = opened(&serve, None).await.err().unwrap();
    assert!(said.contains("run `counterfoil migrate` with DATABASE_MIGRATE_URL"), "{said}");
    assert!(opened(&serve, Some(&migrate)).await.is_ok());
    assert!(opened(&serve, None).await.is_ok());
    drop(shop);
    server.stop().await;
}

#[tokio::test]
async fn an_operator_moves_from_one_arrangement_to_a_better_one() {
    let mut server = server().await;
    let (alone, app) = (server.url_as("alone", "kiosk"), server.url_as("app", "kiosk"));
    let arrangement = async |url: &str, migrate_url: Option<&str>| {
        let config = config(url, migrate_url);
        let roles = Database::migrate(&config, &|_| {}).await.unwrap_or_else(|error| panic!("{error}"));
        Database::configured(&config, &|_| {}).await.unwrap_or_else(|error| panic!("{error}"));
        roles.arrangement
    };
    assert_eq!(arrangement(&alone, None).await, Arrangement::One);
    assert_eq!(arrangement(&app, Some(&alone)).await, Arrangement::Apart);
    server.run("ALTER ROLE alone CREATEROLE").await;
    assert_eq!(arrangement(&alone, None).await, Arrangement::SetRole);
    assert_eq!(arrangement(&app, Some(&alone)).await, Arrangement::Apart);
    server.run("ALTER ROLE alone NOCREATEROLE").await;
    assert_eq!(arrangement(&alone, None).await, Arrangement::SetRole);
    assert_eq!(arrangement(&app, Some(&alone)).await, Arrangement::Apart);
    let mut kiosk = server.cluster.superuser("kiosk").connect().await.unwrap();
    let owners: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'public'
         UNION SELECT proowner::regrole::text FROM pg_proc WHERE proname = 'refuse_to_edit_events'",
    )
    .fetch_all(&mut kiosk)
    .await
    .unwrap();
    assert_eq!(owners, ["kiosk_owner"]);
    drop(kiosk);
    server.stop().await;
}

/// A command with the addresses, if any, of who serves and of who migrates.
fn with(url: &str, migrate_url: Option<&str>, arguments: &[&str]) -> Command {
    let mut command = command(Path::new("/nowhere"), arguments);
    command.env("DATABASE_URL", url);
    command.envs(migrate_url.map(|url| ("DATABASE_MIGRATE_URL", url)));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn one_migrates_and_another_serves() {
    let server = server().await;
    let (serve, migrate) = (server.url_as("app", "shop"), server.url_as("maker", "shop"));
    let said = run(with(&serve, Some(&migrate), &["migrate"])).await;
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("shop_owner owns the tables, and the service logs in as app"), "{said}");
    let mut program = Program::start(with(&serve, None, &["serve"]));
    program.until_ready().await;
    let people = People::made_by(with(&serve, None, &INIT), program.base()).await;
    let (status, token) = people.ask(program.base(), Method::POST, "/v1/user/tokens").await.unwrap();
    assert_eq!(status, StatusCode::CREATED, "{token}");
    assert_eq!(people.introspect(program.base(), token["plaintext"].as_str().unwrap()).await, Some(true));
    let mut password = vec!["password", "--user", "owner@example.com"];
    for arguments in [&password[..], &["verify"], &["replay"], &["doctor"]] {
        let done = run(with(&serve, None, arguments)).await;
        assert!(done.status.success(), "{arguments:?}: {done:?}");
    }
    assert!(program.interrupt().await.success(), "{}", program.said());
    password.push("--json");
    assert!(run(with(&serve, Some(&migrate), &password)).await.status.success());
    server.stop().await;
}
