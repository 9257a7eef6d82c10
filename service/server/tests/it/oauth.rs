//! The doors for gateways and OAuth clients, as real ones and hostile ones knock: bytes over TCP, since a client library
//! would make them proper.

use crate::support::Service;
use crate::support::raw::{Answer, Raw, exchange};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::{Value, json};
use std::time::Duration;

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

/// What a test needs of a service: the gateway's pair, and a live token.
struct Doors {
    service: Service,
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
        Self { service, id, secret, token }
    }

    fn good(&self) -> String {
        basic(format!("{}:{}", self.id, self.secret))
    }

    async fn post(&self, door: &str, headers: &str, body: impl AsRef<[u8]>) -> Answer {
        exchange(self.service.base(), post(door, headers, body)).await
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

/// An answer without what differs from request to request.
fn alike(answer: &Answer) -> Answer {
    let mut answer = answer.clone();
    answer.headers.retain(|(name, _)| name != "x-request-id" && name != "date");
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
async fn forms_in_every_shape() {
    let doors = Doors::open(|_| {}).await;
    let (id, secret, token) = (&doors.id, &doors.secret, &doors.token);
    let good = doors.good();
    for kind in [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-URLEncoded",
        "application/x-www-form-urlencoded ; charset=\"utf-8\"",
        "application/x-www-form-urlencoded;",
    ] {
        doors.assert_active(&doors.introspect(&format!("Content-Type: {kind}\r\n{good}")).await);
    }
    for kinds in [
        String::new(),
        "Content-Type: \r\n".into(),
        "Content-Type: application/json\r\n".into(),
        "Content-Type: text/plain\r\n".into(),
        format!("{FORM}{FORM}"),
        format!("{FORM}Content-Type: text/plain\r\n"),
    ] {
        for door in ["introspect", "revoke"] {
            let answer = doors.post(door, &format!("{kinds}{good}"), format!("token={token}")).await;
            answer.assert_oauth(415, "invalid_request");
        }
    }
    let active = |body: String| (body, true);
    let inactive = |body: &str| (body.to_string(), false);
    for (body, is_active) in [
        active(format!("token={token}")),
        active(format!("&&token={token}&")),
        active(format!("token={token}&token_type_hint")),
        active(format!("token={token}&token_type_hint=refresh_token")),
        active(format!("token={token}&token_type_hint=%ff%00")),
        active(format!("token={}", percent(token, false))),
        active(format!("%74oken={token}&unknown=1&=x&=y")),
        active(format!("token={token}&client_id={id}&client_secret={secret}")),
        active(format!("token={token}&client_id={id}")),
        active(format!("token={token}&client_id=&client_secret=")),
        inactive("token=unknown"),
        inactive("token=%00"),
        inactive("token=a%00b"),
        inactive("token=%ff%fe"),
        inactive("token=%"),
        inactive("token=a+b"),
        inactive(&format!("token={token}%20")),
        inactive(&format!("token={}", "x".repeat(8000))),
        inactive(&format!("token={secret}")),
    ] {
        let answer = doors.post("introspect", &format!("{FORM}{good}"), &body).await;
        match is_active {
            true => doors.assert_active(&answer),
            false => assert_eq!((answer.status, answer.body.as_str()), (200, "{\"active\":false}"), "{body}"),
        }
    }
    for (body, status, error) in [
        (String::new(), 400, "invalid_request"),
        ("token=".into(), 400, "invalid_request"),
        ("&&&".into(), 400, "invalid_request"),
        (format!("token={token}&token={token}"), 400, "invalid_request"),
        (format!("token={token}&%74oken=x"), 400, "invalid_request"),
        (format!("token={token}&token_type_hint=a&token_type_hint=b"), 400, "invalid_request"),
        (format!("{{\"token\":\"{token}\"}}"), 400, "invalid_request"),
        (format!("token={token}&x={}", "x".repeat(8192)), 413, "invalid_request"),
        (format!("token={token}&client_id={id}&client_secret=wrong"), 401, "invalid_client"),
        (format!("token={token}&client_id=gw_x&client_secret={secret}"), 401, "invalid_client"),
        (format!("token={token}&client_id=other"), 401, "invalid_client"),
        (format!("token={token}&client_secret={secret}"), 401, "invalid_client"),
    ] {
        for door in ["introspect", "revoke"] {
            doors.post(door, &format!("{FORM}{good}"), &body).await.assert_oauth(status, error);
        }
    }
    // The form alone will do.
    let body = format!("client_secret={secret}&token={token}&client_id={id}");
    doors.assert_active(&doors.post("introspect", FORM, body).await);
    // Bytes that are no text are the token's own business.
    let answer = doors.post("introspect", &format!("{FORM}{good}"), b"token=\xff\x00\xfe").await;
    assert_eq!(answer.body, "{\"active\":false}");
    // A token in the query is never looked at.
    let query = format!(
        "POST /oauth2/introspect?token={token} HTTP/1.1\r\nHost: x\r\n{FORM}{good}Content-Length: 0\r\n\r\n"
    );
    exchange(doors.service.base(), query).await.assert_oauth(400, "invalid_request");
    doors.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn framing_that_only_some_clients_use() {
    let doors = Doors::open(|_| {}).await;
    let (base, good) = (doors.service.base(), doors.good());
    let body = format!("token={}", doors.token);
    let head = |version: &str, headers: &str| {
        format!("POST /oauth2/introspect HTTP/{version}\r\n{FORM}{good}{headers}\r\n")
    };
    let length = format!("Content-Length: {}\r\n", body.len());

    let chunks: String = body.chars().map(|c| format!("1\r\n{c}\r\n")).collect();
    let chunked = format!(
        "{}{chunks}0\r\nX-Trailer: y\r\n\r\n",
        head("1.1", "Host: x\r\nTransfer-Encoding: chunked\r\n")
    );
    doors.assert_active(&exchange(base, chunked).await);
    let absolute = format!(
        "{}{body}",
        head("1.1", &format!("Host: x\r\n{length}")).replace("/oauth2", "http://any/oauth2")
    );
    doors.assert_active(&exchange(base, absolute).await);
    let old = exchange(base, format!("{}{body}", head("1.0", &length))).await;
    doors.assert_active(&old);
    assert_eq!(old.header("transfer-encoding"), None);
    let mut kept = Raw::to(base).await;
    for _ in 0..2 {
        kept.send(format!("{}{body}", head("1.0", &format!("Connection: keep-alive\r\n{length}")))).await;
        doors.assert_active(&kept.answer().await);
    }

    // Asked before it sends, a client is told to go on, or that there is no use.
    let expects = format!("Host: x\r\nExpect: 100-continue\r\n{length}");
    let mut asks = Raw::to(base).await;
    asks.send(head("1.1", &expects)).await;
    assert_eq!(asks.answer().await.status, 100);
    asks.send(&body).await;
    doors.assert_active(&asks.answer().await);
    let mut asks = Raw::to(base).await;
    asks.send(head("1.1", &expects).replace(&good, &basic("a:b"))).await;
    asks.answer().await.assert_oauth(401, "invalid_client");
    assert!(asks.ends_within(Duration::from_secs(10)).await);

    // Two lengths that contradict each other are not believed, and the connection ends.
    let mut smuggles = Raw::to(base).await;
    let both = head("1.1", "Host: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n");
    smuggles.send(format!("{both}0\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    let answer = smuggles.answer().await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(smuggles.try_answer(false).await.is_none());
    doors.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_in_every_corner() {
    let doors = Doors::open(|_| {}).await;
    let service = &doors.service;
    let good = format!("{FORM}{}", doors.good());
    let inactive = json!({ "active": false });
    let unknown = doors.revoke(&good, "unknown").await;
    for (events, (headers, hint)) in [
        (good.clone(), "&token_type_hint=refresh_token"),
        (good.clone(), "&token_type_hint=zzz"),
        (good.clone(), ""),
        (FORM.to_string(), ""),
        (format!("{FORM}Authorization: Bearer TOKEN\r\n"), ""),
        (format!("{FORM}X-API-KEY: TOKEN\r\n"), ""),
    ]
    .into_iter()
    .enumerate()
    {
        let token = doors.another().await;
        let headers = headers.replace("TOKEN", &token);
        // Again is fine, and says the same as for one that nobody knows; there is one event.
        for _ in 0..2 {
            assert_eq!(doors.revoke(&headers, &format!("{token}{hint}")).await, unknown);
        }
        assert_eq!(service.introspect(&token).await, inactive);
        assert_eq!(service.events("token.revoked").await, events as i64 + 1);
    }
    // Somebody else's Bearer, and a client that is none.
    let (token, other) = (doors.another().await, doors.another().await);
    for headers in [format!("Authorization: Bearer {other}\r\n"), basic("a:b")] {
        let answer = doors.post("revoke", &format!("{FORM}{headers}"), format!("token={token}")).await;
        answer.assert_oauth(401, "invalid_client");
    }
    // An expired one.
    let soon = service.app().clock.now().plus_seconds(1);
    let expiring = service.issue(json!({ "expires_at": soon.to_string() })).await;
    let expiring = expiring["plaintext"].as_str().unwrap().to_string();
    while service.introspect(&expiring).await["active"] == true {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for headers in [good.clone(), FORM.into()] {
        assert_eq!(doors.revoke(&headers, &expiring).await, unknown);
    }
    assert_eq!(service.introspect(&token).await["active"], true);
    assert_eq!(service.events("token.revoked").await, 6);
    // A gateway token is ended by whoever holds it, and only so: then its gateway is a stranger.
    assert_eq!(doors.revoke(&good, &doors.secret).await, unknown);
    doors.assert_active(&doors.introspect(&good).await);
    assert_eq!(doors.revoke(FORM, &doors.secret).await, unknown);
    doors.introspect(&good).await.assert_oauth(401, "invalid_client");
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
    let methods = document["introspection_endpoint_auth_methods_supported"].as_array().unwrap();
    assert!(
        methods.contains(&json!("client_secret_basic")) && methods.contains(&json!("client_secret_post"))
    );
    let answer = doors.introspect(&format!("{hostile}{FORM}{}", doors.good())).await;
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
