//! The runbook's procedures, by its own commands.

mod documents;

use crate::support::program::Program;
use crate::support::{PATIENCE, Scratch};
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
        let url = format!("{}{path}", self.program.base());
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
        let until = Instant::now() + PATIENCE;
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
        let until = Instant::now() + PATIENCE;
        let response = loop {
            let request = reqwest::Client::new().post(format!("{}/oauth2/introspect", self.program.base()));
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
    let mut first = Program::made().await;
    let owner = Client { program: &first, token: first.printed("owner", "token") };
    let (_, kept) = owner.issue().await;
    let (revoked, dead) = owner.issue().await;
    let text = |path: &Path| path.to_str().unwrap().to_string();
    let mut variables = HashMap::from([
        ("DATA", text(first.data_dir())),
        ("BACKUPS", text(elsewhere.path())),
        ("URL", first.base().to_string()),
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
    let (_, itself) = owner.call(Method::GET, "/v1/token", None).await;
    variables.insert("ID", itself["id"].as_str().unwrap().into());
    let used = run(first.beside("bash"), elsewhere.path(), &variables, &["used"]).stdout;
    let used = String::from_utf8(used).unwrap();
    assert_eq!(["token.issued", "token.revoked"].map(|name| used.matches(name).count()), [3, 1], "{used}");
    first.stop().await;

    run(first.beside("bash"), elsewhere.path(), &variables, &["restore", "ended"]);
    assert_eq!(std::fs::read_to_string(elsewhere.path().join("revoked.txt")).unwrap().trim(), revoked);
    let second = Program::serve(&elsewhere.path().join("restored")).await;
    let owner = Client { program: &second, token: variables["TOKEN"].clone() };
    assert!(owner.is_active(&kept, &first).await);
    assert!(!owner.is_active(&late, &first).await, "issued after the backup: unknown");
    assert!(owner.is_active(&dead, &first).await, "as the runbook says: live again");
    variables.insert("URL", second.base().to_string());
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
