//! How a stream of events ends, and with what.

use super::{Line, lines, padding};
use crate::support::Service;
use crate::support::browser::{OWNER, browse, owners_password, signed_in};
use crate::support::http2::{END_HEADERS, END_STREAM, Frames, frame, head, kind};
use crate::support::people::person;
use crate::support::raw::{Raw, exchange};
use counterfoil::clock::Clock;
use counterfoil::ops::drain::Stage;
use counterfoil::read_model::people;
use counterfoil_domain::ids::UserId;
use counterfoil_domain::role::Role;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Events in the log: more than the buffers between a service and its client hold.
const MANY: i64 = 60_000;

/// A service with many events.
async fn with_many() -> Service {
    let service = Service::start().await;
    padding(&service, "user.password_set", service.made.owner.id, MANY).await;
    service
}

/// A stream of which a first piece was read.
struct Begun {
    response: Response,
    text: Vec<u8>,
}

/// Begins to read as whoever has a credential: a token, or a cookie.
async fn begin(service: &Service, credential: &str) -> Begun {
    let request = Client::new().get(format!("{}/v1/events", service.base()));
    let request = if credential.contains('=') {
        request.header("cookie", credential)
    } else {
        request.bearer_auth(credential)
    };
    let mut response = request.header("accept", "application/x-ndjson").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let text = response.chunk().await.unwrap().unwrap().to_vec();
    Begun { response, text }
}

impl Begun {
    /// Reads to the end.
    async fn lines(mut self) -> Vec<Line> {
        while let Some(chunk) = self.response.chunk().await.unwrap() {
            self.text.extend_from_slice(&chunk);
        }
        lines(std::str::from_utf8(&self.text).unwrap())
    }
}

