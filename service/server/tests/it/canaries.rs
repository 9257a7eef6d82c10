//! A plaintext exists in one answer and nowhere else: hundreds of them are used, and misused, and then every file of
//! the service and of its PostgreSQL is searched, with all that both can log switched on.

use crate::support::Scratch;
use base64::Engine;
use counterfoil::postgres::connect::Database;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions};
use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The binary that users run, in a directory of its own, with its logs in that directory.
struct Binary {
    child: Child,
    base: String,
    made: Value,
}

fn command(scratch: &Scratch, address: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counterfoil"));
    command.current_dir(scratch.path());
    command.env_remove("DATABASE_URL").env("COUNTERFOIL__DATA_DIR", scratch.path().join("data"));
    command.env("COUNTERFOIL__API__ADDR", address).env("COUNTERFOIL__METRICS__ADDR", "127.0.0.1:0");
    command.env("COUNTERFOIL__LOG__LEVEL", "trace");
    command
}

async fn start(scratch: &Scratch) -> Binary {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let log = File::create(scratch.path().join("service.log")).unwrap();
    let mut serve = command(scratch, &address);
    let child = serve.arg("serve").stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let base = format!("http://{address}");
    for round in 0.. {
        if reqwest::get(format!("{base}/readyz")).await.is_ok_and(|response| response.status().is_success()) {
            break;
        }
        assert!(round < 1500, "it does not become ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut init = command(scratch, &address);
    let init = init.args(["init", "--organization", "acme", "--owner", "owner@example.com", "--json"]);
    let init = init.stderr(Stdio::null()).output().unwrap();
    Binary { child, base, made: serde_json::from_slice(&init.stdout).unwrap() }
}

impl Binary {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        Client::new().request(method, format!("{}{path}", self.base))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let request = self.request(method, path).bearer_auth(token);
        let response = match body {
            Some(body) => request.json(&body).send().await.unwrap(),
            None => request.send().await.unwrap(),
        };
        (response.status(), serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    async fn form(&self, path: &str, body: String) -> Value {
        let (id, secret) = (&self.made["gateway"]["client_id"], &self.made["gateway"]["client_secret"]);
        let request = self.request(Method::POST, path).basic_auth(id.as_str().unwrap(), secret.as_str());
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap_or(Value::Null)
    }

    /// Puts a plaintext wherever a confused client might.
    async fn misuse(&self, owner: &str, plaintext: &str) {
        let (note, path) = (json!({ "note": plaintext }), "/v1/user/tokens");
        let refused = self.send(Method::POST, path, owner, Some(note)).await;
        assert_eq!(refused.0, StatusCode::UNPROCESSABLE_ENTITY);
        for body in
            [json!({ "scopes": [plaintext] }), json!({ plaintext: 1 }), json!({ "expires_at": plaintext })]
        {
            assert!(self.send(Method::POST, path, owner, Some(body)).await.0.is_client_error());
        }
        for path in [
            format!("/v1/user/tokens/{plaintext}"),
            format!("/v1/user/tokens?cursor={plaintext}"),
            format!("/{plaintext}?access_token={plaintext}"),
        ] {
            assert!(self.send(Method::GET, &path, plaintext, None).await.0.is_client_error());
        }
        let odd = self.request(Method::GET, "/v1/token").header("x-api-key", plaintext);
        let odd = odd.header("x-request-id", plaintext).header("user-agent", plaintext);
        odd.header("cookie", format!("token={plaintext}")).send().await.unwrap();
        let keyed = self.request(Method::POST, path).bearer_auth(owner).header("idempotency-key", plaintext);
        keyed.json(&json!({ "scopes": [] })).send().await.unwrap();
        self.form("/oauth2/introspect", format!("token={plaintext}&{plaintext}={plaintext}")).await;
        let stranger =
            self.request(Method::POST, "/oauth2/introspect").basic_auth(plaintext, Some(plaintext));
        stranger.body(format!("token={plaintext}")).send().await.unwrap();
    }
}

/// Lets PostgreSQL log all that it can, and opens it to the test.
async fn open_the_database(scratch: &Scratch) -> Database {
    let database = Database::open(None, &scratch.path().join("data"), &|_| {}).await.unwrap();
    let cluster = database.private.as_ref().unwrap();
    let mut superuser = cluster.superuser("counterfoil").connect().await.unwrap();
    for setting in [
        "log_statement = 'all'",
        "log_min_duration_statement = 0",
        "log_min_error_statement = 'debug5'",
        "log_error_verbosity = 'verbose'",
        "log_parameter_max_length = -1",
        "log_parameter_max_length_on_error = -1",
        // What is compressed could not be searched.
        "wal_compression = off",
    ] {
        let sql = AssertSqlSafe(format!("ALTER SYSTEM SET {setting}"));
        sqlx::query(sql).execute(&mut superuser).await.unwrap();
    }
    sqlx::query("SELECT pg_reload_conf()").execute(&mut superuser).await.unwrap();
    database
}

/// How long a needle is.
const LONG: usize = 16;

/// The forms in which a secret could be written down, all of one length.
fn needles(secrets: &[String]) -> HashSet<[u8; LONG]> {
    let base64 = base64::engine::general_purpose::STANDARD;
    let mut needles = HashSet::new();
    for secret in secrets {
        // What follows prefix and hint, which may be shown.
        let hidden = &secret[12..];
        let hex: String = hidden.bytes().map(|byte| format!("{byte:02x}")).collect();
        // Whatever stands before it, one of three alignments is the one that it has.
        let encoded = (0..3).map(|skip| base64.encode(&hidden[skip..]));
        for form in [hidden.to_owned(), hex.to_uppercase(), hex].into_iter().chain(encoded) {
            needles.insert(form.as_bytes()[..LONG].try_into().unwrap());
        }
    }
    needles
}

/// Every file below a directory in which one of the needles is. Needles are of letters, digits, `+` and `/`.
fn search(directory: &Path, needles: &HashSet<[u8; LONG]>) -> Vec<String> {
    let (mut hits, mut left) = (Vec::new(), vec![directory.to_path_buf()]);
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
            } else if let Ok(bytes) = std::fs::read(&path)
                && contains(&bytes, needles)
            {
                hits.push(path.display().to_string());
            }
        }
    }
    hits
}

