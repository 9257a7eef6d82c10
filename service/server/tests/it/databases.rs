//! Databases of the operator's: which are refused, and what is said.

mod arrangements;
mod foreign;
mod killed;
mod side_by_side;
mod upgrades;

use crate::support::front::Front;
use crate::support::program::{Program, command, run};
use crate::support::raw::exchange;
use crate::support::{Scratch, until};
use counterfoil::postgres::connect::Database;
use counterfoil::postgres::private::PrivateCluster;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use std::path::Path;

/// A server, and an empty database in it.
struct Server {
    cluster: PrivateCluster,
    superuser: PgConnection,
    _scratch: Scratch,
}

impl Server {
    async fn start() -> Self {
        let scratch = Scratch::with_data().await;
        let cluster = PrivateCluster::enter(scratch.path(), &|_| {}).await.unwrap();
        let superuser = cluster.superuser("postgres").connect().await.unwrap();
        let mut server = Self { cluster, superuser, _scratch: scratch };
        server.run("CREATE DATABASE shop").await;
        server
    }

    async fn run(&mut self, sql: &str) {
        sqlx::query(AssertSqlSafe(sql.to_string())).execute(&mut self.superuser).await.unwrap();
    }

    fn url(&self, database: &str) -> String {
        self.url_as("postgres", database)
    }

    fn url_as(&self, role: &str, database: &str) -> String {
        let socket = self.cluster.socket_dir().display();
        format!("postgresql:///{database}?host={socket}&user={role}")
    }

    fn socket_dir(&self) -> &Path {
        self.cluster.socket_dir()
    }

    async fn stop(self) {
        self.cluster.leave(&|_| {}).await.unwrap();
    }
}

async fn open(url: &str) -> Result<Database, String> {
    let opened = Database::open(Some(url), Path::new("/nowhere"), &|_| {}).await;
    opened.map_err(|error| error.to_string())
}

async fn refused(url: &str) -> String {
    open(url).await.err().unwrap_or_else(|| panic!("{url} was accepted"))
}