/// Asserts that a stream ended before its end, at a whole line that says where to go on.
fn assert_ended_early(lines: &[Line], why: &str) {
    let end = lines.last().unwrap();
    assert_eq!((end.more, end.next_after), (Some(true), Some(lines.len() as u64 - 1)), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_at_a_whole_line_when_the_service_stops() {
    let service = with_many().await;
    let begun = begin(&service, &service.made.owner.token).await;
    service.drain().reach(Stage::Leaving);
    service.drain().reached(Stage::Draining).await;
    assert_ended_early(&begun.lines().await, "it stops");
    service.stop().await;
}

/// A token of the owner's, and its path.
async fn token(service: &Service) -> (String, String) {
    let token = service.issue(json!({})).await;
    let text = |field: &str| token[field].as_str().unwrap().to_string();
    (text("plaintext"), format!("/v1/user/tokens/{}", text("id")))
}

/// What ends a stream's right.
#[derive(Clone, Copy, Debug)]
enum Ends {
    Revoked,
    Disabled,
    Narrowed,
    Rotated,
    Expired,
    SignedOut,
    Role,
}

impl Ends {
    /// Begins a stream whose credential ends so, and ends it.
    async fn of(self, service: &Service) -> Begun {
        let owner = &service.made.owner.token;
        let (plaintext, path) = token(service).await;
        let (method, path, body) = match self {
            Self::Revoked => (Method::DELETE, path, json!({})),
            Self::Disabled => (Method::POST, format!("{path}/disable"), json!({})),
            Self::Narrowed => (Method::PATCH, path, json!({ "scopes": ["write"] })),
            Self::Rotated => (Method::POST, format!("{path}/rotate"), json!({ "overlap": 0 })),
            Self::Expired => {
                let soon = Clock::system().now().plus_seconds(1);
                let begun = begin(service, &plaintext).await;
                let body = json!({ "expires_at": soon.to_string() });
                assert_eq!(service.call(Method::PATCH, &path, owner, Some(body)).await.0, StatusCode::OK);
                while Clock::system().now() < soon {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                return begun;
            }
            Self::SignedOut => {
                let session = signed_in(service, OWNER, &owners_password(service)).await;
                let begun = begin(service, &session).await;
                let (status, _) = browse(service, &session, Method::DELETE, "/v1/session", None).await;
                assert_eq!(status, StatusCode::NO_CONTENT);
                return begun;
            }
            Self::Role => {
                let auditor = person(service, "auditor@example.com", Role::Auditor).await;
                let begun = begin(service, &auditor.plaintext).await;
                becomes_member(service, auditor.user).await;
                return begun;
            }
        };
        let begun = begin(service, &plaintext).await;
        let (status, answer) = service.call(method, &path, owner, Some(body)).await;
        assert!(status.is_success(), "{answer}");
        begun
    }
}

/// Somebody's role is a member's from now on, as far as the index knows.
async fn becomes_member(service: &Service, user: UserId) {
    let mut user = people::by_id(&service.database.pool, user).await.unwrap().unwrap().user;
    user.memberships.values_mut().for_each(|membership| membership.role = Some(Role::Member));
    service.app().index.put_user(&user, "auditor@example.com");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_credential_or_its_right() {
    let service = with_many().await;
    for ends in [
        Ends::Revoked,
        Ends::Disabled,
        Ends::Narrowed,
        Ends::Rotated,
        Ends::Expired,
        Ends::SignedOut,
        Ends::Role,
    ] {
        let begun = ends.of(&service).await;
        assert_ended_early(&begun.lines().await, &format!("{ends:?}"));
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_cut_off_when_its_credential_ends() {
    let service = with_many().await;
    let (plaintext, path) = token(&service).await;
    let mut stalled = Raw::to(service.base()).await;
    let head = format!(
        "GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {plaintext}\r\nAccept: application/x-ndjson\r\n\r\n"
    );
    stalled.send(head).await;
    let is_open = || !service.metrics().contains("counterfoil_connections 0");
    while !is_open() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // It goes on to be waited for while the credential is good.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(is_open());
    let owner = &service.made.owner.token;
    assert_eq!(service.call(Method::DELETE, &path, owner, None).await.0, StatusCode::NO_CONTENT);
    let ended = Instant::now();
    while is_open() {
        assert!(ended.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let answer = stalled.answer().await;
    assert_eq!(answer.status, 200);
    assert!(!answer.body.contains("next_after"), "it was not cut");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_http_1_0_gets_the_whole_stream_to_the_connections_end() {
    let service = Service::start().await;
    let head = format!(
        "GET /v1/events HTTP/1.0\r\nAuthorization: Bearer {}\r\nAccept: application/x-ndjson\r\n\r\n",
        service.made.owner.token
    );
    let answer = exchange(service.base(), head).await;
    // It knows no chunks: its end is the connection's.
    assert_eq!((answer.status, answer.header("transfer-encoding")), (200, None), "{answer:?}");
    let last: Value = serde_json::from_str(answer.body.lines().last().unwrap()).unwrap();
    assert_eq!((&last["more"], &last["head"]), (&json!(false), &last["next_after"]), "{}", answer.body);
    assert_eq!(answer.body.lines().count() as u64, last["head"].as_u64().unwrap() + 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_it_loses_its_connection_too() {
    let service = with_many().await;
    let (plaintext, path) = token(&service).await;
    // A window for a little (RFC 9113 section 6.9.2).
    let mut stalled = Frames::to(service.base(), &[(4, 100)]).await;
    let authorization = format!("Bearer {plaintext}");
    let more = [("authorization", authorization.as_str()), ("accept", "application/x-ndjson")];
    stalled.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &head("GET", "/v1/events", &more))).await;
    // As much as the window lets through.
    assert_eq!(stalled.until(kind::DATA).await.unwrap().payload.len(), 100);
    let owner = &service.made.owner.token;
    assert_eq!(service.call(Method::DELETE, &path, owner, None).await.0, StatusCode::NO_CONTENT);
    let ended = Instant::now();
    assert!(stalled.fate(1).await.is_none());
    assert!(ended.elapsed() < Duration::from_secs(10));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_after_a_credentials_end_is_not_shown_to_it() {
    let service = Service::start().await;
    let pool = service.database.pool.clone();
    for accept in ["application/json", "application/x-ndjson"] {
        let (plaintext, path) = token(&service).await;
        let most = pool.options().get_max_connections();
        let held = futures_util::future::join_all((0..most).map(|_| pool.acquire())).await;
        // It is let in, and waits for the database.
        let keys = service.app().rates.keys();
        let request = Client::new().get(format!("{}/v1/events", service.base())).bearer_auth(plaintext);
        let waiting = tokio::spawn(request.header("accept", accept).send());
        while service.app().rates.keys() == keys {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let owner = &service.made.owner.token;
        assert_eq!(service.call(Method::DELETE, &path, owner, None).await.0, StatusCode::NO_CONTENT);
        service.issue(json!({})).await;
        drop(held);
        let answer = waiting.await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.json::<Value>().await.unwrap()["type"], "/problems/unauthenticated");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_outlasts_a_pool_that_has_nothing_to_give() {
    let service = with_many().await;
    let session = signed_in(&service, OWNER, &owners_password(&service)).await;
    let pool = service.database.pool.clone();
    for credential in [session, service.made.owner.token.clone()] {
        let begun = begin(&service, &credential).await;
        let held =
            futures_util::future::join_all((0..pool.options().get_max_connections()).map(|_| pool.acquire()))
                .await;
        // Longer than a reader of the pool waits.
        let release = async {
            tokio::time::sleep(Duration::from_millis(5500)).await;
            drop(held);
        };
        let (lines, ()) = tokio::join!(begun.lines(), release);
        assert_eq!(lines.last().unwrap().more, Some(false));
        assert!(lines.len() as i64 > MANY);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_a_few_streams_at_a_time() {
    let service = with_many().await;
    let mut open = Vec::new();
    for _ in 0..4 {
        // Another token each time makes nobody another user.
        let (plaintext, _) = token(&service).await;
        open.push(begin(&service, &plaintext).await);
    }
    let (plaintext, _) = token(&service).await;
    let ask = async || {
        let request = Client::new().get(format!("{}/v1/events", service.base())).bearer_auth(&plaintext);
        request.header("accept", "application/x-ndjson").send().await.unwrap()
    };
    let refused = ask().await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.json::<Value>().await.unwrap()["type"], "/problems/too-many-streams");
    // Pages are no streams, and other users have their own.
    assert_eq!(service.call(Method::GET, "/v1/events", &plaintext, None).await.0, StatusCode::OK);
    let auditor = person(&service, "auditor@example.com", Role::Auditor).await;
    drop(begin(&service, &auditor.plaintext).await);
    // One that ends makes room, whether it is read to its end or given up.
    open.pop().unwrap().lines().await;
    drop(open.pop());
    let until = Instant::now() + Duration::from_secs(20);
    for _ in 0..2 {
        let mut again = ask().await;
        while again.status() != StatusCode::OK {
            assert!(Instant::now() < until);
            tokio::time::sleep(Duration::from_millis(20)).await;
            again = ask().await;
        }
        open.push(Begun { response: again, text: Vec::new() });
    }
    assert_eq!(ask().await.status(), StatusCode::TOO_MANY_REQUESTS);
    service.stop().await;
}
