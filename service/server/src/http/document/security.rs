//! How one authenticates.

use crate::http::cookies::TOKEN_COOKIE;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};

/// A personal token as `Authorization: Bearer`.
pub(super) const BEARER: &str = "bearer";
/// A personal token as `X-API-KEY`: a second way to send the same, so the rules add it wherever the first is.
pub(super) const API_KEY: &str = "api_key";
/// The same in a cookie, a third way.
pub(super) const API_KEY_COOKIE: &str = "api_key_cookie";

/// A session's cookie.
pub(super) const SESSION: &str = "session";

/// The security schemes. The names in an operation's requirement are the scopes that it needs.
pub(super) fn schemes() -> [(&'static str, SecurityScheme); 6] {
    let http = |scheme, what: &str| {
        SecurityScheme::Http(HttpBuilder::new().scheme(scheme).description(Some(what)).build())
    };
    let key =
        ApiKeyValue::with_description("X-API-KEY", "A personal token, where a client cannot send Bearer.");
    let key_cookie = ApiKeyValue::with_description(
        TOKEN_COOKIE,
        "A personal token, where a client can keep cookies only. It counts without a credential in a header, and not \
         beside a session's cookie. A request that a browser says something of (`Origin`, `Sec-Fetch-*`) has to stem \
         from a page of the configured public URL.",
    );
    let cookie = ApiKeyValue::with_description(
        "__Host-counterfoil_session",
        "A session. Over plain HTTP the cookie is named `counterfoil_session`. What changes something needs `Origin` or \
         `Sec-Fetch-Site` of a page of the configured public URL too.",
    );
    [
        (BEARER, http(HttpAuthScheme::Bearer, "A personal token (RFC 6750).")),
        (API_KEY, SecurityScheme::ApiKey(ApiKey::Header(key))),
        (API_KEY_COOKIE, SecurityScheme::ApiKey(ApiKey::Cookie(key_cookie))),
        (SESSION, SecurityScheme::ApiKey(ApiKey::Cookie(cookie))),
        (
            "gateway_basic",
            http(
                HttpAuthScheme::Basic,
                "A gateway's client id and one of its tokens (RFC 6749 section 2.3.1). Both may be sent in the \
                 form instead, as `client_id` and `client_secret`.",
            ),
        ),
        (
            "gateway_bearer",
            http(
                HttpAuthScheme::Bearer,
                "One of a gateway's tokens (RFC 6750), or the same as `X-API-KEY`; not both.",
            ),
        ),
    ]
}
