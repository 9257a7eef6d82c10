//! One signal while everything is under way that can be: nothing that was acknowledged is lost, nothing is done twice, and
//! nobody holds the program up.

use super::super::FORM;
use super::clients::{Issued, Seen, TOKENS, Way, bearer, follows, introspects, issues, take};
use crate::support::http2::{END_HEADERS, END_STREAM, Frames, Http2, UnderWay, frame, head, kind, later};
use crate::support::load::People;
use crate::support::people::{add_member, command as act, commit, person, persons};
use crate::support::program::{Program, command, verify};
use crate::support::raw::Raw;
use crate::support::{PATIENCE, Scratch, Service, until};
use counterfoil::clock::Clock;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::ids::UserId;
use counterfoil_domain::role::Role;
use nix::sys::signal::Signal;
use reqwest::{Client, Method};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinSet;

/// People who issue: half of them over HTTP/2. Each has few tokens at a time, since few may stand.
const PEOPLE: usize = 8;
/// Issues of each that are under way at once.
const AT_ONCE: usize = 8;
/// Batches of events: more than the buffers between a service and a client hold that takes nothing.
const BATCHES: usize = 16;
/// How long requests under way may take.
const DRAIN: Duration = Duration::from_secs(5);

/// An organization with many events.
struct Crowd {
    scratch: Scratch,
    owner: People,
    auditor: String,
    issuers: Vec<String>,
}

async fn crowd() -> Crowd {
    let service = Service::start().await;
    let operator = Actor::Operator { command: "test".into() };
    let add = |number: usize| {
        let email = format!("{number}@example.com");
        act(&service, &operator, add_member(UserId(Clock::system().uuid()), &email, Role::Member))
    };
    for batch in 0..BATCHES {
        let added: Vec<_> = (batch * 128..(batch + 1) * 128).map(add).collect();
        assert!(commit(&service, &added).await.iter().all(Result::is_ok));
    }
    let emails: Vec<_> = (0..PEOPLE).map(|number| format!("issuer{number}@example.com")).collect();
    let issuers = persons(&service, &emails, Role::Member).await.into_iter().map(|person| person.plaintext);
    let issuers = issuers.collect();
    let auditor = person(&service, "auditor@example.com", Role::Auditor).await.plaintext;
    let (scratch, made) = service.into_data().await;
    let owner = People::with(&made.owner.token, &made.gateway.client_id, &made.gateway.client_secret);
    Crowd { scratch, owner, auditor, issuers }
}

/// A stream whose client takes nothing until it is told to.
async fn stalled(base: &str, token: &str) -> Raw {
    let mut raw = Raw::from("127.0.0.1", base).await;
    let accept = "Accept: application/x-ndjson\r\n";
    // Without chunks: it ends with the connection.
    raw.send(format!("GET /v1/events HTTP/1.0\r\nAuthorization: Bearer {token}\r\n{accept}\r\n")).await;
    raw
}

/// The same over HTTP/2.
async fn stalled_http2(base: &str, token: &str) -> Frames {
    // A window for a little (RFC 9113 section 6.9.2).
    let mut frames = Frames::to(base, &[(4, 100)]).await;
    let authorization = format!("Bearer {token}");
    let more = [("authorization", authorization.as_str()), ("accept", "application/x-ndjson")];
    frames.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &head("GET", "/v1/events", &more))).await;
    assert_eq!(frames.until(kind::DATA).await.unwrap().payload.len(), 100);
    frames
}

