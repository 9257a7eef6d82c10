//! The kinds of refusal: status code, type and words of each. Those of 503, and what the domain refuses, have files of
//! their own.

use super::Problem;
use http::StatusCode;
use std::time::Duration;

impl Problem {
    /// 400: the request cannot be understood.
    pub fn malformed(field: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be understood", detail).at(field)
    }

    /// 400: what was sent as a credential cannot be read as one (RFC 6750 section 3.1).
    pub fn ambiguous(field: &str, detail: &str) -> Self {
        let mut problem = Self::malformed(field, detail);
        problem.challenge = Some("Bearer realm=\"counterfoil\", error=\"invalid_request\"");
        problem
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

    /// 401: a credential that does not count. One answer for every kind of no.
    pub fn unauthenticated() -> Self {
        let mut problem = Self::nothing_presented();
        problem.challenge = Some("Bearer realm=\"counterfoil\", error=\"invalid_token\"");
        problem
    }

    /// 401: no credential, or one of a scheme that is none of ours. The same document, but nothing is wrong with a
    /// token: so the challenge has no error (RFC 6750 section 3.1).
    pub fn nothing_presented() -> Self {
        let detail = "Send a working token as `Authorization: Bearer …`, or sign in.";
        let mut problem =
            Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "A valid credential is needed", detail);
        problem.challenge = Some("Bearer realm=\"counterfoil\"");
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
        let detail = "What a browser sends stems from a page of the configured public_url, by `Origin` or `Sec-Fetch-Site`; \
            with a cookie, one of them is needed.";
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
            "Another method is needed here: the header Allow lists those that there are.",
        )
        .at("method")
    }

    /// 408: a body that is still not whole.
    pub fn timed_out() -> Self {
        let detail = "A body may take 10 seconds.";
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", "The body did not come in time", detail)
    }

    /// 413: a body of `/v1` that is too long.
    pub fn too_large() -> Self {
        let detail = "A body has at most 64 KiB here.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
    }

    /// 415: a body of another media type.
    pub fn not_json() -> Self {
        let detail = "Send `Content-Type: application/json`.";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "The body is not JSON", detail)
            .at("Content-Type")
    }

    /// 415: a body that is compressed, or has another content coding (RFC 9110 section 15.5.16).
    pub fn encoded() -> Self {
        let detail = "Send the body as it is, without Content-Encoding.";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-encoding", "The body is encoded", detail)
            .at("Content-Encoding")
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

    /// 429: too many streams of events at a time.
    pub fn too_many_streams() -> Self {
        let detail = "A user has at most 4 streams of events at a time. Read one to its end, or end it.";
        let mut problem =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-streams", "Too many streams are open", detail);
        problem.retry_after = Some(1);
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
            StatusCode::PAYLOAD_TOO_LARGE => Self::too_large(),
            StatusCode::REQUEST_TIMEOUT => Self::timed_out(),
            StatusCode::UNAUTHORIZED => Self::unauthenticated(),
            StatusCode::SERVICE_UNAVAILABLE => Self::overloaded(),
            status if status.is_server_error() => Self::internal(),
            _ => Self::malformed("request", "Its path, a parameter or a header cannot be understood."),
        }
    }

    /// 500: a bug.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The service failed",
            "The service's log has this request under the answer's request id. It has the failure, too, but of many alike it tells one in ten seconds.",
        )
    }
}
