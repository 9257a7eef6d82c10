//! The runbook's procedures, by its own commands.

use crate::support::Scratch;
use crate::support::program::Program;
use counterfoil::config::Config;
use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The block of the runbook that has a name after its language.
pub(crate) fn block(name: &str) -> String {
    let runbook = read("ops/RUNBOOK.md");
    let start = format!("```sh {name}\n");
    let (_, rest) = runbook.split_once(&start).unwrap_or_else(|| panic!("no block {name}"));
    rest.split_once("\n```").unwrap().0.to_string()
}

/// Runs blocks one after the other in one shell, as an operator would, and ends at the first that fails.
fn run(mut shell: Command, directory: &Path, variables: &HashMap<&str, String>, blocks: &[&str]) -> Output {
    let script = blocks.iter().map(|name| block(name)).collect::<Vec<_>>().join("\n");
    let output = shell.args(["-euo", "pipefail", "-c", &script]).current_dir(directory).envs(variables);
    let output = output.output().unwrap();
    assert!(
        output.status.success(),
        "{script}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

struct Client<'a> {
    program: &'a Program,
    token: String,
}

impl Client<'_> {
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.program.base);
        let mut request = reqwest::Client::new().request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    /// Issues a token: its id and its plaintext.
    async fn issue(&self) -> (String, String) {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let (status, token) = self.call(Method::POST, "/v1/user/tokens", Some(json!({}))).await;
            if status == 201 {
                let text = |field: &str| token[field].as_str().unwrap().to_string();
                return (text("id"), text("plaintext"));
            }
            // What init committed is known within a moment.
            assert!(Instant::now() < until, "{status} {token}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn is_active(&self, plaintext: &str, made: &Program) -> bool {
        let client = made.printed("gateway", "client_id");
        let secret = made.printed("gateway", "client_secret");
        let until = Instant::now() + Duration::from_secs(20);
        let response = loop {
            let request = reqwest::Client::new().post(format!("{}/oauth2/introspect", self.program.base));
            let request = request.basic_auth(&client, Some(&secret));
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            let response = request.body(format!("token={plaintext}")).send().await.unwrap();
            // A service that has just started, or was held up, says so and is asked again.
            if response.status() != 503 || Instant::now() > until {
                break response;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(response.status(), 200);
        let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        answer["active"].as_bool().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_and_what_was_revoked_since_is_revoked_again() {
    let elsewhere = Scratch::new();
    let mut first = Program::start();
    let owner = Client { program: &first, token: first.printed("owner", "token") };
    let (_, kept) = owner.issue().await;
    let (revoked, dead) = owner.issue().await;
    let text = |path: &Path| path.to_str().unwrap().to_string();
    let mut variables = HashMap::from([
        ("DATA", text(first.data_dir())),
        ("BACKUPS", text(elsewhere.path())),
        ("URL", first.base.clone()),
        ("TOKEN", owner.token.clone()),
        ("RESTORED", text(&elsewhere.path().join("restored"))),
    ]);
    let printed = run(first.beside("bash"), elsewhere.path(), &variables, &["backup"]);
    variables.insert("BACKUP", String::from_utf8(printed.stdout).unwrap().trim().to_string());

    // After the backup: one is revoked, one is issued, and the log is exported.
    assert_eq!(owner.call(Method::DELETE, &format!("/v1/user/tokens/{revoked}"), None).await.0, 204);
    let (_, late) = owner.issue().await;
    assert!(!owner.is_active(&dead, &first).await && owner.is_active(&late, &first).await);
    run(first.beside("bash"), elsewhere.path(), &variables, &["export"]);
    first.signal(Signal::SIGTERM);
    assert!(first.ended_within(Duration::from_secs(20)).is_some_and(|status| status.success()));

    run(first.beside("bash"), elsewhere.path(), &variables, &["restore", "ended"]);
    assert_eq!(std::fs::read_to_string(elsewhere.path().join("revoked.txt")).unwrap().trim(), revoked);
    let second = Program::start_on(&elsewhere.path().join("restored"), &[]);
    let owner = Client { program: &second, token: variables["TOKEN"].clone() };
    assert!(owner.is_active(&kept, &first).await);
    assert!(!owner.is_active(&late, &first).await, "issued after the backup: unknown");
    assert!(owner.is_active(&dead, &first).await, "as the runbook says: live again");
    variables.insert("URL", second.base.clone());
    let again = run(second.beside("bash"), elsewhere.path(), &variables, &["again"]);
    assert!(!String::from_utf8(again.stdout).unwrap().contains("not revoked"));
    assert!(!owner.is_active(&dead, &first).await && owner.is_active(&kept, &first).await);
    let doctor = second.beside("counterfoil").arg("doctor").output().unwrap();
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));

    // A suspected leak: one plaintext, then all of a person.
    variables.insert("LEAKED", kept.clone());
    run(second.beside("bash"), elsewhere.path(), &variables, &["revoke"]);
    assert!(!owner.is_active(&kept, &first).await);
    run(second.beside("bash"), elsewhere.path(), &variables, &["revoke_all"]);
    assert!(!owner.is_active(&owner.token, &first).await);
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_restored_with_its_roles() {
    let scratch = Scratch::new();
    let cluster =
        counterfoil::postgres::private::PrivateCluster::enter(scratch.path(), &|_| {}).await.unwrap();
    let host = cluster.socket_dir().display().to_string();
    let url = |role: &str| format!("postgres://{role}@localhost/books?host={host}&sslmode=disable");
    let shell = || {
        let mut shell = Command::new("bash");
        let programs = Path::new(env!("CARGO_BIN_EXE_counterfoil")).parent().unwrap().display().to_string();
        shell.env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap()));
        shell.env("COUNTERFOIL__API__ADDR", "127.0.0.1:0").env("COUNTERFOIL__METRICS__ADDR", "127.0.0.1:0");
        shell
    };
    let administrator = |sql: &str| {
        let done = Command::new("psql").args(["-h", &host, "-U", "postgres", "-qc", sql]).output().unwrap();
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let make = "CREATE DATABASE books OWNER operator TEMPLATE template0 ENCODING 'UTF8'";
    administrator("CREATE ROLE operator LOGIN CREATEROLE; GRANT pg_read_all_settings TO operator");
    let apart = [("DATABASE_URL", url("books_service")), ("DATABASE_MIGRATE_URL", url("operator"))];
    let by_set_role = [("DATABASE_URL", url("operator"))];
    for (given, says) in
        [(&by_set_role[..], "! roles: books_owner owns"), (&apart[..], "✓ roles: books_owner owns")]
    {
        let variables: HashMap<&str, String> = given.iter().cloned().collect();
        administrator(make);
        let init = "counterfoil init --organization acme --owner owner@example.com >/dev/null";
        let made = shell().args(["-ec", init]).envs(&variables).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        run(shell(), scratch.path(), &variables, &["dump"]);
        let lose = || {
            administrator("DROP DATABASE books");
            administrator("DROP ROLE books_owner");
            administrator("DROP ROLE books_service");
        };
        lose();
        administrator(make);
        let printed =
            String::from_utf8(run(shell(), scratch.path(), &variables, &["undump"]).stdout).unwrap();
        assert!(printed.contains(says) && !printed.contains('✗'), "{printed}");
        assert!(printed.contains("8 events in "), "{printed}");
        lose();
    }
    cluster.leave(&|_| {}).await.unwrap();
}

#[test]
fn the_unit_outlasts_the_drain_and_names_what_is_there() {
    let unit = read("ops/counterfoil.service");
    let setting = |name: &str| {
        let lines: Vec<&str> =
            unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect();
        assert_eq!(lines.len(), 1, "{name}: {lines:?}");
        lines[0].to_string()
    };
    let drain = Config::default().drain;
    let stop: u64 = setting("TimeoutStopSec").parse().unwrap();
    // The drain, and what the private PostgreSQL is given to stop: 60 s, then 10 s.
    assert!(stop * 1000 > drain.notice_ms + drain.timeout_ms + 70_000);
    for (name, value) in [
        ("KillMode", "mixed"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("StateDirectory", "counterfoil"),
        ("LimitCORE", "0"),
        ("User", "counterfoil"),
    ] {
        assert_eq!(setting(name), value, "{name}");
    }
    assert_eq!(
        setting("Environment"),
        format!("COUNTERFOIL__DATA_DIR=/var/lib/{}", setting("StateDirectory"))
    );
    let start = setting("ExecStart");
    let runbook = read("ops/RUNBOOK.md");
    for path in start.split(' ').filter(|word| word.starts_with('/')) {
        assert!(runbook.contains(&format!(" {path}\n")), "the runbook installs {path}");
    }
    let words: Vec<&str> = start.split(' ').skip(1).collect();
    let help =
        Command::new(env!("CARGO_BIN_EXE_counterfoil")).args(&words[..1]).arg("--help").output().unwrap();
    assert!(help.status.success() && String::from_utf8(help.stdout).unwrap().contains(words[1]), "{words:?}");
}

/// The variables that set fields of the configuration, in a text.
fn fields(text: &str) -> Vec<(String, String)> {
    let words = text
        .split(|c: char| !(c.is_ascii_uppercase() || c == '_'))
        .filter(|word| word.starts_with("COUNTERFOIL__"));
    // Of the right kind, whatever the text sets them to.
    let value = |name: &str| {
        if name.ends_with("ADDR") {
            "127.0.0.1:1"
        } else if name.ends_with("FORMAT") {
            "json"
        } else {
            "http://x"
        }
    };
    words.map(|name| (name.to_string(), value(name).to_string())).collect()
}

#[test]
fn every_variable_that_ops_sets_is_a_field() {
    for file in ["compose.yaml", "Containerfile", "counterfoil.service", "RUNBOOK.md"] {
        let found = fields(&read(&format!("ops/{file}")));
        assert!(!found.is_empty(), "{file}");
        for field in found {
            let loaded = Config::load(None, [field.clone()].into_iter());
            assert!(loaded.is_ok(), "{file}: {field:?}: {:?}", loaded.err().map(|error| error.to_string()));
        }
    }
}

#[test]
fn the_container_and_the_compose_file_fit_each_other() {
    let compose: Value = serde_saphyr::from_str(&read("ops/compose.yaml")).unwrap();
    let service = &compose["services"]["counterfoil"];
    assert_eq!(service["build"]["dockerfile"], "ops/Containerfile");
    assert!(
        repository()
            .join("ops")
            .join(service["build"]["context"].as_str().unwrap())
            .join("Cargo.toml")
            .exists()
    );
    assert_eq!(service["depends_on"]["postgres"]["condition"], "service_healthy");
    let named: Vec<&str> = ["counterfoil", "postgres"]
        .iter()
        .flat_map(|name| compose["services"][name]["volumes"].as_array().unwrap())
        .map(|volume| volume.as_str().unwrap().split_once(':').unwrap().0)
        .filter(|volume| !volume.starts_with("./") || !repository().join("ops").join(volume).exists())
        .collect();
    let volumes = compose["volumes"].as_object().unwrap();
    assert_eq!(named, volumes.keys().map(String::as_str).collect::<Vec<_>>());
    let seconds: u64 = service["stop_grace_period"].as_str().unwrap().trim_end_matches('s').parse().unwrap();
    let drain = Config::default().drain;
    // As for the unit: the same image may run the private PostgreSQL.
    assert!(seconds * 1000 > drain.notice_ms + drain.timeout_ms + 70_000);
    // Who answers requests does not hold who owns the tables.
    let environment = |name: &str| &compose["services"][name]["environment"];
    assert_eq!(
        compose["services"]["counterfoil"]["depends_on"]["migrate"]["condition"],
        "service_completed_successfully"
    );
    assert!(environment("counterfoil")["DATABASE_MIGRATE_URL"].is_null());
    assert_eq!(environment("counterfoil")["DATABASE_URL"], environment("migrate")["DATABASE_URL"]);
    assert_ne!(environment("migrate")["DATABASE_URL"], environment("migrate")["DATABASE_MIGRATE_URL"]);
    let containerfile = read("ops/Containerfile");
    assert!(containerfile.contains("\nUSER 10001:10001\n") && containerfile.contains("--uid 10001 "));
    assert!(containerfile.contains("/readyz") && containerfile.contains("--stop-timeout 120 "));
    let toolchain = read("Cargo.toml");
    let (_, version) = toolchain.split_once("rust-version = \"").unwrap();
    assert!(containerfile.contains(&format!("rust:{}-bookworm", &version[..4])));
    for ignored in ["target", "data", ".git"] {
        assert!(
            read(".dockerignore").lines().any(|line| line == ignored),
            "{ignored} would get into the image"
        );
    }
}

#[test]
fn the_alarms_name_metrics_that_there_are() {
    let runbook = read("ops/RUNBOOK.md");
    let metrics = counterfoil::ops::metrics::Metrics::default();
    // What the writer tells is registered once there is one.
    drop(metrics.writer());
    let shown = metrics.render(&Default::default());
    let words = runbook.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    let named: Vec<&str> =
        words.filter(|word| word.starts_with("counterfoil_") || word.starts_with("process_")).collect();
    assert!(named.len() > 8, "{named:?}");
    for name in named {
        assert!(shown.lines().any(|line| line.starts_with(name)), "{name}: {shown}");
    }
}

#[test]
fn the_documents_links_lead_somewhere() {
    for file in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "ops/RUNBOOK.md"] {
        let text = read(file);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links.filter(|link| !link.starts_with("http")) {
            let path = repository().join(file).parent().unwrap().join(link.split('#').next().unwrap());
            assert!(path.exists(), "{file}: {link}");
        }
    }
}

#[test]
fn the_tests_that_contributing_names_are_there() {
    let contributing = read("CONTRIBUTING.md");
    let mut code = String::new();
    let mut left = vec![repository().join("service")];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => left.push(path),
                Some(extension) if extension == "rs" => code += &std::fs::read_to_string(&path).unwrap(),
                _ => {}
            }
        }
    }
    let quoted = contributing.split('`').skip(1).step_by(2);
    let is_test = |word: &&str| word.matches('_').count() > 3 && !word.contains(['/', '.', ' ']);
    let named: Vec<&str> = quoted.filter(is_test).collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        assert!(code.contains(&format!("fn {name}()")) || code.contains(&format!("({name},")), "{name}");
    }
}
