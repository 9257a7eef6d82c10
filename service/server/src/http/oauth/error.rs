//! Errors of RFC 6749 section 5.2.

use crate::app::App;
use crate::event_log::failure::NotNow;
use crate::http::problem::FailedAuthentication;
use crate::http::problem::unavailable::detail;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// An error of RFC 6749 section 5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OauthError(pub(super) StatusCode, pub(super) &'static str, pub(super) &'static str);

pub(super) const BAD_CLIENT: OauthError =
    OauthError(StatusCode::UNAUTHORIZED, "invalid_client", "the client's credentials are not valid");
pub(super) const TOO_MANY: OauthError = OauthError(
    StatusCode::TOO_MANY_REQUESTS,
    "temporarily_unavailable",
    "there were too many requests; the header Retry-After says how long to wait",
);

/// 503, in a problem's words.
pub(super) fn unavailable(detail: &'static str) -> OauthError {
    OauthError(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", detail)
}

/// 503: nothing can be called active now.
pub(super) fn in_doubt(app: &App) -> OauthError {
    unavailable(detail(NotNow::InDoubt(app.freshness.doubt())))
}

pub(super) fn invalid(what: &'static str) -> OauthError {
    OauthError(StatusCode::BAD_REQUEST, "invalid_request", what)
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let document = serde_json::json!({ "error": self.1, "error_description": self.2 });
        let mut response = json(self.0, document.to_string().into_bytes());
        if self.0 == StatusCode::UNAUTHORIZED {
            response.extensions_mut().insert(FailedAuthentication);
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"counterfoil\", Bearer realm=\"counterfoil\""),
            );
        }
        if matches!(self.0, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
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
