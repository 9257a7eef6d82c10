//! Somebody at a browser.

use super::Service;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

/// The configured public URL of the services here.
pub(crate) const HERE: &str = "http://127.0.0.1:8080";
/// The owner's address.
pub(crate) const OWNER: &str = "owner@example.com";

/// A request.
pub(crate) fn request(service: &Service, method: Method, path: &str) -> RequestBuilder {
    Client::new().request(method, format!("{}{path}", service.base()))
}

/// Signs in.
pub(crate) async fn sign_in(service: &Service, email: &str, password: &str) -> Response {
    let body = json!({ "email": email, "password": password });
    request(service, Method::POST, "/v1/session").json(&body).send().await.unwrap()
}

/// Signs in and returns the cookie as a browser sends it.
pub(crate) async fn signed_in(service: &Service, email: &str, password: &str) -> String {
    let response = sign_in(service, email, password).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_string()
}

/// The owner's password.
pub(crate) fn owners_password(service: &Service) -> String {
    service.made.owner.password.clone().unwrap()
}

/// A request from a page of the service itself.
pub(crate) async fn browse(
    service: &Service,
    cookie: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let request = request(service, method, path).header("cookie", cookie).header("origin", HERE);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let response = request.send().await.unwrap();
    (response.status(), serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
}
