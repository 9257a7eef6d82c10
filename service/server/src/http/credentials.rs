//! Reading the Authorization header, once for every door: one credential, or a refusal.

use http::{HeaderMap, HeaderName, header};

/// What a request presents.
#[derive(Debug, PartialEq, Eq)]
pub enum Presented<'a> {
    /// Nothing.
    Nothing,
    /// A Bearer token (RFC 6750), or the value of `X-API-KEY`.
    Bearer(&'a [u8]),
    /// Basic credentials (RFC 7617), still encoded.
    Basic(&'a [u8]),
    /// A scheme that no door here takes, or one without a credential: refused as whoever sends nothing is.
    Foreign,
    /// Two credentials, or what could be two that were joined: refused, for one side may check the first and the other
    /// use the last.
    Ambiguous,
    /// One credential that is longer than any that we take: it cannot be good, and is not looked at.
    TooLong,
}

/// The other header that a token may come in.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Longest credential that is looked at, in bytes.
const LONGEST: usize = 4096;

/// Reads the credential of a request. Schemes are compared without case, with blanks after them (RFC 9110 section
/// 11.1); a comma or a blank inside a token makes it none, as two joined headers would be.
pub fn presented(headers: &HeaderMap) -> Presented<'_> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter().map(|value| value.as_bytes().trim_ascii());
    let (first, second) = (lines.next(), lines.next());
    let mut keys = headers.get_all(API_KEY).iter().map(|value| value.as_bytes().trim_ascii());
    let (key, another) = (keys.next(), keys.next());
    match (first.filter(|line| !line.is_empty()), second, key.filter(|key| !key.is_empty()), another) {
        (None, None, None, None) => Presented::Nothing,
        (Some(line), None, None, None) => scheme(line),
        (None, None, Some(key), None) => token(key),
        _ => Presented::Ambiguous,
    }
}

fn scheme(line: &[u8]) -> Presented<'_> {
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let (scheme, rest) = line.split_at(end);
    let rest = rest.trim_ascii();
    if rest.len() >= LONGEST && !rest.contains(&b',') {
        Presented::TooLong
    } else if rest.is_empty() {
        Presented::Foreign
    } else if scheme.eq_ignore_ascii_case(b"bearer") {
        token(rest)
    } else if scheme.eq_ignore_ascii_case(b"basic") {
        if rest.contains(&b',') { Presented::Ambiguous } else { Presented::Basic(rest) }
    } else {
        Presented::Foreign
    }
}

/// A token as it was sent, if it can be one.
pub(super) fn token(text: &[u8]) -> Presented<'_> {
    if text.len() >= LONGEST && !text.contains(&b',') {
        return Presented::TooLong;
    }
    let whole = !text.iter().any(|byte| byte.is_ascii_whitespace() || *byte == b',');
    if whole { Presented::Bearer(text) } else { Presented::Ambiguous }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(lines: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        match presented(&headers) {
            Presented::Bearer(token) => format!("bearer {}", String::from_utf8_lossy(token)),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn one_credential_in_any_spelling() {
        for line in ["Bearer T", "bearer T", "BEARER T", "Bearer  T", "Bearer T ", "Bearer\tT"] {
            assert_eq!(read(&[("authorization", line)]), "bearer T", "{line:?}");
        }
        assert_eq!(read(&[("x-api-key", "T")]), "bearer T");
        assert_eq!(read(&[("authorization", ""), ("x-api-key", "T")]), "bearer T");
        assert_eq!(read(&[]), "Nothing");
    }

    #[test]
    fn what_is_too_long_is_refused_as_one_credential() {
        let long = "x".repeat(20_000);
        for scheme in ["Bearer", "Basic", "Token"] {
            assert_eq!(read(&[("authorization", &format!("{scheme} {long}"))]), "TooLong");
        }
        assert_eq!(read(&[("x-api-key", &long)]), "TooLong");
        assert_eq!(read(&[("authorization", &format!("Bearer {long},Bearer a"))]), "Ambiguous");
    }

    #[test]
    fn a_foreign_scheme_is_one_credential() {
        for line in ["Token T", "BearerT", "Bearer", "Bearer ", "Basic", "Digest username=\"a\", nonce=\"b\""]
        {
            assert_eq!(read(&[("authorization", line)]), "Foreign", "{line:?}");
        }
    }

    #[test]
    fn two_credentials_are_none() {
        for line in ["Bearer T,Bearer T", "Bearer T, Basic x", "Basic x,Bearer T", "Bearer a b"] {
            assert_eq!(read(&[("authorization", line)]), "Ambiguous", "{line:?}");
        }
        assert_eq!(read(&[("authorization", "Token T"), ("x-api-key", "T")]), "Ambiguous");
        assert_eq!(read(&[("authorization", "Bearer T"), ("authorization", "Bearer T")]), "Ambiguous");
        assert_eq!(read(&[("authorization", ""), ("authorization", "Bearer T")]), "Ambiguous");
        assert_eq!(read(&[("authorization", "Bearer T"), ("x-api-key", "T")]), "Ambiguous");
        assert_eq!(read(&[("x-api-key", "T"), ("x-api-key", "T")]), "Ambiguous");
    }
}
