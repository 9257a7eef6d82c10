//! Every step of the write path is broken twice: it did not happen; it happened, but we were told that it failed.

use crate::support::browser::{OWNER, owners_password, sign_in};
use crate::support::{PATIENCE, Service, until};
use crate::whole::whole;
use counterfoil::clock::Clock;
use counterfoil::event_log::steps::{Fault, Faults, Step};
use counterfoil::event_log::writer::WeakWriter;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Breaks a step so many times.
#[derive(Clone, Default)]
struct Breaker {
    armed: Arc<Mutex<Option<(Step, Fault, usize)>>>,
    /// Who is to have so many commands before anything is done with them.
    gathers: Arc<Mutex<Option<(WeakWriter, usize)>>>,
}

impl Breaker {
    fn faults(&self) -> Faults {
        let Self { armed, gathers } = self.clone();
        Arc::new(move |reached| {
            if let Some((writer, count)) = gathers.lock().unwrap().take() {
                let since = Instant::now();
                // The writer's own task waits here: whoever comes later than a fault is told of that, and does not write.
                while writer.upgrade().is_some_and(|writer| writer.waiting() < count) {
                    assert!(since.elapsed() < PATIENCE, "{count} commands do not come");
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            let mut armed = armed.lock().unwrap();
            match armed.as_mut() {
                Some((step, fault, times)) if *step == reached && *times > 0 => {
                    *times -= 1;
                    Some(*fault)
                }
                _ => None,
            }
        })
    }

    fn arm(&self, step: Step, fault: Fault, times: usize) {
        *self.armed.lock().unwrap() = Some((step, fault, times));
    }

    /// The same, for so many commands that come together.
    fn arm_for(&self, service: &Service, count: usize, (step, fault, times): (Step, Fault, usize)) {
        *self.gathers.lock().unwrap() = Some((service.app().writer.downgrade(), count));
        self.arm(step, fault, times);
    }

    /// Whether every armed fault has struck.
    fn is_spent(&self) -> bool {
        self.armed.lock().unwrap().is_none_or(|(_, _, times)| times == 0)
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap().to_owned()
}

fn path(token: &Value) -> String {
    format!("/v1/user/tokens/{}", text(token, "id"))
}

/// Calls again until it is not answered "not now".
pub(crate) async fn insist(
    service: &Service,
    method: Method,
    path: &str,
    key: Option<&str>,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let since = Instant::now();
    loop {
        let answer = call(service, method.clone(), path, key, body.clone()).await;
        if answer.0 != StatusCode::SERVICE_UNAVAILABLE {
            return answer;
        }
        assert!(since.elapsed() < PATIENCE, "{path} stays unavailable");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One request of the owner's.
pub(crate) async fn call(
    service: &Service,
    method: Method,
    path: &str,
    key: Option<&str>,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let mut request = reqwest::Client::new()
        .request(method, format!("{}{path}", service.base()))
        .bearer_auth(&service.made.owner.token);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    (response.status(), serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
}

/// How many events of a type are about a subject.
pub(crate) async fn events_about(service: &Service, name: &str, id: &str) -> i64 {
    let sql = "SELECT count(*) FROM events WHERE type = $1 AND subject_id = $2::uuid";
    sqlx::query_scalar(sql).bind(name).bind(id).fetch_one(&service.database.pool).await.unwrap()
}

/// One step broken while an issue under a key, a revocation and a narrowing are under way; then a restart.
async fn broken_once(
    mut service: Service,
    breaker: &Breaker,
    step: Step,
    fault: Fault,
    times: usize,
) -> Service {
    let key = format!("{step:?}-{fault:?}-{times}");
    let (doomed, narrowed) = (service.issue(json!({})).await, service.issue(json!({})).await);
    let issued_before = service.events("token.issued").await;
    breaker.arm_for(&service, 3, (step, fault, times));
    let (doomed_path, narrowed_path) = (path(&doomed), path(&narrowed));
    let (issue, revoke, narrow) = tokio::join!(
        call(&service, Method::POST, "/v1/user/tokens", Some(&key), Some(json!({}))),
        call(&service, Method::DELETE, &doomed_path, None, None),
        call(&service, Method::PATCH, &narrowed_path, None, Some(json!({ "scopes": ["read"] }))),
    );
    assert!(breaker.is_spent(), "{key}: the fault did not strike");

    // Each caller was told the truth.
    let issued = service.events("token.issued").await - issued_before;
    let told = [
        (issue.0, StatusCode::CREATED, issued),
        (
            revoke.0,
            StatusCode::NO_CONTENT,
            events_about(&service, "token.revoked", &text(&doomed, "id")).await,
        ),
        (narrow.0, StatusCode::OK, events_about(&service, "token.scoped", &text(&narrowed, "id")).await),
    ];
    for (status, success, in_log) in told {
        match in_log {
            1 => assert_eq!(status, success, "{key}"),
            0 => assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{key}"),
            more => panic!("{key}: {more} events of one request"),
        }
    }
    assert_eq!(
        told.iter().any(|(status, ..)| *status == StatusCode::SERVICE_UNAVAILABLE),
        times > 1,
        "{key}: {issue:?} {revoke:?} {narrow:?}"
    );
    if revoke.0.is_success() {
        assert_ne!(service.is_active(&text(&doomed, "plaintext")).await, Some(true), "{key}");
    }

    service = service.restart().await;
    if revoke.0.is_success() {
        assert_eq!(service.is_active(&text(&doomed, "plaintext")).await, Some(false), "{key}");
    }
    let again = insist(&service, Method::POST, "/v1/user/tokens", Some(&key), Some(json!({}))).await;
    assert!(again.0 == StatusCode::CREATED || again.1["plaintext"] == "not_repeated", "{key}: {again:?}");
    assert_eq!(again.0 == StatusCode::OK, issue.0.is_success(), "{key}");
    assert_eq!(service.events("token.issued").await, issued_before + 1, "{key}");
    assert_eq!(insist(&service, Method::DELETE, &doomed_path, None, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(service.is_active(&text(&doomed, "plaintext")).await, Some(false), "{key}");
    whole(&service).await;
    for token in [narrowed, again.1] {
        insist(&service, Method::DELETE, &path(&token), None, None).await;
    }
    service
}

async fn every_step(fault: Fault) {
    let breaker = Breaker::default();
    let mut service = Service::start_on(Clock::system(), Some(breaker.faults())).await;
    for step in Step::ALL {
        // A commit that happened is found. What did not happen is done again, and given up when it is struck again.
        let times = if (step, fault) == (Step::Commit, Fault::After) { 1 } else { 2 };
        service = broken_once(service, &breaker, step, fault, times).await;
    }
    service = broken_once(service, &breaker, Step::Entities, fault, 1).await;
    if fault == Fault::Before {
        service = broken_once(service, &breaker, Step::Commit, fault, 1).await;
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_did_not_happen() {
    every_step(Fault::Before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_happened_though_we_were_told_it_failed() {
    every_step(Fault::After).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_cut_at_commit_and_asked_for_again_is_immediate() {
    let breaker = Breaker::default();
    let service = Service::start_on(Clock::system(), Some(breaker.faults())).await;
    // What did not happen is done again, and given up if it is cut again.
    for (fault, times, expected) in [
        (Fault::Before, 1, StatusCode::NO_CONTENT),
        (Fault::Before, 2, StatusCode::SERVICE_UNAVAILABLE),
        (Fault::After, 1, StatusCode::NO_CONTENT),
    ] {
        for key in [None, Some("again")] {
            let token = service.issue_patiently(json!({})).await;
            let plaintext = text(&token, "plaintext");
            breaker.arm(Step::Commit, fault, times);
            let cut = call(&service, Method::DELETE, &path(&token), key, None).await.0;
            assert_eq!(cut, expected, "{fault:?} {times}");
            let again = insist(&service, Method::DELETE, &path(&token), key, None).await;
            assert_eq!(again.0, StatusCode::NO_CONTENT);
            assert_ne!(service.is_active(&plaintext).await, Some(true));
            assert_eq!(events_about(&service, "token.revoked", &text(&token, "id")).await, 1);
        }
    }
    whole(&service).await;
    service.stop().await;
}

/// A batch without events leaves no trace in the log, so that nobody can say what became of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_whose_commit_is_not_known_is_told_so_and_asked_for_again() {
    let breaker = Breaker::default();
    let service = Service::start_on(Clock::system(), Some(breaker.faults())).await;
    let password = owners_password(&service);
    for fault in [Fault::Before, Fault::After] {
        breaker.arm(Step::Commit, fault, 1);
        let response = sign_in(&service, OWNER, &password).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{fault:?}");
        let told: Value = response.json().await.unwrap();
        assert_eq!(told["type"], "/problems/outcome-unknown", "{fault:?}");
        assert!(breaker.is_spent());
        until("it is done", async || sign_in(&service, OWNER, &password).await.status() == 201).await;
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_nobodys_fault_and_heals() {
    let service = Service::start().await;
    let cluster = service.database.private.as_ref().unwrap();
    let mut superuser = sqlx::ConnectOptions::connect(&cluster.superuser("counterfoil")).await.unwrap();
    for (code, status) in [("53100", 503), ("58030", 503), ("40001", 503), ("57014", 503), ("23514", 500)] {
        for sql in [
            format!(
                "CREATE OR REPLACE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN RAISE EXCEPTION ''trouble'' USING ERRCODE = ''{code}''; END'"
            ),
            "CREATE TRIGGER trouble BEFORE INSERT ON events EXECUTE FUNCTION trouble()".into(),
        ] {
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut superuser).await.unwrap();
        }
        let issue = || call(&service, Method::POST, "/v1/user/tokens", Some(code), Some(json!({})));
        let told = tokio::join!(issue(), issue());
        assert_eq!((told.0.0.as_u16(), told.1.0.as_u16()), (status, status), "{code}");
        sqlx::query("DROP TRIGGER trouble ON events").execute(&mut superuser).await.unwrap();
        assert_eq!(issue().await.0, StatusCode::CREATED, "{code}");
    }
    whole(&service).await;
    service.stop().await;
}
