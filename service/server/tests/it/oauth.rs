//! The doors for gateways and OAuth clients, as real ones and hostile ones knock: bytes over TCP, since a client library
//! would make them proper.

mod addresses;
mod forms;
mod inactive;
mod revocation;

use crate::support::Service;
use crate::support::http2::Http2;
use crate::support::raw::{Answer, exchange};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::{Value, json};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

fn basic(pair: impl AsRef<[u8]>) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(pair))
}

/// Every byte as a percent sequence, with digits of either case.
fn percent(text: &str, upper: bool) -> String {
    text.bytes().map(|byte| if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") }).collect()
}

/// A request with a body of known length.
fn post(door: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head =
        format!("POST /oauth2/{door} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The same with a body that does not say beforehand how long it is.
fn chunked(door: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let chunk = [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat();
    let head =
        format!("POST /oauth2/{door} HTTP/1.1\r\nHost: x\r\n{headers}Transfer-Encoding: chunked\r\n\r\n");
    [head.as_bytes(), if body.is_empty() { b"" } else { &chunk }, b"0\r\n\r\n"].concat()
}

/// What a test needs of a service: the gateway's pair, and a live token.
struct Doors {
    service: Service,
    http2: Http2,
    id: String,
    secret: String,
    token: String,
}

impl Doors {
    async fn open(configure: impl FnOnce(&mut counterfoil::config::Config)) -> Self {
        let service = Service::start_with(configure, |edge| edge).await;
        let token = service.issue(json!({})).await["plaintext"].as_str().unwrap().to_string();
        let gateway = &service.made.gateway;
        let (id, secret) = (gateway.client_id.clone(), gateway.client_secret.clone());
        let http2 = Http2::to(service.base()).await;
        Self { service, http2, id, secret, token }
    }

    fn good(&self) -> String {
        basic(format!("{}:{}", self.id, self.secret))
    }

    /// Posts over HTTP/1.1, then in chunks, which is no plain request, and then over HTTP/2: they are answered alike.
    async fn post(&self, door: &str, headers: &str, body: impl AsRef<[u8]>) -> Answer {
        let answer = exchange(self.service.base(), post(door, headers, &body)).await;
        let routed = exchange(self.service.base(), chunked(door, headers, body.as_ref())).await;
        assert_eq!(alike(&routed), alike(&answer), "{door} {headers:?}");
        let again = self.http2.ask("POST", &format!("/oauth2/{door}"), headers, body).await;
        assert_eq!(alike(&again), alike(&answer), "{door} {headers:?}");
        answer
    }

    /// Introspects the live token.
    async fn introspect(&self, headers: &str) -> Answer {
        self.post("introspect", headers, format!("token={}", self.token)).await
    }

    /// Revokes, which is answered alike whatever the token is.
    async fn revoke(&self, headers: &str, token: &str) -> Answer {
        let answer = self.post("revoke", headers, format!("token={token}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "{}"), "{answer:?}");
        alike(&answer)
    }

    /// Issues another token.
    async fn another(&self) -> String {
        self.service.issue(json!({})).await["plaintext"].as_str().unwrap().to_string()
    }

    fn assert_active(&self, answer: &Answer) {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.json()["active"], true, "{answer:?}");
    }
}

/// An answer without what differs from request to request, or by protocol.
fn alike(answer: &Answer) -> Answer {
    let mut answer = answer.clone();
    answer.headers.retain(|(name, _)| !["x-request-id", "date", "connection"].contains(&name.as_str()));
    answer.headers.sort();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn basic_credentials_are_right_or_wrong_and_never_an_error_of_the_server() {
    let doors = Doors::open(|config| config.limits.failures_burst = 1000.try_into().unwrap()).await;
    let (id, secret) = (&doors.id, &doors.secret);
    let pair = format!("{id}:{secret}");
    for header in [
        basic(&pair),
        format!("Authorization: bAsIc  {}\r\n", STANDARD.encode(&pair)),
        basic(format!("{}:{}", percent(id, true), percent(secret, true))),
        basic(format!("{}:{}", percent(id, false), percent(secret, false))),
        format!("Authorization: Bearer {secret}\r\n"),
        format!("Authorization: bearer {secret}\r\n"),
    ] {
        doors.assert_active(&doors.introspect(&format!("{FORM}{header}")).await);
    }
    let mut first = None;
    let unpadded = STANDARD_NO_PAD.encode(format!("{pair}x"));
    for header in [
        basic(format!("{id}:%")),
        basic(format!("{id}:%zz")),
        basic(format!("{id}:%E0%A4%A")),
        basic("%"),
        basic(id),
        basic(format!("{id}:a:b")),
        basic(format!("{id}:{secret}:")),
        basic(format!("{id}:{}", secret.replace('_', "+"))),
        basic(format!(":{secret}")),
        basic(":"),
        basic(b"\xff\xfe"),
        basic(format!("{id}:{}", "%25".repeat(3300))),
        format!("Authorization: Basic {unpadded}\r\n"),
        "Authorization: Basic -_-_\r\n".into(),
        "Authorization: Basic\r\n".into(),
        "Authorization: Basic \u{e9}\r\n".into(),
        format!("Authorization: Bearer {}\r\n", "x".repeat(20_000)),
        format!("Authorization: Bearer {}\r\n", doors.token),
        format!("Authorization: Bearer {secret},Bearer {secret}\r\n"),
        format!("Authorization: Bearer {secret}, Basic x\r\n"),
        format!("Authorization: Bearer{secret}\r\n"),
        format!("Authorization: Token {secret}\r\n"),
        format!("{}{}", basic(&pair), basic(&pair)),
        format!("{}{}", basic(&pair), basic("a:b")),
        format!("{}{}", basic("a:b"), basic(&pair)),
        format!("{}X-API-KEY: {secret}\r\n", basic(&pair)),
        String::new(),
    ] {
        for door in ["introspect", "revoke"] {
            if door == "revoke" && (header.is_empty() || header.contains(&doors.token)) {
                continue;
            }
            let answer = doors.post(door, &format!("{FORM}{header}"), format!("token={}", doors.token)).await;
            answer.assert_oauth(401, "invalid_client");
            assert_eq!(&alike(&answer), first.get_or_insert_with(|| alike(&answer)), "{door} {header:?}");
        }
    }
    doors.assert_active(&doors.introspect(&format!("{FORM}{}", doors.good())).await);
    doors.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_request_says_who_we_are() {
    let issuer = "https://tokens.example.com/base/";
    let doors = Doors::open(|config| config.public_url = Some(issuer.into())).await;
    let base = doors.service.base();
    let hostile = "Host: evil.example\r\nX-Forwarded-Host: a\", error=\"x\r\nX-Forwarded-Proto: ftp\r\n\
                   Forwarded: host=evil.example\r\nX-Original-Host: evil.example\r\n";
    let paths = [
        "/.well-known/oauth-authorization-server/base",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/base/.well-known/openid-configuration",
    ];
    let mut first: Option<Value> = None;
    for path in paths {
        for request in [
            format!("GET {path} HTTP/1.1\r\n{hostile}\r\n"),
            format!("GET http://evil.example{path} HTTP/1.1\r\n{hostile}\r\n"),
            format!("GET {path} HTTP/1.0\r\n\r\n"),
        ] {
            let answer = exchange(base, request).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            assert_eq!(&answer.json(), first.get_or_insert_with(|| answer.json()));
        }
    }
    let document = first.unwrap();
    assert_eq!(document["issuer"], issuer);
    assert_eq!(document["introspection_endpoint"], "https://tokens.example.com/base/oauth2/introspect");
    assert_eq!(document["revocation_endpoint"], "https://tokens.example.com/base/oauth2/revoke");
    // What can be said in the registries' names, of what `basic_credentials` and `forms` show to be taken.
    let introspection = json!(["client_secret_basic", "client_secret_post", "Bearer"]);
    assert_eq!(document["introspection_endpoint_auth_methods_supported"], introspection);
    let revocation = json!(["none", "client_secret_basic", "client_secret_post"]);
    assert_eq!(document["revocation_endpoint_auth_methods_supported"], revocation);
    assert_eq!(
        (&document["response_types_supported"], &document["grant_types_supported"]),
        (&json!([]), &json!([]))
    );
    let introspect =
        post("introspect", &format!("{hostile}{FORM}{}", doors.good()), format!("token={}", doors.token));
    let introspect = String::from_utf8(introspect).unwrap().replacen("Host: x\r\n", "", 1);
    let answer = exchange(base, introspect).await;
    assert_eq!(answer.json()["iss"], issuer);
    let refused = exchange(base, format!("GET /v1/token HTTP/1.1\r\n{hostile}\r\n")).await;
    refused.assert_problem(401, "unauthenticated");
    let missing = exchange(base, format!("GET /evil HTTP/1.1\r\n{hostile}\r\n")).await;
    for answer in [answer, refused, missing] {
        let shown = format!("{answer:?}");
        assert!(!shown.contains("evil") && !shown.contains("error=\\\"x"), "{shown}");
    }
    doors.service.stop().await;
}
