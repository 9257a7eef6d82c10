//! A refusal in the form of its door, whoever made it.

use super::problem::Problem;
use axum::body::Body;
use axum::response::IntoResponse;
use http::{HeaderValue, Response, header};

/// A refusal as its door says it: RFC 6749 at `/oauth2/`, else a problem document. What is neither was made by a
/// library, in words of its own that may repeat what was sent.
pub(super) fn in_the_form_of_the_door(at_oauth: bool, mut response: Response<Body>) -> Response<Body> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let problem = response.extensions_mut().remove::<Problem>();
    let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let foreign =
        problem.is_none() && !matches!(kind, Some(b"application/json" | b"application/problem+json"));
    let problem = match problem {
        Some(problem) if at_oauth => problem,
        None if foreign => Problem::of_status(status),
        _ => return response,
    };
    let mut told = if at_oauth { problem.into_oauth() } else { problem.into_response() };
    for name in [header::ALLOW, header::RETRY_AFTER] {
        if let Some(value) = response.headers_mut().remove(&name) {
            told.headers_mut().insert(name, value);
        }
    }
    told
}
