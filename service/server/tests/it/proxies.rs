//! Behind proxies: by which addresses clients reach the service.

use crate::support::Service;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

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
