//! Clients that ask again and again, until they are not answered any more.

use crate::support::http2::Http2;
use crate::support::load::People;
use bytes::Bytes;
use counterfoil::clock::Clock;
use http_body_util::{BodyExt, Full};
use reqwest::{Client, Method};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) const TOKENS: &str = "/v1/user/tokens";

/// How somebody asks.
#[derive(Clone)]
pub(super) enum Way {
    Http1(Client, String),
    Http2(Arc<Http2>),
}

pub(super) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n")
}

impl Way {
    /// Asks; none if that came to no answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        token: &str,
        key: &str,
    ) -> Option<(u16, Value)> {
        match self {
            Self::Http1(client, base) => {
                let request = client.request(method, format!("{base}{path}")).bearer_auth(token);
                let request =
                    request.header("idempotency-key", key).header("content-type", "application/json");
                let response = request.body("{}").send().await.ok()?;
                let status = response.status().as_u16();
                Some((status, serde_json::from_slice(&response.bytes().await.ok()?).unwrap_or(Value::Null)))
            }
            Self::Http2(http2) => {
                let headers = format!("{}Idempotency-Key: {key}\r\n", bearer(token));
                let body = Full::new(Bytes::from_static(b"{}")).boxed();
                let answer = http2.begin(method.as_str(), path, &headers, body).await.unwrap()?;
                Some((answer.status, answer.json()))
            }
        }
    }
}

/// Somebody who issues and revokes until that is not answered any more: what was acknowledged, by its id, and the key of
/// what may or may not be done.
pub(super) struct Issued {
    pub(super) token: String,
    pub(super) acknowledged: Vec<String>,
    pub(super) unanswered: Option<String>,
}

pub(super) async fn issues(way: Way, token: String, done: Arc<AtomicUsize>) -> Issued {
    let mut issued = Issued { token, acknowledged: Vec::new(), unanswered: None };
    loop {
        let key = Clock::system().uuid().to_string();
        match way.ask(Method::POST, TOKENS, &issued.token, &key).await {
            Some((201, made)) => {
                done.fetch_add(1, Ordering::Relaxed);
                let id = made["id"].as_str().unwrap().to_string();
                let path = format!("{TOKENS}/{id}");
                issued.acknowledged.push(id);
                match way.ask(Method::DELETE, &path, &issued.token, &format!("{key}-")).await {
                    Some((204, _)) => {}
                    None | Some((503, _)) => return issued,
                    other => panic!("{other:?}"),
                }
            }
            None | Some((503, _)) => {
                issued.unanswered = Some(key);
                return issued;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Somebody who asks for a token that lives: it is never called inactive.
pub(super) async fn introspects(people: People, base: String) -> usize {
    let mut active = 0;
    while let Ok((status, answer)) = people.introspection(&base, people.own()).await {
        assert!(status == 503 || status == 200 && answer["active"] == true, "{status}: {answer}");
        active += usize::from(status == 200);
    }
    active
}

/// Positions of the log, and what proves them.
pub(super) type Seen = HashMap<u64, String>;

/// Takes the lines of a stream into account; where to go on, and whether that is all for now, if its last line is there.
pub(super) fn take(text: &str, after: u64, seen: &mut Seen) -> Option<(u64, bool)> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut last = after;
    for line in whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        if let Some(next) = line["next_after"].as_u64() {
            assert_eq!(next, last, "{line}");
            return Some((next, line["more"] == false));
        }
        last += 1;
        assert_eq!(line["record"]["seq"], last);
        seen.insert(last, line["chain"].as_str().unwrap().into());
    }
    None
}

/// Somebody who follows the log to its end, and asks again from there, until that is not answered any more.
pub(super) async fn follows(base: String, token: String) -> Seen {
    let (client, mut after, mut seen) = (Client::new(), 0, Seen::new());
    loop {
        let request = client.get(format!("{base}/v1/events?after={after}")).bearer_auth(&token);
        let Ok(mut response) = request.header("accept", "application/x-ndjson").send().await else {
            return seen;
        };
        if response.status() != 200 {
            assert_eq!(response.status(), 503);
            return seen;
        }
        let (mut text, mut was_cut) = (Vec::new(), false);
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => text.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(_) => {
                    was_cut = true;
                    break;
                }
            }
        }
        match take(std::str::from_utf8(&text).unwrap(), after, &mut seen) {
            Some((next, _)) => after = next,
            None => {
                assert!(was_cut, "a stream ends without its last line, and was not cut");
                return seen;
            }
        }
    }
}