/// A request of which half a body was sent.
type Half = (UnboundedSender<&'static str>, UnderWay);

/// What clients have open that do not ask again and again.
struct Open {
    idle: Vec<Raw>,
    /// Half of a request: the rest comes late.
    half: Raw,
    /// The same, on a connection of HTTP/2.
    half_of_http2: Half,
    /// Events, which are read on late.
    reads: Raw,
    /// All of these, and their rest never comes, nor is taken.
    _never: ([Raw; 4], Frames, Http2, Half),
}

impl Open {
    async fn at(base: &str, owner: &str, issuer: &str) -> Self {
        let mut idle = Vec::new();
        for _ in 0..20 {
            let mut raw = Raw::to(base).await;
            raw.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert_eq!(raw.answer().await.status, 200);
            idle.push(raw);
        }
        let begun =
            format!("POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\n{FORM}Content-Length: 7\r\n\r\ntok");
        let [mut half, mut body, mut head] = [Raw::to(base).await, Raw::to(base).await, Raw::to(base).await];
        half.send(&begun).await;
        body.send(&begun).await;
        head.send("POST /oauth2/introspect HTT").await;
        let http2 = Http2::to(base).await;
        let half_of_http2 = || {
            let (send, body) = later();
            send.send("{").unwrap();
            (send, http2.begin("POST", TOKENS, &bearer(issuer), body))
        };
        let (half_of_http2, never) = (half_of_http2(), half_of_http2());
        let [reads, first, second] =
            [stalled(base, owner).await, stalled(base, owner).await, stalled(base, owner).await];
        let frames = stalled_http2(base, owner).await;
        let _never = ([body, head, first, second], frames, http2, never);
        Self { idle, half, half_of_http2, reads, _never }
    }

    /// What was under way is answered while the service drains; the token that was issued.
    async fn is_answered(&mut self) -> String {
        for raw in &mut self.idle {
            assert!(raw.ends_within(PATIENCE).await);
        }
        self.half.send("en=x").await;
        assert_eq!(self.half.answer().await.status, 401);
        let (rest, answer) = &mut self.half_of_http2;
        rest.send("}").unwrap();
        *rest = mpsc::unbounded_channel().0;
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
        // A stream ends where its client goes on later, and says so.
        let events = self.reads.answer().await;
        let end = take(&events.body, 0, &mut Seen::new());
        assert!(events.status == 200 && matches!(end, Some((1.., false))), "{end:?}");
        answer.json()["id"].as_str().unwrap().into()
    }
}

/// Asks once more for what may be done or not; its id.
async fn again(way: &Way, token: &str, key: &str) -> String {
    let mut id = None;
    let answered = async || {
        let (status, made) = way.ask(Method::POST, TOKENS, token, key).await.unwrap();
        assert!(matches!(status, 200 | 201 | 503), "{status}: {made}");
        id = made["id"].as_str().map(String::from);
        id.is_some()
    };
    until("it is issued", answered).await;
    id.unwrap()
}

/// Every personal token that the log has, and how often; and the whole log.
async fn log(base: &str, auditor: &str) -> (HashMap<String, usize>, Seen) {
    let request = Client::new().get(format!("{base}/v1/events")).bearer_auth(auditor);
    let text = request.header("accept", "application/x-ndjson").send().await.unwrap().text().await.unwrap();
    let (mut issued, mut seen) = (HashMap::new(), Seen::new());
    assert!(take(&text, 0, &mut seen).unwrap().1);
    for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let body = &line["record"]["body"];
        if line["record"]["type"] == "token.issued" && body["token_kind"] == "personal" {
            *issued.entry(body["id"].as_str().unwrap().into()).or_default() += 1;
        }
    }
    (issued, seen)
}

/// Whoever issues, asks and follows, over and over.
struct Busy {
    issuing: JoinSet<Issued>,
    asking: JoinSet<usize>,
    following: JoinSet<Seen>,
}

impl Busy {
    /// Starts them, and waits until they are at it.
    async fn at(base: &str, crowd: &Crowd) -> Self {
        let mut busy = Self { issuing: JoinSet::new(), asking: JoinSet::new(), following: JoinSet::new() };
        let done = Arc::new(AtomicUsize::new(0));
        for (number, token) in crowd.issuers.iter().enumerate() {
            let way = match number % 2 {
                0 => Way::Http1(Client::new(), base.into()),
                _ => Way::Http2(Arc::new(Http2::to(base).await)),
            };
            for _ in 0..AT_ONCE {
                busy.issuing.spawn(issues(way.clone(), token.clone(), done.clone()));
            }
        }
        for _ in 0..4 {
            busy.asking.spawn(introspects(crowd.owner.apart(), base.into()));
        }
        for _ in 0..2 {
            busy.following.spawn(follows(base.into(), crowd.auditor.clone()));
        }
        let at_it = async || done.load(Ordering::Relaxed) > 2 * PEOPLE * AT_ONCE;
        until("issues are under way", at_it).await;
        busy
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_signal_amid_everything_loses_nothing_and_waits_for_nobody() {
    let crowd = crowd().await;
    let mut serve = command(crowd.scratch.path(), &["serve"]);
    serve.env("COUNTERFOIL__DRAIN__TIMEOUT_MS", DRAIN.as_millis().to_string());
    let mut program = Program::start(serve);
    program.until_ready().await;
    let mut open = Open::at(program.base(), crowd.owner.own(), &crowd.issuers[0]).await;
    let busy = Busy::at(program.base(), &crowd).await;
    let began = Instant::now();
    program.signal(Signal::SIGTERM);
    let late = open.is_answered().await;
    let status = program.ended_within(PATIENCE).await;
    assert!(status.is_some_and(|status| status.success()), "{}", program.said());
    // The notice before the drain, and what stopping PostgreSQL takes, on a machine that has more to do.
    assert!(began.elapsed() < DRAIN + Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(crowd.scratch.processes().is_empty());
    assert!(busy.asking.join_all().await.into_iter().all(|active| active > 0));
    let issued = busy.issuing.join_all().await;

    let mut program = Program::serve(crowd.scratch.path()).await;
    let way = Way::Http1(Client::new(), program.base().into());
    let mut there = vec![late];
    for Issued { token, acknowledged, unanswered } in issued {
        there.extend(acknowledged);
        // Done or not: asked for again, it is there once.
        if let Some(key) = unanswered {
            there.push(again(&way, &token, &key).await);
        }
    }
    let (in_log, events) = log(program.base(), &crowd.auditor).await;
    assert!(there.iter().all(|id| in_log.get(id) == Some(&1)), "acknowledged, and not there once");
    // The owner's, the auditor's and the issuers' own were there before.
    assert_eq!(in_log.values().sum::<usize>(), there.len() + 2 + PEOPLE);
    for seen in busy.following.join_all().await {
        assert!(seen.iter().all(|(seq, chain)| events.get(seq) == Some(chain)), "shown, and not there");
    }
    program.stop().await;
    verify(crowd.scratch.path()).await;
}