#[tokio::test]
async fn settings_that_break_a_promise_are_refused() {
    let mut server = Server::start().await;
    let url = server.url("shop");
    // Of the whole server.
    for name in ["fsync", "full_page_writes"] {
        server.run(&format!("ALTER SYSTEM SET {name} = off")).await;
        server.run("SELECT pg_reload_conf()").await;
        // The server reads its file in its own time.
        let mut said = String::new();
        let refused = async || open(&url).await.map_err(|error| said = error).is_err();
        until("the setting is refused", refused).await;
        assert!(said.contains(name) && said.contains("\"off\""), "{said}");
        server.run(&format!("ALTER SYSTEM RESET {name}")).await;
        server.run("SELECT pg_reload_conf()").await;
    }
    // Of a database, or of the role that logs in.
    for (setting, value) in [
        ("synchronous_commit", "off"),
        ("synchronous_commit", "local"),
        ("default_transaction_isolation", "serializable"),
        ("default_transaction_read_only", "on"),
    ] {
        for whose in ["DATABASE shop", "ROLE postgres"] {
            server.run(&format!("ALTER {whose} SET {setting} = '{value}'")).await;
            let said = refused(&url).await;
            assert!(
                said.contains(&setting.replace("default_transaction_read", "transaction_read")),
                "{said}"
            );
            // The session that set it is not bound by it.
            server.run("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE").await;
            server.run(&format!("ALTER {whose} RESET {setting}")).await;
        }
    }
    server.run("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0").await;
    assert!(refused(&server.url("latin")).await.contains("server_encoding"));
    open(&url).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn time_limits_of_a_role_or_a_database_do_not_reach_our_sessions() {
    let mut server = Server::start().await;
    let limits =
        ["statement_timeout", "lock_timeout", "idle_session_timeout", "idle_in_transaction_session_timeout"];
    for limit in limits {
        server.run(&format!("ALTER ROLE postgres SET {limit} = '3s'")).await;
        server.run(&format!("ALTER DATABASE shop SET {limit} = '4s'")).await;
        server.run(&format!("ALTER ROLE postgres IN DATABASE shop SET {limit} = '5s'")).await;
    }
    // No migration is done in that time.
    server.run("ALTER ROLE postgres IN DATABASE shop SET statement_timeout = '1ms'").await;
    let database = open(&server.url("shop")).await.unwrap();
    let mut session = database.options.connect().await.unwrap();
    for limit in limits {
        let found: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(limit)
            .fetch_one(&mut session)
            .await
            .unwrap();
        assert_eq!(found, "0", "{limit}");
    }
    drop(session);
    database.pool.close().await;
    server.stop().await;
}

#[tokio::test]
async fn a_pooler_that_shares_sessions_is_refused() {
    let server = Server::start().await;
    for sessions in [1, 2, 20] {
        let url = Front::Sharing(sessions).before(server.socket_dir(), "shop").await;
        let said = refused(&url).await;
        assert!(said.contains("transaction pooling"), "{sessions}: {said}");
    }
    let url = Front::Dropping.before(server.socket_dir(), "shop").await;
    let said = refused(&url).await;
    assert!(said.contains("plan_cache_mode") && said.contains("pooler"), "{said}");
    // Nothing was made in a database that is not used.
    let mut shop = server.cluster.superuser("shop").connect().await.unwrap();
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        .fetch_one(&mut shop)
        .await
        .unwrap();
    assert_eq!(tables, 0);
    drop(shop);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_is_too_old_is_refused_by_its_version() {
    let server = Server::start().await;
    let url = Front::Old.before(server.socket_dir(), "shop").await;
    let said = refused(&url).await;
    assert!(said.contains("PostgreSQL 13.") && said.contains("must be 14 or newer"), "{said}");
    let mut doctor = command(Path::new("/nowhere"), &["doctor"]);
    doctor.env("DATABASE_URL", &url);
    let found = run(doctor).await;
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(found.contains("is older than 14"), "{found}");
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_recovers_is_waited_for() {
    let server = Server::start().await;
    let url = Front::Recovering(35).before(server.socket_dir(), "shop").await;
    let said = std::sync::Mutex::new(Vec::new());
    let say = |sentence: &str| said.lock().unwrap().push(sentence.to_string());
    Database::open(Some(&url), Path::new("/nowhere"), &say).await.unwrap();
    let said = said.into_inner().unwrap();
    assert!(said.iter().any(|sentence| sentence.contains("recovering")), "{said:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_waits_says_so_and_then_serves() {
    let server = Server::start().await;
    let url = Front::Recovering(60).before(server.socket_dir(), "shop").await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let metrics = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let there = |arguments: &[&str]| {
        let mut there = command(Path::new("/nowhere"), arguments);
        there.env("COUNTERFOIL__API__ADDR", port.to_string()).env("DATABASE_URL", &url);
        there.env("COUNTERFOIL__METRICS__ADDR", metrics.to_string());
        there
    };
    let mut program = Program::start(there(&["serve"]));
    program.until_it_says("recovering").await;
    let base = format!("http://{port}");
    let ask = async |line: &str| exchange(&base, format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    let lives = ask("GET /livez").await;
    assert_eq!((lives.status, &*lives.body), (200, "ok\n"));
    let ready = ask("GET /readyz").await;
    ready.assert_problem(503, "starting");
    assert!(ready.json()["detail"].as_str().unwrap().contains("recovering"));
    ask("GET /v1/user/tokens").await.assert_problem(503, "starting");
    ask("POST /oauth2/introspect").await.assert_oauth(503, "temporarily_unavailable");
    let scrape = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    exchange(&format!("http://{metrics}"), scrape).await.assert_problem(503, "starting");
    // Whoever looks at its ports meanwhile finds it, and no stranger.
    let doctor = there(&["doctor"]).output().unwrap();
    let found = String::from_utf8_lossy(&doctor.stdout);
    for name in ["api.addr", "metrics.addr"] {
        assert!(found.contains(&format!("✓ {name}: ")), "{found}");
    }
    program.until_ready().await;
    assert_eq!(ask("GET /readyz").await.status, 200);
    assert!(program.interrupt().await.success());
    server.stop().await;
}