fn contains(bytes: &[u8], needles: &HashSet<[u8; LONG]>) -> bool {
    let mut run = 0;
    for (place, byte) in bytes.iter().enumerate() {
        run = if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/') { run + 1 } else { 0 };
        if run >= LONG && needles.contains(&bytes[place + 1 - LONG..=place]) {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plaintext_is_in_one_answer_and_nowhere_else() {
    let scratch = Scratch::new();
    let mut service = start(&scratch).await;
    let database = open_the_database(&scratch).await;
    let owner = service.made["owner"]["token"].as_str().unwrap().to_owned();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut secrets = vec![owner.clone(), text(&service.made["gateway"]["client_secret"])];
    for _ in 0..1500 {
        if service.send(Method::GET, "/v1/token", &owner, None).await.0 == StatusCode::OK {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let soak = if crate::support::is_soak() { 40 } else { 1 };
    for _ in 0..40 * soak {
        // A control: what the search must find, since a note is kept.
        let body = json!({ "note": "CanaryControlNote0123456789" });
        let (status, token) = service.send(Method::POST, "/v1/user/tokens", &owner, Some(body)).await;
        assert_eq!(status, StatusCode::CREATED);
        let path = format!("/v1/user/tokens/{}", text(&token["id"]));
        secrets.push(text(&token["plaintext"]));
        for _ in 0..4 {
            let (status, rotated) = service.send(Method::POST, &format!("{path}/rotate"), &owner, None).await;
            assert_eq!(status, StatusCode::OK);
            secrets.push(text(&rotated["plaintext"]));
            let latest = secrets.last().unwrap();
            assert_eq!(service.form("/oauth2/introspect", format!("token={latest}")).await["active"], true);
        }
        service.misuse(&owner, secrets.last().unwrap()).await;
        service.form("/oauth2/revoke", format!("token={}", secrets.last().unwrap())).await;
        let ended = service.form("/oauth2/introspect", format!("token={}", secrets.last().unwrap())).await;
        assert_eq!(ended, json!({ "active": false }));
        service.misuse(&owner, secrets.last().unwrap()).await;
    }
    // All of it is a secret, and none of it may be shown.
    secrets.push(format!("{:12}{}", "", text(&service.made["owner"]["password"])));
    let mut superuser = database.private.as_ref().unwrap().superuser("counterfoil").connect().await.unwrap();
    sqlx::query("CHECKPOINT").execute(&mut superuser).await.unwrap();
    kill(Pid::from_raw(service.child.id() as i32), Signal::SIGINT).unwrap();
    assert!(service.child.wait().unwrap().success());
    database.pool.close().await;
    database.private.unwrap().leave(&|_| {}).await.unwrap();

    let control = search(scratch.path(), &needles(&[format!("{:12}CanaryControlNote0123456789", "")]));
    for place in ["base/", "pg_wal/", "postgres.log"] {
        assert!(
            control.iter().any(|file| file.contains(place)),
            "the search is blind in {place}: {control:?}"
        );
    }
    assert!(
        std::fs::metadata(scratch.path().join("service.log")).unwrap().len() > 100_000,
        "the service logs nothing"
    );
    assert!(secrets.len() > 200);
    assert_eq!(search(scratch.path(), &needles(&secrets)), Vec::<String>::new());
}
