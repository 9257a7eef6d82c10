//! Requests as they go over the wire.

/// An introspection.
pub(crate) fn introspection(authorization: &str, plaintext: &str) -> String {
    let body = format!("token={plaintext}");
    format!(
        "POST /oauth2/introspect HTTP/1.1\r\nHost: bench\r\nAuthorization: {authorization}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A revocation of a token by another one of its user.
pub(crate) fn revocation(id: impl std::fmt::Display, by: &str) -> String {
    format!("DELETE /v1/user/tokens/{id} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {by}\r\n\r\n")
}
