//! Refusals as answers: every status code is chosen here. Those of 503 have a file of their own.
//!
//! RFC 9457 problem documents; `type` is stable and relative to the public URL. Nothing of a request is repeated in
//! one, for what was sent may be a secret in the wrong place.

pub(super) mod unavailable;

use crate::event_log::batch::Refused;
use crate::event_log::writer::WriteError;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use counterfoil_domain::refusal::Refusal;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use std::time::Duration;

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
    /// A problem of a stable type.
    pub fn new(
        status: StatusCode,
        slug: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
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

    /// 400: the request cannot be understood.
    pub fn malformed(field: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be understood", detail).at(field)
    }

    /// 422: it is understood, and not allowed.
    pub fn invalid(field: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request is not allowed", detail).at(field)
    }

    /// 422: an idempotency key that belongs to another request.
    pub fn key_reused() -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            "The idempotency key was used for another request",
            "Use a new key for a new request.",
        )
        .at("Idempotency-Key")
    }

    /// 401: no credential, or one that does not count. One answer for every kind of no.
    pub fn unauthenticated() -> Self {
        let detail = "Send a working token as `Authorization: Bearer …`.";
        let mut problem =
            Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "A valid credential is needed", detail);
        problem.challenge = Some("Bearer realm=\"counterfoil\", error=\"invalid_token\"");
        problem
    }

    /// 401: a sign-in that failed. One answer, whether the address is known or not.
    pub fn sign_in_failed() -> Self {
        let detail = "No user has this e-mail address with this password.";
        let mut problem = Self::new(StatusCode::UNAUTHORIZED, "sign-in-failed", "Signing in failed", detail);
        problem.challenge = Some("Bearer realm=\"counterfoil\"");
        problem
    }

    /// 403: a browser sent the cookie for a page that is not ours, or for one that it does not name.
    pub fn cross_origin() -> Self {
        let detail =
            "With a cookie, send `Origin` or `Sec-Fetch-Site` of a page of the configured public_url.";
        Self::new(StatusCode::FORBIDDEN, "cross-origin", "The request does not stem from here", detail)
            .at("Origin")
    }

    /// 403: what only a presented token can be asked for.
    pub fn token_needed() -> Self {
        let detail = "This is about the presented token itself, and a session is none.";
        Self::new(StatusCode::FORBIDDEN, "token-needed", "A token is needed here", detail)
    }

    /// 403: what only a session can be asked for.
    pub fn session_needed() -> Self {
        let detail = "This ends the session of the presented cookie, and a token has none.";
        Self::new(StatusCode::FORBIDDEN, "session-needed", "A session is needed here", detail)
    }

    /// 429: too many failures to sign in.
    pub fn too_many_failures(seconds: u64) -> Self {
        let detail = "Signing in failed too often, from this address or for this user. Retry-After says when to try again.";
        let mut problem = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-failures",
            "Signing in failed too often",
            detail,
        );
        problem.retry_after = Some(seconds);
        problem
    }

    /// 404: not there, or not the caller's.
    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "There is no such thing",
            "Nothing of yours has this address.",
        )
    }

    /// 405: the thing is there, and not for this method.
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method",
            "The method is not allowed here",
            "The header Allow lists what is.",
        )
        .at("method")
    }

    /// 429: too often. Whole seconds, rounded up.
    pub fn too_many(wait: Duration) -> Self {
        let mut problem = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-requests",
            "There were too many requests",
            "The header Retry-After says how many seconds to wait.",
        );
        problem.retry_after = Some(wait.as_secs() + 1);
        problem
    }

    /// A head that cannot be read: too large, or not HTTP.
    pub fn framing(status: StatusCode) -> Self {
        match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::new(
                status,
                "headers-too-large",
                "The headers are too large",
                "A request has at most 64 headers, and with its target at most 32 KiB of them.",
            ),
            StatusCode::URI_TOO_LONG => Self::new(
                status,
                "target-too-long",
                "The request's target is too long",
                "With the headers it has at most 32 KiB.",
            ),
            _ => Self::new(
                StatusCode::BAD_REQUEST,
                "not-http",
                "The request is not HTTP",
                "The request line, a header or the framing of the body is malformed (RFC 9112).",
            ),
        }
    }

    /// What a library refused, in our words.
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::not_found(),
            StatusCode::METHOD_NOT_ALLOWED => Self::method_not_allowed(),
            StatusCode::PAYLOAD_TOO_LARGE => crate::http::body::BodyError::TooLarge.into(),
            StatusCode::REQUEST_TIMEOUT => crate::http::body::BodyError::Timeout.into(),
            StatusCode::UNAUTHORIZED => Self::unauthenticated(),
            StatusCode::SERVICE_UNAVAILABLE => Self::overloaded(),
            status if status.is_server_error() => Self::internal(),
            _ => Self::malformed("request", "Its path, a parameter or a header cannot be understood."),
        }
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

    /// The refusal as the last message of a connection, where there is no request that it could answer.
    pub fn into_last_message(self) -> Vec<u8> {
        let (parts, body) = (self.head("application/problem+json"), self.document().to_string());
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

    /// 500: a bug.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The service failed",
            "The failure is in the service's log, and so is the request, under this answer's request id.",
        )
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        let conflict = |slug, title| Self::new(StatusCode::CONFLICT, slug, title, detail.clone());
        match refusal {
            Refusal::Unauthenticated => Self::unauthenticated(),
            Refusal::InsufficientScope(_) => {
                let mut problem = Self::new(
                    StatusCode::FORBIDDEN,
                    "insufficient-scope",
                    "The credential lacks a scope",
                    detail,
                );
                problem.challenge = Some("Bearer realm=\"counterfoil\", error=\"insufficient_scope\"");
                problem
            }
            Refusal::Forbidden => {
                Self::new(StatusCode::FORBIDDEN, "forbidden", "Your role does not allow this", detail)
            }
            Refusal::Stronger => Self::new(
                StatusCode::FORBIDDEN,
                "stronger-than-caller",
                "A token cannot make a stronger one",
                detail,
            )
            .at("scopes"),
            Refusal::NotFound => Self::not_found(),
            Refusal::LimitReached { .. } => conflict("token-limit", "The limit of live tokens is reached"),
            Refusal::Ended => conflict("token-ended", "The token has ended"),
            Refusal::RotatedMeanwhile => conflict("rotated-meanwhile", "The token was rotated meanwhile"),
            Refusal::AlreadyInitialized(_) => {
                conflict("already-initialized", "An organization exists already")
            }
            Refusal::AddressTaken => conflict("address-taken", "The address is taken"),
            Refusal::ChangedMeanwhile => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "changed-meanwhile",
                "It was changed meanwhile",
                detail,
            )
            .at("If-Match"),
            Refusal::UnknownScope(_) => Self::invalid("scopes", "The scopes that exist are read and write."),
            Refusal::Widens(field) => Self::invalid(field, detail),
            Refusal::ExpiryInPast { .. } => Self::invalid("expires_at", detail),
            Refusal::OverlapTooLong(_) => Self::invalid("overlap", detail),
            Refusal::WrongPassword => {
                Self::new(StatusCode::FORBIDDEN, "wrong-password", "The password is wrong", detail)
                    .at("current_password")
            }
            Refusal::UnknownEnvironment => Self::invalid("environment_id", detail),
            Refusal::ClockUntrusted => Self::clocks_disagree(),
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(Refused::Refusal(refusal)) => refusal.into(),
            WriteError::Refused(Refused::KeyReused) => Self::key_reused(),
            WriteError::NotNow(why) => why.into(),
            WriteError::Internal => Self::internal(),
        }
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
