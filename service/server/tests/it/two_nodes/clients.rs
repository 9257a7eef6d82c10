//! Clients of a node that may serve or not: they issue, revoke and introspect, and note what must not be.

use crate::support::load::People;
use crate::support::{Service, until};
use futures_util::future::join_all;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use sqlx::Row;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

/// A token whose issue was acknowledged.
struct Token {
    id: String,
    plaintext: String,
    /// Somebody has asked for its end.
    doomed: AtomicBool,
    /// Its end was acknowledged.
    ended: AtomicBool,
}

/// A write that was acknowledged to who asked first for it.
struct Write {
    event: &'static str,
    id: String,
    asked: Instant,
    answered: Instant,
    /// By which node.
    base: String,
}

/// What both nodes have acknowledged.
#[derive(Default)]
pub(super) struct Ledger {
    /// All, in the order in which they were issued.
    tokens: Mutex<Vec<Arc<Token>>>,
    /// Those whose end nobody has acknowledged, the oldest first.
    standing: Mutex<VecDeque<Arc<Token>>>,
    writes: Mutex<Vec<Write>>,
    /// Where nodes listen.
    nodes: Mutex<Vec<String>>,
    /// What must not have happened.
    wrong: Mutex<Vec<String>>,
}

/// How many tokens stand at least before one is ended.
const STANDING: usize = 6;
/// How many of the last tokens are asked about every other time.
const LAST: usize = 12;

