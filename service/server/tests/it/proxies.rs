//! Behind proxies: whose address is told, and what is said of a proxy that nobody trusts.

use crate::operations::series;
use crate::support::Service;
use crate::support::program::Program;
use crate::support::raw::{Raw, exchange};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// One request that the named address is said to have sent.
fn from(client: &str) -> String {
    format!("GET /v1/token HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\n\r\n")
}

/// The lines of a log of objects with a message.
fn lines(said: &str, field: &str, value: &str) -> Vec<Value> {
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line[field] == value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_the_log_names_the_client_too() {
    let trusting = [("COUNTERFOIL__LOG__FORMAT", "json"), ("COUNTERFOIL__TRUSTED_PROXIES", "127.0.0.0/8")];
    let mut program = Program::made_in(&trusting).await;
    exchange(program.base(), from("198.51.100.7")).await.assert_problem(401, "unauthenticated");
    let (head, form) = ("X-Forwarded-For: 198.51.100.8\r\nContent-Length: 7\r\n\r\n", "token=x");
    let introspect =
        format!("POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\n{}{head}{form}", crate::operations::FORM);
    exchange(program.base(), introspect).await.assert_oauth(401, "invalid_client");
    program.stop().await;
    let told = lines(&program.said(), "target", "counterfoil::request");
    let clients: Vec<_> = told.iter().map(|line| (line["peer"].clone(), line["client"].clone())).collect();
    for client in ["198.51.100.7", "198.51.100.8"] {
        assert!(clients.contains(&(json!("127.0.0.1"), json!(client))), "{clients:?}");
    }
    assert!(!program.said().contains("trusted_proxies"), "{}", program.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_nobody_trusts_is_told_of_once_in_a_while() {
    let mut program = Program::made_in(&[("COUNTERFOIL__LOG__FORMAT", "json")]).await;
    let doctor = || {
        let output = program.beside("counterfoil").args(["doctor"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let quiet = doctor();
    assert!(quiet.contains("✓ trusted_proxies: "), "{quiet}");
    let mut raw = Raw::to(program.base()).await;
    for number in 0..20 {
        raw.send(from(&format!("198.51.100.{number}"))).await;
        raw.answer().await.assert_problem(401, "unauthenticated");
    }
    let metrics = exchange(program.metrics(), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.body;
    assert_eq!(series(&metrics, "counterfoil_forwarded_by_strangers_total"), 20.0);
    let noted = doctor();
    assert!(noted.contains("! trusted_proxies: ") && noted.contains("20 requests"), "{noted}");
    program.stop().await;
    let said = program.said();
    let warnings: Vec<_> = said.lines().filter(|line| line.contains("trusted_proxies")).collect();
    assert!((1..=3).contains(&warnings.len()), "{said}");
    assert!(warnings[0].contains("WARN") && warnings[0].contains("127.0.0.1"), "{said}");
}

async fn posted(service: &Service, path: &str, key: &str, body: &Value) -> Response {
    let request = Client::new().request(Method::POST, format!("{}{path}", service.base()));
    let request = request.bearer_auth(&service.made.owner.token).header("idempotency-key", key);
    request.json(body).send().await.unwrap()
}

fn header(response: &Response, name: &str) -> String {
    let value = response.headers().get(name).unwrap_or_else(|| panic!("no {name}: {response:?}"));
    value.to_str().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_in_answers_have_the_path_that_clients_reach_the_service_by() {
    for (public, prefix) in [
        ("https://example.com/tokens/", "/tokens"),
        ("https://example.com", ""),
        ("https://example.com/a/b", "/a/b"),
    ] {
        let configure = |config: &mut counterfoil::config::Config| config.public_url = Some(public.into());
        let service = Service::start_with(configure, |edge| edge).await;
        let until = Instant::now() + Duration::from_secs(20);
        let issued = loop {
            let issued = posted(&service, "/v1/user/tokens", "one", &json!({})).await;
            if issued.status() == 201 || Instant::now() > until {
                break issued;
            }
        };
        let location = header(&issued, "location");
        let id = issued.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_string();
        assert_eq!(location, format!("{prefix}/v1/user/tokens/{id}"));
        let again = posted(&service, "/v1/user/tokens", "one", &json!({})).await;
        assert_eq!(header(&again, "link"), format!("<{prefix}/v1/user/tokens/{id}/rotate>; rel=\"rotate\""));
        // What has ended gets no other plaintext.
        let path = format!("/v1/user/tokens/{id}");
        service.call(reqwest::Method::DELETE, &path, &service.made.owner.token, None).await;
        let again = posted(&service, "/v1/user/tokens", "one", &json!({})).await;
        assert!(again.status() == 200 && !again.headers().contains_key("link"), "{again:?}");
        let edge = json!({ "name": "edge" });
        let made = posted(&service, "/v1/gateways", "two", &edge).await;
        let location = header(&made, "location");
        let id = made.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_string();
        assert_eq!(location, format!("{prefix}/v1/gateways/{id}"));
        let issue = format!("<{prefix}/v1/gateways/{id}/tokens>; rel=\"issue\"");
        assert_eq!(header(&posted(&service, "/v1/gateways", "two", &edge).await, "link"), issue);
        let tokens = format!("/v1/gateways/{id}/tokens");
        assert_eq!(posted(&service, &tokens, "three", &json!({})).await.status(), 201);
        assert_eq!(header(&posted(&service, &tokens, "three", &json!({})).await, "link"), issue);
        service.stop().await;
    }
}
