//! `counterfoil init` and `counterfoil password`, as programs, with and without a running service.

mod suspended;

use crate::support::{Scratch, Service, until};
use counterfoil::clock::Clock;
use counterfoil::operator::{OperatorError, Printed, set_password};
use counterfoil::postgres::connect::Database;
use counterfoil::postgres::migrate::migrate;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

fn program(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counterfoil"));
    command.env_remove("DATABASE_URL").env("COUNTERFOIL__DATA_DIR", data_dir);
    command.current_dir(data_dir).kill_on_drop(true);
    command
}

/// Runs the program on a data directory.
async fn counterfoil(data_dir: &Path, arguments: &[&str], input: impl AsRef<[u8]>) -> Output {
    let mut command = program(data_dir);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_ref()).await.unwrap();
    child.wait_with_output().await.unwrap()
}

fn document(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The service as a program.
struct Running {
    child: Child,
    base: String,
}

impl Running {
    /// Starts it and waits until it is ready.
    async fn start(data_dir: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = program(data_dir);
        command.arg("serve").env("COUNTERFOIL__API__ADDR", port.to_string());
        command.env("COUNTERFOIL__METRICS__ENABLED", "false");
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let running = Self { child, base: format!("http://{port}") };
        for _ in 0..1500 {
            let ready = Client::new().get(format!("{}/readyz", running.base)).send().await;
            if ready.is_ok_and(|response| response.status() == StatusCode::OK) {
                return running;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the service did not become ready");
    }

    async fn sign_in(&self, password: &str) -> (StatusCode, String) {
        let body = json!({ "email": "owner@example.com", "password": password });
        let request = Client::new().post(format!("{}/v1/session", self.base)).json(&body);
        let response = request.send().await.unwrap();
        let cookie = response.headers().get("set-cookie").map(|value| value.to_str().unwrap().to_string());
        (response.status(), cookie.unwrap_or_default().split(';').next().unwrap().to_string())
    }

    async fn who_am_i(&self, cookie: &str) -> StatusCode {
        let request = Client::new().get(format!("{}/v1/user", self.base)).header("cookie", cookie);
        request.send().await.unwrap().status()
    }

    async fn stop(mut self) {
        kill(Pid::from_raw(self.child.id().unwrap() as i32), Signal::SIGTERM).unwrap();
        assert!(self.child.wait().await.unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_init_prints_beside_a_running_service_works_at_once() {
    let directory = Scratch::new();
    let service = Running::start(directory.path()).await;
    let mut command = program(directory.path());
    command.args(["init", "--organization", "acme", "--owner", "owner@example.com", "--json"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    // As it is printed, and not when the program has ended.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let made: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    let text = |of: &str, field: &str| made[of][field].as_str().unwrap().to_string();
    let token = text("owner", "token");
    let request = Client::new().post(format!("{}/oauth2/introspect", service.base));
    let request = request.basic_auth(text("gateway", "client_id"), Some(text("gateway", "client_secret")));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let answer = request.body(format!("token={token}")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.json::<Value>().await.unwrap()["active"], true);
    assert!(child.wait().await.unwrap().success());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_none_are_refused_before_anything_is_made() {
    let directory = Scratch::new();
    let long = "x".repeat(201);
    for (organization, owner, option) in [
        (" ", "owner@example.com", "--organization"),
        (&long, "owner@example.com", "--organization"),
        ("a\tb", "owner@example.com", "--organization"),
        ("acme", "owner", "--owner"),
        ("acme", "@example.com", "--owner"),
        ("acme", "ow ner@example.com", "--owner"),
    ] {
        let arguments = ["init", "--organization", organization, "--owner", owner];
        let refused = counterfoil(directory.path(), &arguments, "").await;
        assert!(!refused.status.success() && said(&refused).contains(option), "{}", said(&refused));
        assert!(directory.path().read_dir().unwrap().next().is_none(), "{organization:?} {owner:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_five_at_once_one_makes_the_first_organization() {
    let directory = Scratch::new();
    let run = |owner, organization| {
        let path = directory.path();
        async move {
            let arguments = ["init", "--organization", organization, "--owner", owner, "--json"];
            counterfoil(path, &arguments, "").await
        }
    };
    let (a, b, c, d, e) = tokio::join!(
        run("owner@example.com", "acme"),
        run("owner@example.com", "acme"),
        run("OWNER@example.com", "acme"),
        run("owner@example.com", "Acme"),
        run("owner@example.com", "other"),
    );
    let (made, refused): (Vec<Output>, Vec<Output>) =
        [a, b, c, d, e].into_iter().partition(|output| output.status.success());
    let sayings: Vec<String> = refused.iter().map(said).collect();
    assert_eq!(made.len(), 1, "{sayings:?}");
    let made = document(&made[0]);
    let id = made["organization"]["id"].as_str().unwrap();
    for (output, saying) in refused.iter().zip(&sayings) {
        assert!(saying.contains(id) && saying.contains("exists already"), "{saying}");
        assert!(output.stdout.is_empty());
    }

    // What was printed works, and while the service runs the answer is the same.
    let service = Running::start(directory.path()).await;
    let again = run("Owner@Example.com", "acme").await;
    assert!(!again.status.success() && said(&again).contains(id));
    assert_eq!(service.sign_in(made["owner"]["password"].as_str().unwrap()).await.0, StatusCode::CREATED);
    let (token, gateway) = (made["owner"]["token"].as_str().unwrap(), &made["gateway"]);
    let form = Client::new()
        .post(format!("{}/oauth2/introspect", service.base))
        .basic_auth(gateway["client_id"].as_str().unwrap(), gateway["client_secret"].as_str())
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("token={token}"));
    let answer: Value = form.send().await.unwrap().json().await.unwrap();
    assert_eq!((&answer["active"], &answer["username"]), (&json!(true), &made["owner"]["email"]));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_looks_makes_nothing() {
    let directory = Scratch::new();
    let path = directory.path();
    for arguments in [&["verify"][..], &["replay"], &["rebuild"], &["password", "--user", "a@b.example"]] {
        let refused = counterfoil(path, arguments, "").await;
        let words = "there is no private PostgreSQL cluster yet in";
        assert!(!refused.status.success() && said(&refused).contains(words), "{}", said(&refused));
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 0, "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plaintext_is_no_name_and_no_address() {
    let directory = Scratch::new();
    let secret = "cf_pat_awETs0kUBWi9iNkold0jjCj08EuLQjt34pShQ3yJxNn3bP384";
    let address = format!("{secret}@example.com");
    for (name, owner) in [(secret, "owner@example.com"), ("acme", &address)] {
        let refused =
            counterfoil(directory.path(), &["init", "--organization", name, "--owner", owner], "").await;
        assert!(!refused.status.success() && said(&refused).contains("plaintext"), "{}", said(&refused));
        assert!(!said(&refused).contains(secret), "it is not repeated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_password_is_set_again_with_and_without_a_service() {
    let directory = Scratch::new();
    let path = directory.path();
    let nobody = counterfoil(path, &["password", "--user", "owner@example.com"], "").await;
    assert!(!nobody.status.success() && said(&nobody).contains("counterfoil init"), "{}", said(&nobody));

    let init =
        ["init", "--organization", "acme", "--owner", "owner@example.com", "--json", "--password-stdin"];
    for unusable in ["", "short\n", "two lines\nare none\n"] {
        let refused = counterfoil(path, &init, unusable).await;
        assert!(!refused.status.success() && said(&refused).contains("password"), "{unusable:?}");
    }
    for command in [&init[..], &["password", "--user", "who@example.com", "--password-stdin"]] {
        let refused = counterfoil(path, command, b"pass\xffword, and more\n").await;
        let words = "the password from standard input: it is not UTF-8";
        assert!(!refused.status.success() && said(&refused).contains(words), "{}", said(&refused));
    }
    let made = document(&counterfoil(path, &init, "\u{feff}from a file\r\n").await);
    assert_eq!(made["owner"]["password"], Value::Null);
    let stranger = counterfoil(path, &["password", "--user", "who@example.com"], "").await;
    assert!(!stranger.status.success() && said(&stranger).contains("nothing was changed"));

    let service = Running::start(path).await;
    let (status, cookie) = service.sign_in("from a file").await;
    assert_eq!((status, service.who_am_i(&cookie).await), (StatusCode::CREATED, StatusCode::OK));
    // Beside the running service, by any spelling of the address.
    let set = ["password", "--user", "OWNER@example.com", "--json"];
    let printed = document(&counterfoil(path, &set, "").await);
    assert_eq!(
        (&printed["user"]["email"], &printed["user"]["id"]),
        (&made["owner"]["email"], &made["owner"]["id"])
    );
    let second = printed["user"]["password"].as_str().unwrap().to_string();
    assert_eq!(service.who_am_i(&cookie).await, StatusCode::UNAUTHORIZED);
    assert_eq!(service.sign_in("from a file").await.0, StatusCode::UNAUTHORIZED);
    let (status, cookie) = service.sign_in(&second).await;
    assert_eq!(status, StatusCode::CREATED);
    service.stop().await;

    // Without one.
    let set = ["password", "--user", "owner@example.com", "--json", "--password-stdin"];
    let printed = document(&counterfoil(path, &set, "given by hand\n").await);
    assert_eq!(printed["user"]["password"], Value::Null);
    let service = Running::start(path).await;
    assert_eq!(service.who_am_i(&cookie).await, StatusCode::UNAUTHORIZED);
    assert_eq!(service.sign_in(&second).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(service.sign_in("given by hand").await.0, StatusCode::CREATED);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_command_takes_no_right_from_the_service_for_a_moment() {
    let service = Service::start().await;
    let superuser = service.database.private.as_ref().unwrap().superuser("counterfoil");
    let done = std::cell::Cell::new(false);
    let commands = async {
        for _ in 0..20 {
            migrate(&superuser, Some("counterfoil_service"), &|_| {}).await.unwrap();
        }
        done.set(true);
    };
    let reads = async {
        while !done.get() {
            for sql in ["SELECT seq FROM events LIMIT 1", "SELECT version FROM _sqlx_migrations LIMIT 1"] {
                sqlx::query(sql).fetch_one(&service.database.pool).await.unwrap();
            }
        }
    };
    tokio::join!(commands, reads);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_the_command_line_is_carried_out_in_time_or_not_at_all() {
    let service = Service::start().await;
    let pool = &service.database.pool;
    let before = service.events("user.password_set").await;
    let request = |until: &str| {
        json!({ "set_password_of": service.made.owner.id, "hash": "$argon2id$a-hash", "until": until })
            .to_string()
    };
    for (request, outcome) in [
        (request("2000-01-01T00:00:00Z"), "too late"),
        (json!({ "drop": "everything" }).to_string(), "does not know"),
        (request("9999-01-01T00:00:00Z"), "done"),
    ] {
        let id = counterfoil::clock::Clock::system().uuid();
        let ask = "INSERT INTO operator_requests (id, request) VALUES ($1, $2)";
        sqlx::query(ask).bind(id).bind(&request).execute(pool).await.unwrap();
        let answered =
            "SELECT request || outcome FROM operator_requests WHERE id = $1 AND outcome IS NOT NULL";
        let mut row: Option<String> = None;
        let outcome_of_it = async || {
            row = sqlx::query_scalar(answered).bind(id).fetch_optional(pool).await.unwrap();
            row.is_some()
        };
        until("the request is answered", outcome_of_it).await;
        let row = row.unwrap();
        // The hash does not stay where it was left.
        assert!(row.contains(outcome) && !row.contains("argon2id"), "{row}");
    }
    assert_eq!(service.events("user.password_set").await, before + 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_read_the_answer_is_not_told_that_nothing_was_done() {
    let service = Service::start().await;
    let before = service.events("user.password_set").await;
    let (options, pool) = (service.database.options.clone(), PgPoolOptions::new());
    let pool = pool.connect_lazy_with(options.clone());
    let database = Database { options, pool: pool.clone(), private: None };
    let set =
        tokio::spawn(
            async move { set_password(&database, &Clock::system(), "owner@example.com", None).await },
        );
    let asked = "SELECT count(*) FROM operator_requests";
    while sqlx::query_scalar::<_, i64>(asked).fetch_one(&service.database.pool).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // What else the command line asks of the database fails.
    pool.close().await;
    let error = set.await.unwrap().err().unwrap();
    assert!(matches!(error, OperatorError::NoAnswer), "{error}");
    while service.events("user.password_set").await == before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    service.stop().await;
}

/// Lets nobody say that a request was carried out, as if each died right before, and counts who tried.
const DIES_BEFORE_IT_SAYS_SO: &str = "CREATE SEQUENCE tries;
    CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN PERFORM nextval('tries'); RAISE EXCEPTION 'it died'; END $$;
    CREATE TRIGGER die BEFORE UPDATE ON operator_requests FOR EACH ROW EXECUTE FUNCTION die()";

type Set = JoinHandle<Result<Printed, OperatorError>>;

/// The command line beside a service.
fn set_beside(service: &Service) -> Set {
    let (options, pool) = (service.database.options.clone(), service.database.pool.clone());
    let database = Database { options, pool, private: None };
    tokio::spawn(async move { set_password(&database, &Clock::system(), "owner@example.com", None).await })
}

/// Waits until so many times somebody tried to say that it was done, or until who asked has the answer.
async fn until_tried(superuser: &mut PgConnection, count: i64, set: &Set) {
    let sql = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM tries";
    while sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut *superuser).await.unwrap() < count {
        if set.is_finished() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_carried_out_once_however_often_the_service_dies_over_it() {
    let service = Service::start().await;
    let cluster = service.database.private.as_ref().unwrap();
    let mut superuser = cluster.superuser("counterfoil").connect().await.unwrap();
    sqlx::raw_sql(DIES_BEFORE_IT_SAYS_SO).execute(&mut superuser).await.unwrap();
    let before = service.events("user.password_set").await;

    // The service comes to it again and again, and so does the next one.
    let set = set_beside(&service);
    until_tried(&mut superuser, 3, &set).await;
    let service = service.restart().await;
    until_tried(&mut superuser, 5, &set).await;
    sqlx::raw_sql("ALTER TABLE operator_requests DISABLE TRIGGER die").execute(&mut superuser).await.unwrap();
    assert!(set.await.unwrap().unwrap().user.password.is_some());
    assert_eq!(service.events("user.password_set").await, before + 1);

    // Nobody comes back: the command line takes the matter into its own hands.
    sqlx::raw_sql("ALTER TABLE operator_requests ENABLE TRIGGER die; ALTER SEQUENCE tries RESTART")
        .execute(&mut superuser)
        .await
        .unwrap();
    let set = set_beside(&service);
    until_tried(&mut superuser, 1, &set).await;
    let (service, printed) = service.restart_after(set).await;
    assert_eq!(service.events("user.password_set").await, before + 2);
    let password = printed.unwrap().unwrap().user.password.unwrap();
    let body = json!({ "email": "owner@example.com", "password": password });
    let request = Client::new().post(format!("{}/v1/session", service.base())).json(&body);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::CREATED);
    superuser.close().await.unwrap();
    service.stop().await;
}
