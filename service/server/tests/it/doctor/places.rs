//! Where the data is, who holds the ports, and a database that was given.

use super::Found;
use crate::support::Scratch;
use counterfoil::clock::Clock;
use counterfoil::config::Config;
use counterfoil::ops::doctor::{Judgement, examine};
use counterfoil::postgres::private::PrivateCluster;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{ConnectOptions, Connection};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

/// `doctor` with some variables, and any free port.
pub(super) fn doctor(variables: &[(&str, &str)]) -> Found {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counterfoil"));
    command.args(["doctor", "--json"]).env_remove("DATABASE_URL");
    command.env("COUNTERFOIL__API__ADDR", "127.0.0.1:0").env("COUNTERFOIL__METRICS__ADDR", "127.0.0.1:0");
    Found::of(&command.envs(variables.iter().copied()).output().unwrap())
}

pub(super) fn at(data_dir: &Path) -> Found {
    doctor(&[("COUNTERFOIL__DATA_DIR", data_dir.to_str().unwrap())])
}

#[tokio::test]
async fn before_the_first_start_nothing_is_wrong_and_nothing_is_made() {
    let scratch = Scratch::new();
    for data_dir in [scratch.path().to_path_buf(), scratch.path().join("not/there")] {
        let found = at(&data_dir);
        assert_eq!(found.judged("wrong"), []);
        assert_eq!(found.mend("note", "private cluster", "none yet"), "counterfoil serve");
    }
    assert!(!scratch.path().join("not").exists() && !scratch.path().join("postgres").exists());
}

#[tokio::test]
async fn what_is_wrong_with_a_private_clusters_files_is_named() {
    let scratch = Scratch::with_data().await;
    let cluster = scratch.path().join("postgres");
    assert_eq!(at(scratch.path()).judged("wrong"), []);

    fs::set_permissions(&cluster, PermissionsExt::from_mode(0o755)).unwrap();
    let chmod = at(scratch.path()).mend("note", "private cluster", "open to others (mode 0755)");
    assert_eq!(chmod, format!("chmod 0700 {}", cluster.display()));
    assert_eq!(fs::metadata(&cluster).unwrap().mode() & 0o7777, 0o700, "its start closed it");

    let version = cluster.join("PG_VERSION");
    let genuine = fs::read_to_string(&version).unwrap();
    fs::write(&version, "99\n").unwrap();
    at(scratch.path()).mend("wrong", "private cluster", "of PostgreSQL 99");
    fs::write(&version, genuine).unwrap();

    if nix::unistd::geteuid().is_root() {
        let owner = fs::metadata(&cluster).unwrap().uid();
        std::os::unix::fs::chown(&cluster, Some(owner + 4711), None).unwrap();
        at(scratch.path()).mend("wrong", "private cluster", &format!("chown -R {owner}"));
        std::os::unix::fs::chown(&cluster, Some(owner), None).unwrap();
    }

    // As if whoever used it had been killed, and then PostgreSQL itself.
    let used = PrivateCluster::enter(scratch.path(), &|_| {}).await.unwrap();
    let running = at(scratch.path()).judged("good");
    assert!(
        running.iter().any(|(_, found)| found.contains("runs (process") && found.ends_with("in use")),
        "{running:?}"
    );
    let postmaster = Pid::from_raw(used.postmaster_pid().unwrap());
    std::mem::forget(used);
    kill(postmaster, Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn a_killed_postgresql_is_noted() {
    let scratch = Scratch::with_data().await;
    let cluster = scratch.path().join("postgres");
    // What a killed one leaves: its file, with the number of a process that there is not.
    fs::write(cluster.join("postmaster.pid"), format!("4194303\n{}\n1\n5432\n/tmp\n\n", cluster.display()))
        .unwrap();
    at(scratch.path()).mend("note", "private cluster", "was killed");
    assert_eq!(at(scratch.path()).judged("wrong"), []);
}

/// Something that listens, and answers everybody with the same.
fn stranger(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(answer);
        }
    });
    addr
}

