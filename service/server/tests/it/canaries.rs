//! A plaintext exists in one answer and nowhere else: thousands of them are used, and misused, and then everything is
//! searched that the service and its PostgreSQL wrote, with all that both can log switched on: files, logs, WAL, a dump,
//! metrics, and every answer without the one field that may hold a plaintext.

mod core;
mod search;

use crate::support::http2::{END_HEADERS, END_STREAM, Frames, fields, frame, kind};
use crate::support::program::{INIT, Program, command, init};
use crate::support::{PATIENCE, Scratch, rounds};
use counterfoil::postgres::connect::Database;
use futures_util::stream::{self, StreamExt};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use search::{needles, search};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions};
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const TOKENS: &str = "/v1/user/tokens";
/// Plaintexts that a token has in its life.
const EACH: usize = 10;
/// Lives at once.
const AT_ONCE: usize = 8;

/// The program, with its data and all that it answers in one directory.
struct Service {
    program: Program,
    made: Value,
    answers: File,
    scratch: Scratch,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

impl Service {
    async fn start() -> Self {
        let scratch = Scratch::new();
        let data = scratch.path().join("data");
        let mut serve = command(&data, &["serve"]);
        // As much as an operator can ask for.
        serve.env("COUNTERFOIL__LOG__LEVEL", "trace,h2=trace,h2::server=trace,hyper=trace");
        // Whoever is refused at the door is not misused further inside.
        for limit in ["FAILURES", "CREDENTIAL", "STRANGERS"] {
            for bound in ["PER_SECOND", "BURST"] {
                serve.env(format!("COUNTERFOIL__LIMITS__{limit}_{bound}"), "1000000");
            }
        }
        let mut program = Program::start(serve);
        program.until_ready().await;
        let made = init(command(&data, &INIT)).await;
        let answers = File::create(scratch.path().join("answers")).unwrap();
        Self { program, made, answers, scratch }
    }

    fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        Client::new().request(method, format!("{}{path}", self.program.base()))
    }

