//! Cookies as credentials. They count only without a credential in a header, and a browser sends them whoever made
//! it ask: so they come with rules about where the request stems from.

use counterfoil_domain::plaintext::Plaintext;
use http::{HeaderMap, HeaderValue, Method, header};

/// How long a session lives, in seconds: a working day.
pub const SESSION_SECONDS: i64 = 12 * 3600;
/// How a session's secret begins. The rest is as in a token, its checksum included.
pub const SESSION_PREFIX: &str = "cf_ses_";

/// The name of the cookie in which a program may keep a token. Any host near this one can set it in a browser, so it
/// never goes before the session's.
pub const TOKEN_COOKIE: &str = "X-API-KEY";

/// The session cookie's name. `__Host-` makes browsers refuse one that another host, or plain HTTP, has set.
fn session_name(public_url: &str) -> &'static str {
    if public_url.starts_with("https://") { "__Host-counterfoil_session" } else { "counterfoil_session" }
}

/// A credential in a cookie.
#[derive(Debug, PartialEq, Eq)]
pub enum InCookie<'a> {
    /// None.
    Nothing,
    /// A session's secret.
    Session(&'a [u8]),
    /// A token, in the cookie [`TOKEN_COOKIE`].
    Token(&'a [u8]),
    /// There are two: one of them may be somebody else's.
    Ambiguous,
}

/// Reads the credential in a request's cookies.
pub fn in_cookie<'a>(headers: &'a HeaderMap, public_url: &str) -> InCookie<'a> {
    let only = |name: &str| {
        let mut found = pairs(headers).filter(|(n, _)| *n == name.as_bytes()).map(|(_, value)| value);
        (found.next(), found.next().is_some())
    };
    match (only(TOKEN_COOKIE), only(session_name(public_url))) {
        ((None, _), (None, _)) => InCookie::Nothing,
        ((Some(token), false), (None, _)) => InCookie::Token(token),
        ((None, _), (Some(session), false)) => InCookie::Session(session),
        _ => InCookie::Ambiguous,
    }
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let value = pair[at + 1..].trim_ascii();
        Some((pair[..at].trim_ascii(), value)).filter(|(_, value)| !value.is_empty())
    })
}

/// Where a request stems from, as far as a browser says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stems {
    /// From a page of the public URL.
    Here,
    /// From elsewhere, or from nowhere that the browser would name.
    Elsewhere,
    /// No browser said anything.
    Unsaid,
}

/// Finds out by `Origin`, and by `Sec-Fetch-Site` where it is there too. Only the configured public URL counts:
/// `Host` is the client's word.
pub fn stems(headers: &HeaderMap, public_url: &str) -> Stems {
    let said = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    let (origins, sites) = (said(header::ORIGIN.as_str()), said("sec-fetch-site"));
    let here = origin(public_url);
    let from_here = origins.iter().all(|origin| Some(*origin) == here.as_deref().map(str::as_bytes))
        && sites.iter().all(|site| *site == b"same-origin");
    let other = ["sec-fetch-mode", "sec-fetch-dest", "sec-fetch-user"];
    match () {
        () if origins.len() > 1 || sites.len() > 1 || !from_here => Stems::Elsewhere,
        () if !origins.is_empty() || !sites.is_empty() => Stems::Here,
        // A browser, but one that does not say from where.
        () if other.iter().any(|name| headers.contains_key(*name)) => Stems::Elsewhere,
        () => Stems::Unsaid,
    }
}

/// Whether a request with this method may change something.
pub fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

/// The origin of a URL as browsers write it (RFC 6454 section 6.2): without the scheme's own port.
fn origin(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let host = uri.host()?.to_ascii_lowercase();
    let usual = if scheme == "https" { 443 } else { 80 };
    Some(match uri.port_u16().filter(|port| *port != usual) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

/// `Set-Cookie` for a new session.
pub fn session_cookie(public_url: &str, secret: Plaintext) -> Option<HeaderValue> {
    let secret = zeroize::Zeroizing::new(secret.into_shown());
    set_cookie(public_url, &secret, SESSION_SECONDS)
}

/// `Set-Cookie` that takes the session's cookie away.
pub fn no_session_cookie(public_url: &str) -> Option<HeaderValue> {
    set_cookie(public_url, "", 0)
}

fn set_cookie(public_url: &str, value: &str, seconds: i64) -> Option<HeaderValue> {
    let name = session_name(public_url);
    let secure = if name.starts_with("__Host-") { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_cookie_is_read_once() {
        let read = |lines: &[(&'static str, &str)], url| format!("{:?}", in_cookie(&headers(lines), url));
        let session = format!("{:?}", InCookie::Session(b"s"));
        assert_eq!(read(&[("cookie", "a=b; counterfoil_session=s ;c")], "http://h"), session);
        assert_eq!(read(&[("cookie", "__Host-counterfoil_session=s")], "https://h"), session);
        assert_eq!(read(&[("cookie", "counterfoil_session=s")], "https://h"), "Nothing");
        assert_eq!(read(&[("cookie", "counterfoil_session=")], "http://h"), "Nothing");
        let twice = [("cookie", "counterfoil_session=s"), ("cookie", "counterfoil_session=t")];
        assert_eq!(read(&twice, "http://h"), "Ambiguous");
        let token = format!("{:?}", InCookie::Token(b"t"));
        assert_eq!(read(&[("cookie", "counterfoil_session=; X-API-KEY=t")], "http://h"), token);
        for two in ["counterfoil_session=s; X-API-KEY=t", "X-API-KEY=t; X-API-KEY=t"] {
            assert_eq!(read(&[("cookie", two)], "http://h"), "Ambiguous", "{two}");
        }
    }

    #[test]
    fn only_the_public_url_is_here() {
        let from = |lines: &[(&'static str, &str)]| stems(&headers(lines), "https://tokens.example:443/x");
        assert_eq!(from(&[]), Stems::Unsaid);
        for here in [
            &[("origin", "https://tokens.example")][..],
            &[("sec-fetch-site", "same-origin")],
            &[("origin", "https://tokens.example"), ("sec-fetch-site", "same-origin")],
        ] {
            assert_eq!(from(here), Stems::Here, "{here:?}");
        }
        for elsewhere in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "http://tokens.example")],
            &[("origin", "https://tokens.example:8443")],
            &[("origin", "https://tokens.example.evil.example")],
            &[("origin", "null")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-mode", "cors")],
            &[("origin", "https://tokens.example"), ("sec-fetch-site", "cross-site")],
            &[("origin", "https://tokens.example"), ("origin", "https://tokens.example")],
        ] {
            assert_eq!(from(elsewhere), Stems::Elsewhere, "{elsewhere:?}");
        }
    }

    #[test]
    fn a_session_cookie_is_nobody_elses() {
        let text = |url| no_session_cookie(url).unwrap().to_str().unwrap().to_string();
        assert_eq!(
            text("https://h"),
            "__Host-counterfoil_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(text("http://h"), "counterfoil_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
    }
}
