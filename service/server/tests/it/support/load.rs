//! Issues and revokes under way while something is broken, and a ledger of what was acknowledged.

use super::program;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What stands beside each token that is issued.
const NOTE: &str = "under load";

/// Who issues, and who asks.
#[derive(Clone)]
pub(crate) struct People {
    pub(crate) owner: String,
    gateway: (String, String),
    client: Client,
}

/// What was acknowledged.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Issued, and nobody asked for its end: id and plaintext.
    standing: Mutex<HashMap<String, String>>,
    /// Revoked.
    ended: Mutex<Vec<String>>,
    /// How many issues and revokes were acknowledged.
    done: Mutex<usize>,
    /// What must not have happened.
    wrong: Mutex<Vec<String>>,
}

impl People {
    /// Makes the first organization beside a running service, and waits until that knows of it.
    pub(crate) async fn made_by(init: Command, base: &str) -> Self {
        let made = program::init(init).await;
        let text = |pointer: &str| made.pointer(pointer).unwrap().as_str().unwrap();
        let people =
            Self::with(text("/owner/token"), text("/gateway/client_id"), text("/gateway/client_secret"));
        people.until_active(base, &people.owner).await;
        people
    }

    /// By their credentials.
    pub(crate) fn with(token: &str, gateway: &str, secret: &str) -> Self {
        let client = Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        Self { owner: token.into(), gateway: (gateway.into(), secret.into()), client }
    }

    /// The same, with connections of their own, for another runtime.
    pub(crate) fn apart(&self) -> Self {
        Self::with(&self.owner, &self.gateway.0, &self.gateway.1)
    }

    /// The owner's own token, which nobody ends.
    pub(crate) fn own(&self) -> &str {
        &self.owner
    }

    async fn send(&self, request: RequestBuilder) -> Result<(StatusCode, Value), reqwest::Error> {
        let response = request.send().await?;
        let status = response.status();
        Ok((status, serde_json::from_slice(&response.bytes().await?).unwrap_or(Value::Null)))
    }

    /// A request of the owner's. What is issued has a note: a personal value, beside the event.
    pub(crate) async fn ask(
        &self,
        base: &str,
        method: Method,
        path: &str,
    ) -> Result<(StatusCode, Value), reqwest::Error> {
        let request = self.client.request(method.clone(), format!("{base}{path}")).bearer_auth(&self.owner);
        let body = if path.ends_with("/tokens") { json!({ "note": NOTE }) } else { json!({}) };
        self.send(if method == Method::POST { request.json(&body) } else { request }).await
    }