    /// Sends a request and keeps the answer, but for the one field that may hold a plaintext.
    async fn send(&self, request: RequestBuilder) -> (StatusCode, Value) {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), format!("{:?}", response.headers()));
        let body = response.text().await.unwrap();
        let document: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
        let body = match document["plaintext"].as_str() {
            Some(plaintext) => body.replacen(plaintext, "", 1),
            None => body,
        };
        // In one piece, whoever else is answered meanwhile.
        (&self.answers).write_all(format!("{status} {headers} {body}\n").as_bytes()).unwrap();
        (status, document)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let request = self.request(method, path).bearer_auth(token);
        self.send(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    async fn form(&self, path: &str, body: String) -> Value {
        let (id, secret) = (&self.made["gateway"]["client_id"], &self.made["gateway"]["client_secret"]);
        let request = self.request(Method::POST, path).basic_auth(id.as_str().unwrap(), secret.as_str());
        self.send(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await.1
    }

    /// Puts a plaintext wherever a confused client might.
    async fn misuse(&self, owner: &str, plaintext: &str) {
        let refused = self.call(Method::POST, TOKENS, owner, Some(json!({ "note": plaintext }))).await;
        assert_eq!(refused.0, StatusCode::UNPROCESSABLE_ENTITY);
        for body in
            [json!({ "scopes": [plaintext] }), json!({ plaintext: 1 }), json!({ "expires_at": plaintext })]
        {
            assert!(self.call(Method::POST, TOKENS, owner, Some(body)).await.0.is_client_error());
        }
        for path in [
            format!("{TOKENS}/{plaintext}"),
            format!("{TOKENS}?cursor={plaintext}"),
            format!("/{plaintext}?access_token={plaintext}"),
        ] {
            assert!(self.call(Method::GET, &path, plaintext, None).await.0.is_client_error());
        }
        let odd = self.request(Method::GET, "/v1/token").header("x-api-key", plaintext);
        let odd = odd.header("x-request-id", plaintext).header("user-agent", plaintext);
        self.send(odd.header("cookie", format!("token={plaintext}"))).await;
        let keyed =
            self.request(Method::POST, TOKENS).bearer_auth(owner).header("idempotency-key", plaintext);
        self.send(keyed.json(&json!({ "scopes": [] }))).await;
        self.form("/oauth2/introspect", format!("token={plaintext}&{plaintext}={plaintext}")).await;
        let stranger =
            self.request(Method::POST, "/oauth2/introspect").basic_auth(plaintext, Some(plaintext));
        self.send(stranger.body(format!("token={plaintext}"))).await;
        let signed_in = json!({ "email": plaintext, "password": plaintext });
        self.send(self.request(Method::POST, "/v1/session").json(&signed_in)).await;
    }

    /// Puts a plaintext into heads of HTTP/2 that come to nothing: the library refuses them before there is a request.
    async fn misuse_http2(&self, plaintext: &str) {
        let odd = format!("/{plaintext} x");
        for head in [
            [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", &odd)],
            [(":method", "GET"), (":scheme", "http"), (":authority", &odd), (":path", "/")],
            [(":method", "GET"), (":scheme", &odd), (":authority", "x"), (":path", "/")],
            [(":method", &odd), (":scheme", "http"), (":authority", "x"), (":path", "/")],
            [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("te", plaintext)],
        ] {
            let mut frames = Frames::to(self.program.base(), &[]).await;
            frames.send(&frame(kind::HEADERS, END_STREAM | END_HEADERS, 1, &fields(&head))).await;
            let fate = frames.fate(1).await.unwrap();
            assert!(matches!(fate.kind, kind::RST_STREAM | kind::GOAWAY), "{head:?}: {fate:?}");
        }
    }

    /// One token's life: issued, rotated, used, misused, revoked, and misused again. Its plaintexts.
    async fn life(&self, owner: &str) -> Vec<String> {
        // A control: what the search must find, since a note is kept.
        let body = json!({ "note": "CanaryControlNote0123456789" });
        let (status, token) = self.call(Method::POST, TOKENS, owner, Some(body)).await;
        assert_eq!(status, StatusCode::CREATED);
        let path = format!("{TOKENS}/{}", text(&token["id"]));
        let mut secrets = vec![text(&token["plaintext"])];
        while secrets.len() < EACH {
            let (status, rotated) = self.call(Method::POST, &format!("{path}/rotate"), owner, None).await;
            assert_eq!(status, StatusCode::OK);
            secrets.push(text(&rotated["plaintext"]));
            let form = format!("token={}", secrets.last().unwrap());
            assert_eq!(self.form("/oauth2/introspect", form).await["active"], true);
        }
        let latest = secrets.last().unwrap();
        self.misuse(owner, latest).await;
        self.misuse_http2(latest).await;
        self.form("/oauth2/revoke", format!("token={latest}")).await;
        let ended = self.form("/oauth2/introspect", format!("token={latest}")).await;
        assert_eq!(ended, json!({ "active": false }));
        self.misuse(owner, latest).await;
        secrets
    }

    /// Waits until what `init` made is known.
    async fn until_known(&self, owner: &str) {
        let since = Instant::now();
        while self.call(Method::GET, "/v1/token", owner, None).await.0 != StatusCode::OK {
            assert!(since.elapsed() < PATIENCE, "the owner's token does not become known");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Lets PostgreSQL log all that it can, and opens it to the test.
async fn open_the_database(service: &Service) -> Database {
    let database = Database::open(None, &service.data(), &|_| {}).await.unwrap();
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

/// Writes into the directory what is not in a file by itself: metrics, the log, a dump.
async fn write_down(service: &Service, database: &Database) {
    let into = |name: &str| service.scratch.path().join(name);
    let metrics = reqwest::get(format!("{}/metrics", service.program.metrics())).await.unwrap();
    fs::write(into("metrics"), metrics.text().await.unwrap()).unwrap();
    let socket = database.private.as_ref().unwrap().socket_dir();
    let mut dump = std::process::Command::new("pg_dump");
    let dump = dump.arg("-h").arg(socket).args(["-U", "postgres", "counterfoil"]).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    fs::write(into("dump"), dump.stdout).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plaintext_is_in_one_answer_and_nowhere_else() {
    let mut service = Service::start().await;
    let database = open_the_database(&service).await;
    let owner = text(&service.made["owner"]["token"]);
    let mut secrets = vec![owner.clone(), text(&service.made["gateway"]["client_secret"])];
    service.until_known(&owner).await;
    let canaries = rounds(1_000, 10_000);
    let lives = stream::iter(0..canaries / EACH).map(|_| service.life(&owner)).buffer_unordered(AT_ONCE);
    secrets.extend(lives.collect::<Vec<_>>().await.concat());
    assert!(secrets.len() >= canaries);
    // All of it is a secret, and none of it may be shown.
    secrets.push(format!("{:12}{}", "", text(&service.made["owner"]["password"])));
    let mut superuser = database.private.as_ref().unwrap().superuser("counterfoil").connect().await.unwrap();
    sqlx::query("CHECKPOINT").execute(&mut superuser).await.unwrap();
    write_down(&service, &database).await;
    service.program.stop().await;
    database.pool.close().await;
    database.private.unwrap().leave(&|_| {}).await.unwrap();
    let place = service.scratch.path();
    fs::write(place.join("service.log"), service.program.said()).unwrap();

    let control = search(place, &needles(&[format!("{:12}CanaryControlNote0123456789", "")]));
    for file in ["base/", "pg_wal/", "postgres.log", "/dump", "/answers"] {
        assert!(
            control.iter().any(|found| found.contains(file)),
            "the search is blind in {file}: {control:?}"
        );
    }
    for (file, least) in [("service.log", 100_000), ("metrics", 5_000)] {
        assert!(fs::metadata(place.join(file)).unwrap().len() > least, "there is no {file}");
    }
    assert_eq!(search(place, &needles(&secrets)), Vec::<String>::new());
}
