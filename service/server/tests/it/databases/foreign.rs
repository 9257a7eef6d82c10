//! A database that others use as well: what is theirs stays theirs, and does not stand in our tables' place.

use super::{Server, open};
use counterfoil::postgres::connect::Database;
use counterfoil::postgres::roles::Arrangement;
use sqlx::{ConnectOptions, Executor, PgConnection};

const RIGHTS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

/// The rights of a role on each table of the schema.
async fn rights(connection: &mut PgConnection, role: &str) -> Vec<(String, Vec<String>)> {
    let sql = "SELECT tablename::text, array(SELECT right_ FROM UNNEST($2::text[]) right_
            WHERE has_table_privilege($1, format('public.%I', tablename), right_))
        FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
    sqlx::query_as(sql).bind(role).bind(RIGHTS.as_slice()).fetch_all(connection).await.unwrap()
}

#[tokio::test]
async fn the_service_may_nothing_on_tables_of_others() {
    let mut server = Server::start().await;
    server.run("CREATE ROLE app LOGIN").await;
    let mut shop = server.cluster.superuser("shop").connect().await.unwrap();
    shop.execute("CREATE TABLE public.theirs (secret text)").await.unwrap();
    let (serve, migrate) = (server.url_as("app", "shop"), server.url("shop"));
    // Twice, for the second finds all tables there.
    for _ in 0..2 {
        let config = super::arrangements::config(&serve, Some(&migrate));
        Database::migrate(&config, &|_| {}).await.unwrap();
        let found = rights(&mut shop, "app").await;
        assert_eq!(found.len(), 18, "{found:?}");
        for (table, may) in &found {
            let expected = match &**table {
                "theirs" => &RIGHTS[..0],
                "_sqlx_migrations" => &RIGHTS[..1],
                "events" => &RIGHTS[..2],
                _ => &RIGHTS[..],
            };
            assert_eq!(may, expected, "{table}");
        }
    }
    drop(shop);
    server.stop().await;
}

#[tokio::test]
async fn tables_of_the_same_names_elsewhere_are_not_ours() {
    let mut server = Server::start().await;
    server.run("CREATE ROLE app LOGIN").await;
    let mut shop = server.cluster.superuser("shop").connect().await.unwrap();
    // One that `"$user"` leads to, and one that a database's setting does.
    for schema in ["app", "first"] {
        for table in ["events", "tokens", "sessions", "_sqlx_migrations"] {
            let sql =
                format!("CREATE SCHEMA IF NOT EXISTS {schema}; CREATE TABLE {schema}.{table} (seq bigint)");
            shop.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql))).await.unwrap();
        }
        shop.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(format!("GRANT ALL ON SCHEMA {schema} TO app"))))
            .await
            .unwrap();
    }
    server.run("ALTER DATABASE shop SET search_path = first, public").await;
    let config = super::arrangements::config(&server.url_as("app", "shop"), Some(&server.url("shop")));
    let database = Database::configured(&config, &|_| {}).await.unwrap();
    let ours = "SELECT 'events'::regclass = 'public.events'::regclass";
    assert!(sqlx::query_scalar::<_, bool>(ours).fetch_one(&database.pool).await.unwrap());
    let mut session = database.options.connect().await.unwrap();
    assert!(sqlx::query_scalar::<_, bool>(ours).fetch_one(&mut session).await.unwrap());
    for schema in ["app", "first"] {
        let sql = format!("SELECT count(*) FROM {schema}._sqlx_migrations");
        let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut shop).await.unwrap();
        assert_eq!(rows, 0);
    }
    drop((shop, session));
    database.pool.close().await;
    server.stop().await;
}

#[tokio::test]
async fn what_one_role_made_of_its_own_is_not_handed_over() {
    let mut server = Server::start().await;
    server.run("CREATE ROLE alone LOGIN").await;
    server.run("CREATE DATABASE kiosk OWNER alone").await;
    let url = server.url_as("alone", "kiosk");
    open(&url).await.unwrap().pool.close().await;
    let mut kiosk = server.cluster.superuser("kiosk").connect().await.unwrap();
    kiosk.execute("SET ROLE alone; CREATE TABLE public.own (secret text); RESET ROLE").await.unwrap();
    server.run("ALTER ROLE alone CREATEROLE").await;
    let roles = Database::migrate(&super::arrangements::config(&url, None), &|_| {}).await.unwrap();
    assert_eq!(roles.arrangement, Arrangement::SetRole);
    let owner = "SELECT tableowner::text FROM pg_tables WHERE schemaname = 'public' AND tablename = $1";
    for (table, expected) in [("own", "alone"), ("events", "kiosk_owner")] {
        let found: String = sqlx::query_scalar(owner).bind(table).fetch_one(&mut kiosk).await.unwrap();
        assert_eq!(found, expected);
    }
    drop(kiosk);
    server.stop().await;
}
