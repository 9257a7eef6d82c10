//! What a test asks a service over HTTP.

use super::Service;
use reqwest::{Method, StatusCode};
use serde_json::Value;

impl Service {
    /// One request by the holder of a token.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.base()));
        let request = if token.is_empty() { request } else { request.bearer_auth(token) };
        let response = match body {
            Some(body) => request.json(&body).send().await.unwrap(),
            None => request.send().await.unwrap(),
        };
        (response.status(), serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    /// Posts under an idempotency key as the owner.
    pub(crate) async fn post_once(&self, path: &str, key: &str, body: Value) -> (StatusCode, Value) {
        let request =
            reqwest::Client::new().post(format!("{}{path}", self.base())).bearer_auth(&self.made.owner.token);
        let response = request.header("idempotency-key", key).json(&body).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    /// Issues a token as the owner.
    pub(crate) async fn issue(&self, body: Value) -> Value {
        let (status, token) =
            self.call(Method::POST, "/v1/user/tokens", &self.made.owner.token, Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{token}");
        token
    }

    /// Issues a token as the owner, as soon as that can be done.
    pub(crate) async fn issue_patiently(&self, body: Value) -> Value {
        self.until_known(&self.made.owner.token).await;
        self.issue(body).await
    }

    /// What the gateway is told of a plaintext.
    pub(crate) async fn introspect(&self, plaintext: &str) -> Value {
        let response = self.ask(plaintext).await;
        assert_eq!(response.status(), StatusCode::OK);
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    }

    /// Whether the gateway is told that a plaintext is active, or `None` for "not now".
    pub(crate) async fn is_active(&self, plaintext: &str) -> Option<bool> {
        let response = self.ask(plaintext).await;
        match response.status() {
            StatusCode::OK => response.json::<Value>().await.unwrap()["active"].as_bool(),
            status => {
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
                assert!(response.headers().contains_key("retry-after"));
                None
            }
        }
    }

    async fn ask(&self, plaintext: &str) -> reqwest::Response {
        let gateway = &self.made.gateway;
        let request = reqwest::Client::new().post(format!("{}/oauth2/introspect", self.base()));
        let request = request.basic_auth(&gateway.client_id, Some(&gateway.client_secret));
        let form = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={plaintext}"));
        form.send().await.unwrap()
    }
}