#[tokio::test]
async fn a_port_that_something_else_holds_is_named() {
    let scratch = Scratch::new();
    let data_dir = ("COUNTERFOIL__DATA_DIR", scratch.path().to_str().unwrap());
    let other = stranger(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n");
    let found = doctor(&[data_dir, ("COUNTERFOIL__API__ADDR", &other)]);
    assert!(found.mend("wrong", "api.addr", "is no counterfoil").contains("ss -ltnp"));
    let ssh = stranger(b"SSH-2.0-OpenSSH_9.2\r\n");
    doctor(&[data_dir, ("COUNTERFOIL__METRICS__ADDR", &ssh)]).mend(
        "wrong",
        "metrics.addr",
        "is no counterfoil",
    );
    let found = doctor(&[data_dir, ("COUNTERFOIL__API__ADDR", "192.0.2.1:8080")]);
    found.mend("wrong", "api.addr", "cannot be listened on");
}

#[tokio::test]
async fn clocks_that_differ_are_named() {
    let scratch = Scratch::with_data().await;
    let mut config = Config { data_dir: scratch.path().to_path_buf(), ..Config::default() };
    config.api.addr = "127.0.0.1:0".parse().unwrap();
    config.metrics.enabled = false;
    for offset in [3_600_000_000, -3_600_000_000] {
        let clock = Clock::system();
        clock.set_offset(offset);
        let report = examine(&config, &clock, &|_| {}).await;
        let check = report.checks.iter().find(|check| check.name == "clock").unwrap();
        assert_eq!(check.judgement, Judgement::Wrong);
        assert!(
            check.found.contains("3600.0 s apart") && check.mend.as_ref().unwrap().contains("timedatectl")
        );
        assert_eq!(report.wrong(), 1);
    }
}

#[tokio::test]
async fn a_given_database_is_looked_at_as_the_service_would_use_it() {
    let scratch = Scratch::new();
    let cluster = PrivateCluster::enter(scratch.path(), &|_| {}).await.unwrap();
    let mut superuser = cluster.superuser("postgres").connect().await.unwrap();
    for sql in [
        "CREATE ROLE maker LOGIN CREATEROLE",
        "GRANT pg_read_all_settings TO maker",
        "CREATE ROLE alone LOGIN",
        "CREATE DATABASE two OWNER maker TEMPLATE template0 ENCODING 'UTF8'",
        "CREATE DATABASE one OWNER alone TEMPLATE template0 ENCODING 'UTF8'",
        "CREATE DATABASE latin OWNER alone TEMPLATE template0 ENCODING 'LATIN1'",
    ] {
        sqlx::query(sql).execute(&mut superuser).await.unwrap();
    }
    let url = |role: &str, database: &str| {
        format!(
            "postgres://{role}@localhost/{database}?host={}&sslmode=disable",
            cluster.socket_dir().display()
        )
    };
    let with = |url: &str| doctor(&[("DATABASE_URL", url)]);
    let migrate = |url: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_counterfoil"));
        command.arg("migrate").env("DATABASE_URL", url).output().unwrap()
    };

    let two = url("maker", "two");
    let found = with(&two);
    assert_eq!(found.mend("note", "migrations", "none was run yet"), "counterfoil migrate");
    assert_eq!(found.judged("wrong"), []);
    assert!(migrate(&two).status.success());
    let found = with(&two);
    assert_eq!(found.judged("wrong"), []);
    let names = |notes: &[(String, String)]| notes.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found.judged("note")), ["roles", "last event"]);
    found.mend("note", "last event", "empty");
    let mend = found.mend("note", "roles", "works as two_service by SET ROLE");
    assert!(mend.starts_with(
        r#"psql "$DATABASE_URL" -c '\password "two_service"'; then start with DATABASE_MIGRATE_URL"#
    ));
    let good = found.judged("good");
    assert!(good.iter().any(|(name, found)| name == "disk" && found.contains("the tablespace")), "{good:?}");

    // As that mends it; and without the address of who migrates, as `serve` may be run.
    let apart = [("DATABASE_URL", &*url("two_service", "two")), ("DATABASE_MIGRATE_URL", &*two)];
    for variables in [&apart[..], &apart[..1]] {
        let found = doctor(variables);
        assert_eq!(found.judged("wrong"), []);
        let good = found.judged("good");
        let roles = good.iter().find(|(name, _)| name == "roles").unwrap_or_else(|| panic!("{good:?}"));
        assert!(roles.1.contains("logs in as two_service, which can never become it"), "{roles:?}");
    }
    // What was broken is mended by who migrates.
    sqlx::query("GRANT two_owner TO two_service").execute(&mut superuser).await.unwrap();
    let mend = doctor(&apart).mend("wrong", "roles", "two_service can become two_owner");
    assert!(mend.starts_with(r#"psql "$DATABASE_MIGRATE_URL" -c "#), "{mend}");
    sqlx::query("REVOKE two_owner FROM two_service").execute(&mut superuser).await.unwrap();
    let absent = [("DATABASE_URL", &*url("not_yet", "two")), ("DATABASE_MIGRATE_URL", &*two)];
    doctor(&absent).mend("wrong", "connection", "not_yet");

    let one = url("alone", "one");
    assert!(migrate(&one).status.success());
    let found = with(&one);
    assert_eq!(found.judged("wrong"), []);
    let mend = found.mend("note", "roles", "this role can drop it");
    assert!(
        mend.contains("CREATE ROLE counterfoil_service LOGIN") && mend.contains("DATABASE_MIGRATE_URL"),
        "{mend}"
    );
    found.mend("note", "disk", "cannot be seen from here");

    with(&url("alone", "latin")).mend("wrong", "settings", "server_encoding is \"LATIN1\"");
    with(&url("alone", "nowhere")).mend("wrong", "connection", "nowhere");
    with("postgres://somebody@127.0.0.1:1/x").mend("wrong", "connection", "refused");
    with("not an address").mend("wrong", "connection", "DATABASE_URL");

    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, '', true, '', 0)";
    let mut administrator = cluster.superuser("one").connect().await.unwrap();
    sqlx::query(later).execute(&mut administrator).await.unwrap();
    administrator.close().await.unwrap();
    let said = String::from_utf8(migrate(&one).stderr).unwrap();
    assert!(said.contains("a newer counterfoil") && said.contains("9999"), "{said}");

    superuser.close().await.unwrap();
    cluster.leave(&|_| {}).await.unwrap();
}

#[tokio::test]
async fn a_pooler_is_named() {
    // PgBouncer's answer to the settings that a session of ours begins with.
    let fields = b"SFATAL\0C08P01\0Munsupported startup parameter in options: plan_cache_mode\0\0";
    let mut answer = vec![b'E'];
    answer.extend((fields.len() as u32 + 4).to_be_bytes());
    answer.extend(fields);
    let pooler = stranger(answer.leak());
    let found = doctor(&[("DATABASE_URL", &format!("postgres://x@{pooler}/x?sslmode=disable"))]);
    let mend = found.mend("wrong", "pooler", "a connection pooler");
    assert!(mend.contains("PostgreSQL itself") && !mend.contains("pool_mode"), "{mend}");
}