    /// The same, as soon as it can be answered: on a busy machine the service may lack a proof for a moment.
    pub(crate) async fn insist(&self, base: &str, method: Method, path: &str) -> (StatusCode, Value) {
        let since = Instant::now();
        loop {
            let answer = self.ask(base, method.clone(), path).await.unwrap();
            if answer.0 != StatusCode::SERVICE_UNAVAILABLE {
                return answer;
            }
            assert!(since.elapsed() < Duration::from_secs(60), "{path} stays unavailable");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The gateway's question, and its answer.
    pub(crate) async fn introspection(
        &self,
        base: &str,
        plaintext: &str,
    ) -> Result<(StatusCode, Value), reqwest::Error> {
        let (id, secret) = &self.gateway;
        let request = self.client.post(format!("{base}/oauth2/introspect")).basic_auth(id, Some(secret));
        let form = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={plaintext}"));
        self.send(form).await
    }

    /// What the gateway is told; none where it is told that nobody knows now.
    pub(crate) async fn introspect(&self, base: &str, plaintext: &str) -> Option<bool> {
        match self.introspection(base, plaintext).await {
            Ok((StatusCode::OK, answer)) => answer["active"].as_bool(),
            _ => None,
        }
    }

    /// Waits until a token is known to be active; how long that took.
    pub(crate) async fn until_active(&self, base: &str, plaintext: &str) -> Duration {
        let since = Instant::now();
        while self.introspect(base, plaintext).await != Some(true) {
            assert!(since.elapsed() < Duration::from_secs(60), "the token does not become active");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        since.elapsed()
    }
}

impl Ledger {
    fn note(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    /// How many issues and revokes were acknowledged.
    pub(crate) fn done(&self) -> usize {
        *self.done.lock().unwrap()
    }

    /// Waits until the load got through some more.
    pub(crate) async fn some_more(&self) {
        let (before, since) = (self.done(), Instant::now());
        while self.done() < before + 20 {
            assert!(since.elapsed() < Duration::from_secs(60), "nothing gets through any more");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Every acknowledged issue is active and has its note, every acknowledged revoke is not, and nothing else went wrong.
    pub(crate) async fn check(&self, people: &People, base: &str) {
        let standing: Vec<_> = self.standing.lock().unwrap().clone().into_iter().collect();
        for (id, plaintext) in standing {
            assert_eq!(people.introspect(base, &plaintext).await, Some(true), "issued, and lost: {id}");
            let (_, token) = people.insist(base, Method::GET, &format!("/v1/user/tokens/{id}")).await;
            assert_eq!(token["note"], NOTE, "issued, and its note lost: {token}");
        }
        let ended = self.ended.lock().unwrap().clone();
        for plaintext in ended {
            assert_eq!(people.introspect(base, &plaintext).await, Some(false), "revoked, and back");
        }
        let wrong = self.wrong.lock().unwrap().clone();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// Revokes all, what was issued without anybody being told included, so that the next load has room.
    pub(crate) async fn tidy(&self, people: &People, base: &str) {
        let (_, own) = people.insist(base, Method::GET, "/v1/token").await;
        let (_, list) = people.insist(base, Method::GET, "/v1/user/tokens?limit=100").await;
        for token in list["items"].as_array().unwrap().iter().filter(|token| token["id"] != own["id"]) {
            let id = token["id"].as_str().unwrap();
            let path = format!("/v1/user/tokens/{id}");
            let (status, _) = people.insist(base, Method::DELETE, &path).await;
            assert_eq!(status, StatusCode::NO_CONTENT);
            let plaintext = self.standing.lock().unwrap().remove(id);
            self.ended.lock().unwrap().extend(plaintext);
        }
    }
}

/// Workers that issue and revoke until they are stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    workers: JoinSet<()>,
}

/// How many workers.
const WORKERS: usize = 4;
/// How many tokens stand per worker: fewer than the limit allows in all, since some are issued untold.
const EACH: usize = 6;

impl Load {
    /// Starts it. Only where the service itself is killed may a connection fail.
    pub(crate) fn start(people: &People, base: &str, ledger: &Arc<Ledger>, may_fail: bool) -> Self {
        let (stop, mut workers) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for _ in 0..WORKERS {
            let worker = Worker {
                people: people.clone(),
                base: base.into(),
                ledger: ledger.clone(),
                may_fail,
                own: Vec::new(),
            };
            workers.spawn(worker.work(stop.clone()));
        }
        Self { stop, workers }
    }

    /// Ends it, with its last requests answered.
    pub(crate) async fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.workers.join_all().await;
    }
}

struct Worker {
    people: People,
    base: String,
    ledger: Arc<Ledger>,
    may_fail: bool,
    own: Vec<(String, String)>,
}

impl Worker {
    async fn work(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Acquire) {
            let well = if self.own.len() < EACH { self.issue().await } else { self.revoke().await };
            if !well {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    async fn issue(&mut self) -> bool {
        let answer = self.people.ask(&self.base, Method::POST, "/v1/user/tokens").await;
        let Some(token) = self.acknowledged(answer, StatusCode::CREATED) else { return false };
        let [id, plaintext] = ["id", "plaintext"].map(|field| token[field].as_str().unwrap().to_string());
        self.ledger.standing.lock().unwrap().insert(id.clone(), plaintext.clone());
        if self.people.introspect(&self.base, &plaintext).await == Some(false) {
            self.ledger.note(format!("issued, and inactive at once: {id}"));
        }
        self.own.push((id, plaintext));
        true
    }

    async fn revoke(&mut self) -> bool {
        let (id, plaintext) = self.own.remove(0);
        // From here on nobody may rely on it, whatever comes of the request.
        self.ledger.standing.lock().unwrap().remove(&id);
        let answer = self.people.ask(&self.base, Method::DELETE, &format!("/v1/user/tokens/{id}")).await;
        if self.acknowledged(answer, StatusCode::NO_CONTENT).is_none() {
            return false;
        }
        if self.people.introspect(&self.base, &plaintext).await == Some(true) {
            self.ledger.note(format!("revoked, and active: {id}"));
        }
        self.ledger.ended.lock().unwrap().push(plaintext);
        true
    }

    /// The answer to what was done. Anything but that, "not now", or "too many" is noted as wrong.
    fn acknowledged(
        &self,
        answer: Result<(StatusCode, Value), reqwest::Error>,
        done: StatusCode,
    ) -> Option<Value> {
        match answer {
            Ok((status, body)) if status == done => {
                *self.ledger.done.lock().unwrap() += 1;
                return Some(body);
            }
            Ok((StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT, _)) => {}
            Ok((status, body)) => self.ledger.note(format!("{status}: {body}")),
            Err(error) if self.may_fail => drop(error),
            Err(error) => self.ledger.note(error.to_string()),
        }
        None
    }
}
