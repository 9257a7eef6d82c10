//! Refusals as answers: every status code is chosen in this file.
//!
//! RFC 9457 problem documents; `type` is stable and relative to the public URL. Nothing of a request is repeated in
//! one, for what was sent may be a secret in the wrong place.

use crate::event_log::batch::Refused;
use crate::event_log::writer::WriteError;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use counterfoil_domain::refusal::Refusal;
use http::{HeaderValue, StatusCode, header};

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
}

impl Problem {
    /// A problem of a stable type.
    pub fn new(
        status: StatusCode,
        slug: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { status, slug, title, detail: detail.into(), field: None, challenge: None }
    }

    /// Names the field, parameter or header that is wrong.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
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

    /// 401: no credential, or one that does not count. One answer for every kind of no.
    pub fn unauthenticated() -> Self {
        let detail = "Send a working token as `Authorization: Bearer …`.";
        let mut problem =
            Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "A valid credential is needed", detail);
        problem.challenge = Some("Bearer realm=\"counterfoil\", error=\"invalid_token\"");
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

    /// 503: it cannot be decided now.
    pub fn unavailable() -> Self {
        let detail = "The service cannot reach its database, or is starting. Try again in a moment.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The service cannot answer now", detail)
    }

    /// 500: a bug.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The service failed",
            "The failure was logged under this answer's request id.",
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
            Refusal::ClockUntrusted => Self::unavailable(),
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(Refused::Refusal(refusal)) => refusal.into(),
            WriteError::Refused(Refused::KeyReused) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The idempotency key was used for another request",
                "Use a new key for a new request.",
            )
            .at("Idempotency-Key"),
            WriteError::Unavailable => Self::unavailable(),
            WriteError::Internal => Self::internal(),
        }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(%error, "a read failed");
        Self::unavailable()
    }
}

impl From<crate::read_model::tables::LoadError> for Problem {
    fn from(error: crate::read_model::tables::LoadError) -> Self {
        tracing::error!(%error, "a read failed");
        match error {
            crate::read_model::tables::LoadError::Database(_) => Self::unavailable(),
            crate::read_model::tables::LoadError::Unreadable(_) => Self::internal(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut document = serde_json::json!({
            "type": format!("/problems/{}", self.slug),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(field) = self.field {
            document["field"] = field.into();
        }
        let mut response = Response::new(Body::from(document.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
