//! Refusals as answers: what they look like. The kinds, and with them their status codes, are chosen in the files below
//! this one; the errors of `/oauth2/` in `http/oauth/error.rs`.
//!
//! RFC 9457 problem documents; `type` is stable and relative to the public URL. Nothing of a request is repeated in
//! one, for what was sent may be a secret in the wrong place.

mod kinds;
mod refusals;
pub(super) mod unavailable;

use super::seen::name;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use uuid::Uuid;

/// A problem document.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    detail: String,
    /// The field or header that is wrong.
    field: Option<String>,
    challenge: Option<&'static str>,
    /// When to try again, in seconds.
    retry_after: Option<u64>,
    /// Whether it was counted as a failure of its address already.
    counted: bool,
}

/// Marks an answer to credentials that do not count: these are limited by address.
#[derive(Debug, Clone, Copy)]
pub struct FailedAuthentication;

impl Problem {
    /// A problem of a stable type. Only the files below this one make any.
    fn new(status: StatusCode, slug: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            slug,
            title,
            detail: detail.into(),
            field: None,
            challenge: None,
            retry_after: None,
            counted: false,
        }
    }

    /// Names the field, parameter or header that is wrong.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says that it was counted as a failure of its address before it was known to be one.
    #[must_use]
    pub fn counted(mut self) -> Self {
        self.counted = true;
        self
    }

    /// Its type's name, the last part of `type`.
    pub fn slug(&self) -> &'static str {
        self.slug
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its type in words.
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// The error code of RFC 6749 section 5.2 that is nearest to it.
    pub fn oauth_error(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "invalid_client",
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => "temporarily_unavailable",
            StatusCode::INTERNAL_SERVER_ERROR => "server_error",
            _ => "invalid_request",
        }
    }

    /// The same refusal as an error of RFC 6749 section 5.2.
    pub fn oauth_document(&self) -> Value {
        json!({ "error": self.oauth_error(), "error_description": self.detail })
    }

    /// The answer with that document.
    pub fn into_oauth(self) -> Response {
        let document = self.oauth_document();
        self.answer("application/json", document.to_string())
    }

    /// The refusal as the last message of a connection, where there is no request that it could answer, be it `at_oauth`.
    /// It is named as all answers are.
    pub fn into_last_message(self, at_oauth: bool, id: Uuid) -> Vec<u8> {
        let (kind, document) = if at_oauth {
            ("application/json", self.oauth_document())
        } else {
            ("application/problem+json", self.document())
        };
        let (mut parts, body) = (self.head(kind), document.to_string());
        name(id, &mut parts);
        let reason = self.status.canonical_reason().unwrap_or_default();
        let mut message = format!("HTTP/1.1 {} {reason}\r\n", self.status.as_u16()).into_bytes();
        for (name, value) in &parts {
            message.extend_from_slice(name.as_str().as_bytes());
            message.extend_from_slice(b": ");
            message.extend_from_slice(value.as_bytes());
            message.extend_from_slice(b"\r\n");
        }
        message.extend_from_slice(
            format!("connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes(),
        );
        message
    }

    /// The problem document.
    pub fn document(&self) -> Value {
        let mut document = json!({
            "type": format!("/problems/{}", self.slug),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(field) = &self.field {
            document["field"] = field.clone().into();
        }
        document
    }

    fn head(&self, kind: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        headers
    }

    fn answer(self, kind: &'static str, document: String) -> Response {
        let mut response = Response::new(Body::from(document));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.head(kind);
        response
    }
}

impl IntoResponse for Problem {
    /// A problem document. It keeps the problem with it, for a door that says it otherwise.
    fn into_response(self) -> Response {
        let document = self.document().to_string();
        let mut response = self.clone().answer("application/problem+json", document);
        if self.status == StatusCode::UNAUTHORIZED && !self.counted {
            response.extensions_mut().insert(FailedAuthentication);
        }
        response.extensions_mut().insert(self);
        response
    }
}
