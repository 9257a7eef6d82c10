//! Asking, and comparing what came back with the file.

use super::file::{File, Operation};
use crate::support::Service;
use counterfoil::clock::Clock;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// Who asks.
pub(super) enum As {
    Nobody,
    Bearer(String),
    Key(String),
    KeyCookie(String),
    Basic(String, String),
    /// A browser with a session, on a page of the service's.
    Session(String),
}

/// The ids that a path may need.
pub(super) struct Things {
    pub(super) token: String,
    pub(super) gateway: String,
    pub(super) gateway_token: String,
}

/// The owner's: a token, the gateway and its token.
pub(super) async fn things(service: &Service, token: &Value) -> Things {
    let get = async |path: &str| {
        let (status, page) = service.call(reqwest::Method::GET, path, &service.made.owner.token, None).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page["items"][0]["id"].as_str().unwrap().to_string()
    };
    let gateway = get("/v1/gateways").await;
    let gateway_token = get(&format!("/v1/gateways/{gateway}/tokens")).await;
    Things { token: token["id"].as_str().unwrap().into(), gateway, gateway_token }
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) bytes: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = self.text().chars().take(500).collect();
        write!(f, "{} {:?} {text}", self.status, self.headers)
    }
}

impl Answer {
    /// A header's only value; empty if it is not there.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The type of a problem document; empty for anything else.
    pub(super) fn problem(&self) -> String {
        let document: Value = serde_json::from_slice(&self.bytes).unwrap_or_default();
        document["type"].as_str().unwrap_or_default().into()
    }

    /// The field that a problem document names; empty if it names none.
    pub(super) fn field(&self) -> String {
        let document: Value = serde_json::from_slice(&self.bytes).unwrap_or_default();
        document["field"].as_str().unwrap_or_default().into()
    }

    fn media_type(&self) -> &str {
        self.header("content-type").split(';').next().unwrap()
    }
}

/// A walk through the file against a running service.
pub(super) struct Walk<'a> {
    pub(super) service: &'a Service,
    file: &'a File,
    client: reqwest::Client,
}

impl<'a> Walk<'a> {
    pub(super) fn new(service: &'a Service, file: &'a File) -> Self {
        Self { service, file, client: reqwest::Client::new() }
    }

    /// A path with plausible ids in it, which are nobody's.
    pub(super) fn random(&self, template: &str) -> String {
        let id = || Clock::system().uuid().to_string();
        self.at(template, &Things { token: id(), gateway: id(), gateway_token: id() })
    }

    /// A path about these things.
    pub(super) fn at(&self, template: &str, things: &Things) -> String {
        let id = if template.starts_with("/v1/gateways/") { &things.gateway } else { &things.token };
        template.replace("{id}", id).replace("{token}", &things.gateway_token).replace("{file}", "page.js")
    }

    /// Asks with a body that the operation takes, and holds what comes back against the file.
    pub(super) async fn call(&self, operation: &Operation, path: &str, who: &As) -> Answer {
        let body = operation.body(self.file);
        let answer = self.send(operation.method.clone(), path, who, body.as_deref()).await;
        self.assert_documented(operation, &answer);
        answer
    }

    pub(super) async fn send(&self, method: Method, path: &str, who: &As, body: Option<&str>) -> Answer {
        self.send_with(method, path, who, body, None).await
    }

    /// Sends one header more.
    pub(super) async fn send_with(
        &self,
        method: Method,
        path: &str,
        who: &As,
        body: Option<&str>,
        header: Option<(&str, &str)>,
    ) -> Answer {
        let request = self.client.request(method, format!("{}{path}", self.service.base()));
        let request = match who {
            As::Nobody => request,
            As::Bearer(token) => request.bearer_auth(token),
            As::Key(token) => request.header("x-api-key", token),
            As::KeyCookie(token) => request.header("cookie", format!("X-API-KEY={token}")),
            As::Session(cookie) => {
                request.header("cookie", cookie).header("origin", &*self.service.app().issuer)
            }
            As::Basic(id, secret) => request.basic_auth(id, Some(secret)),
        };
        let request = match body {
            None => request,
            Some(body) => {
                let json = body.starts_with('{');
                let kind = if json { "application/json" } else { "application/x-www-form-urlencoded" };
                request.header("content-type", kind).body(body.to_string())
            }
        };
        let request = match header {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, bytes: response.bytes().await.unwrap().to_vec() }
    }

    /// The status, the media type, the document and the headers of an answer are the file's.
    pub(super) fn assert_documented(&self, operation: &Operation, answer: &Answer) {
        let said = operation.said["responses"].get(answer.status.as_str());
        let said = said.unwrap_or_else(|| panic!("{operation}: the file has no such status: {answer:?}"));
        let said = self.file.resolved(said);
        match said["content"].as_object() {
            None => assert!(answer.bytes.is_empty(), "{operation}: {answer:?}"),
            Some(kinds) => {
                let content = kinds.get(answer.media_type());
                let content =
                    content.unwrap_or_else(|| panic!("{operation}: another media type: {answer:?}"));
                if answer.media_type().ends_with("json") {
                    self.assert_fits(&content["schema"], operation, answer);
                    assert_names_the_type(content, operation, answer);
                }
            }
        }
        let headers = said["headers"].as_object().unwrap().iter();
        for (name, _) in headers.filter(|(_, said)| self.file.resolved(said)["required"] == true) {
            assert!(!answer.header(name).is_empty(), "{operation}: no {name}: {answer:?}");
        }
        self.assert_says_how_to_go_on(answer);
    }

    fn assert_fits(&self, schema: &Value, operation: &Operation, answer: &Answer) {
        let wrong = self.file.wrong(schema, &serde_json::from_slice(&answer.bytes).unwrap());
        assert!(wrong.is_empty(), "{operation}: {wrong:?} in {answer:?}");
    }

    fn assert_says_how_to_go_on(&self, answer: &Answer) {
        let needed = match answer.status {
            StatusCode::UNAUTHORIZED => "www-authenticate",
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => "retry-after",
            _ => "x-request-id",
        };
        assert!(!answer.header(needed).is_empty(), "no {needed}: {answer:?}");
    }

    /// A refusal in the form of its door, where the file has no operation.
    pub(super) fn assert_refusal(&self, path: &str, answer: &Answer) {
        let at_oauth = path.starts_with("/oauth2/");
        let kind = if at_oauth { "application/json" } else { "application/problem+json" };
        assert_eq!(answer.media_type(), kind, "{path}: {answer:?}");
        let document: Value = serde_json::from_slice(&answer.bytes).unwrap();
        assert!(document[if at_oauth { "error" } else { "type" }].is_string(), "{path}: {answer:?}");
    }
}

/// A refusal's type is one of those that the file gives an example of.
fn assert_names_the_type(content: &Value, operation: &Operation, answer: &Answer) {
    if answer.status.is_success() {
        return;
    }
    let document: Value = serde_json::from_slice(&answer.bytes).unwrap();
    let code = document["error"].as_str().or(document["type"].as_str()).unwrap();
    let code = code.trim_start_matches("/problems/");
    assert!(content["examples"][code].is_object(), "{operation}: the file does not name {code}: {answer:?}");
}