impl Ledger {
    fn note(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    /// What must not have happened.
    pub(super) fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    /// Waits until a node has acknowledged some more.
    pub(super) async fn some_more(&self, base: &str) {
        let done = || self.writes.lock().unwrap().iter().filter(|write| write.base == base).count();
        let before = done();
        until("a node acknowledges some more", async || done() >= before + 10).await;
    }

    /// One to be ended, unless too few stand.
    fn next_to_end(&self) -> Option<Arc<Token>> {
        let mut standing = self.standing.lock().unwrap();
        if standing.len() > STANDING { standing.pop_front() } else { None }
    }

    fn acknowledged(&self, event: &'static str, id: &str, asked: Instant, base: &str) {
        let (id, base, answered) = (id.into(), base.into(), Instant::now());
        self.writes.lock().unwrap().push(Write { event, id, asked, answered, base });
    }

    /// What was acknowledged is in the log, once, and after all that was acknowledged before it was asked for.
    pub(super) async fn is_in_the_log(&self, service: &Service) {
        let sql = "SELECT type, subject_id, seq FROM events WHERE type IN ('token.issued', 'token.revoked')";
        let rows = sqlx::query(sql).fetch_all(&service.database.pool).await.unwrap();
        let mut log = HashMap::<(String, String), i64>::new();
        for row in rows {
            let event = (row.get(0), row.get::<Uuid, _>(1).to_string());
            assert!(!log.contains_key(&event), "{event:?} happened twice");
            log.insert(event, row.get(2));
        }
        let writes = self.writes.lock().unwrap();
        let seq = |write: &Write| log[&(write.event.to_owned(), write.id.clone())];
        let mut by_answer: Vec<_> = writes.iter().map(|write| (write.answered, seq(write))).collect();
        by_answer.sort_unstable();
        let mut by_asking: Vec<_> = writes.iter().collect();
        by_asking.sort_unstable_by_key(|write| write.asked);
        let (mut answered, mut last) = (by_answer.into_iter().peekable(), 0);
        for write in by_asking {
            while let Some((_, seq)) = answered.next_if(|(at, _)| *at < write.asked) {
                last = last.max(seq);
            }
            assert!(seq(write) > last, "{} of {} comes before {last}", write.event, write.id);
        }
    }
}

/// Somebody who writes at a node and somebody who asks there, until they are stopped.
pub(super) struct Clients {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Clients {
    /// Starts them.
    pub(super) fn of(people: &People, base: &str, ledger: &Arc<Ledger>, seed: u64) -> Self {
        let (stop, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        let people = people.clone();
        ledger.nodes.lock().unwrap().push(base.into());
        let client = Client { people, base: base.into(), ledger: ledger.clone(), stop: stop.clone() };
        tasks.spawn(client.clone().ask(StdRng::seed_from_u64(seed)));
        tasks.spawn(client.write());
        Self { stop, tasks }
    }

    /// Ends them, with their last requests answered.
    pub(super) async fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.tasks.join_all().await;
    }
}

#[derive(Clone)]
struct Client {
    people: People,
    base: String,
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
}

impl Client {
    async fn write(self) {
        while !self.stop.load(Ordering::Acquire) {
            match self.ledger.next_to_end() {
                Some(token) => self.revoke(token).await,
                None => self.issue().await,
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// A write of the owner's: what it came to, if it was done. "Not now" is the only other answer.
    async fn written(&self, method: Method, path: &str) -> Option<Value> {
        match self.people.ask(&self.base, method, path).await {
            Ok((StatusCode::CREATED | StatusCode::NO_CONTENT, answer)) => Some(answer),
            Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => None,
            other => {
                self.ledger.note(format!("{path}: {other:?}"));
                None
            }
        }
    }

    async fn issue(&self) {
        let asked = Instant::now();
        let Some(token) = self.written(Method::POST, "/v1/user/tokens").await else { return };
        let [id, plaintext] = ["id", "plaintext"].map(|field| token[field].as_str().unwrap().to_owned());
        self.ledger.acknowledged("token.issued", &id, asked, &self.base);
        let token = Arc::new(Token { id, plaintext, doomed: false.into(), ended: false.into() });
        self.ledger.tokens.lock().unwrap().push(token.clone());
        self.ledger.standing.lock().unwrap().push_back(token.clone());
        self.ask_every_node(&token).await;
    }

    async fn revoke(&self, token: Arc<Token>) {
        let (asked, is_first) = (Instant::now(), !token.doomed.swap(true, Ordering::SeqCst));
        if self.written(Method::DELETE, &format!("/v1/user/tokens/{}", token.id)).await.is_none() {
            return self.ledger.standing.lock().unwrap().push_back(token);
        }
        token.ended.store(true, Ordering::SeqCst);
        // Who asks again is told of what may have been done for the first who asked.
        if is_first {
            self.ledger.acknowledged("token.revoked", &token.id, asked, &self.base);
        }
        self.ask_every_node(&token).await;
    }

    /// Asks at once, since a node that is wrong may not be so for long.
    async fn ask_every_node(&self, token: &Token) {
        let nodes = self.ledger.nodes.lock().unwrap().clone();
        join_all(nodes.iter().map(|base| self.introspect(base, token))).await;
    }

    async fn ask(self, mut dice: StdRng) {
        while !self.stop.load(Ordering::Acquire) {
            let token = {
                let tokens = self.ledger.tokens.lock().unwrap();
                let from = if dice.random() { tokens.len().saturating_sub(LAST) } else { 0 };
                (!tokens.is_empty()).then(|| tokens[dice.random_range(from..tokens.len())].clone())
            };
            if let Some(token) = token {
                self.introspect(&self.base, &token).await;
            }
            sleep(Duration::from_millis(3)).await;
        }
    }

    /// Asks about a token. What has ended before is not active; what nobody wanted ended until after is not inactive;
    /// and the gateway is never a stranger.
    async fn introspect(&self, base: &str, token: &Token) {
        let had_ended = token.ended.load(Ordering::SeqCst);
        let answer = self.people.introspection(base, &token.plaintext).await;
        let doomed = token.doomed.load(Ordering::SeqCst);
        let told = match answer {
            Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => return,
            Ok((StatusCode::OK, answer)) => answer["active"].as_bool(),
            other => return self.ledger.note(format!("an introspection: {other:?}")),
        };
        let wrong = match told {
            Some(true) => had_ended.then_some("is revoked, and called active"),
            Some(false) => (!doomed).then_some("stands, and is called inactive"),
            None => Some("is neither"),
        };
        if let Some(wrong) = wrong {
            self.ledger.note(format!("{} {wrong} by {base}", token.id));
        }
    }
}
