//! Errors of RFC 6749 section 5.2. The status codes of the doors below `/oauth2/` are chosen here.

use crate::app::App;
use crate::event_log::failure::NotNow;
use crate::http::body::BodyError;
use crate::http::problem::FailedAuthentication;
use crate::http::problem::unavailable::words;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

/// An error of RFC 6749 section 5.2: its status, code and description. Only this file makes any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OauthError(StatusCode, &'static str, &'static str, Retry);

/// After so many seconds it may be asked again, if that is worth it.
type Retry = Option<u64>;

impl OauthError {
    /// The document.
    pub(crate) fn document(self) -> Value {
        serde_json::json!({ "error": self.1, "error_description": self.2 })
    }

    /// Whether it says that this cannot be answered now.
    pub(super) fn is_unavailable(&self) -> bool {
        self.0 == StatusCode::SERVICE_UNAVAILABLE
    }
}

/// The error that the doors themselves answer where others answer with a problem of this type, if they make one.
pub(crate) fn instead_of(slug: &str) -> Option<OauthError> {
    Some(match slug {
        "malformed" => MISSING_TOKEN,
        "unauthenticated" => BAD_CLIENT,
        "timeout" => BodyError::Timeout.into(),
        "too-large" => BodyError::TooLarge.into(),
        "media-type" => no_form(),
        "too-many-requests" => TOO_MANY,
        _ => return None,
    })
}

/// 400: nothing is asked about.
pub(super) const MISSING_TOKEN: OauthError =
    OauthError(StatusCode::BAD_REQUEST, "invalid_request", "the parameter token is missing", None);
pub(super) const BAD_CLIENT: OauthError =
    OauthError(StatusCode::UNAUTHORIZED, "invalid_client", "the client's credentials are not valid", None);
pub(super) const TOO_MANY: OauthError = OauthError(
    StatusCode::TOO_MANY_REQUESTS,
    "temporarily_unavailable",
    "there were too many requests; the header Retry-After says how long to wait",
    Some(1),
);

/// 503, in a problem's words.
pub(super) fn not_now(why: NotNow) -> OauthError {
    let (detail, seconds) = words(why);
    unavailable(detail, seconds)
}

/// 503, and after how many seconds to ask again.
pub(super) fn unavailable(detail: &'static str, seconds: u64) -> OauthError {
    OauthError(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", detail, Some(seconds))
}

/// 503: nothing can be called active now.
pub(super) fn in_doubt(app: &App) -> OauthError {
    not_now(NotNow::InDoubt(app.freshness.doubt()))
}

/// 400: the request lacks something, or says it twice.
pub(super) fn invalid(what: &'static str) -> OauthError {
    OauthError(StatusCode::BAD_REQUEST, "invalid_request", what, None)
}

/// 415: the body is no form.
pub(super) fn no_form() -> OauthError {
    let what = "send one Content-Type, application/x-www-form-urlencoded";
    OauthError(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request", what, None)
}

impl From<BodyError> for OauthError {
    fn from(error: BodyError) -> Self {
        let refused = |status, what| Self(status, "invalid_request", what, None);
        match error {
            BodyError::TooLarge => refused(StatusCode::PAYLOAD_TOO_LARGE, "a form has at most 8 KiB"),
            BodyError::Timeout => refused(StatusCode::REQUEST_TIMEOUT, "the form did not come in time"),
            BodyError::Overloaded => not_now(NotNow::TooMany),
            BodyError::Broken => invalid("the form ended before its end"),
        }
    }
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let mut response = json(self.0, self.document().to_string().into_bytes());
        if self.0 == StatusCode::UNAUTHORIZED {
            response.extensions_mut().insert(FailedAuthentication);
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"counterfoil\", Bearer realm=\"counterfoil\""),
            );
        }
        if let Some(seconds) = self.3 {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
