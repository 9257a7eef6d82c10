//! Whom a request asks, for a refusal that comes before anybody has read it.

use super::head::empty_lines;
use crate::http::oauth;

/// Bytes of a request that are looked at: a method and the longest name of a host (RFC 1035 section 2.3.4), with room.
const LOOK: usize = 512;

/// Whom the request that comes asks: known once its path begins. Until then, and for one that has none, whom the request
/// before it asked.
#[derive(Default)]
pub(super) struct Asked {
    at_oauth: bool,
    /// What came of it, while that does not say.
    start: Option<Vec<u8>>,
}

impl Asked {
    /// The next request comes.
    pub(super) fn begins(&mut self) {
        self.start = Some(Vec::new());
    }

    /// More of it has come.
    pub(super) fn came(&mut self, bytes: &[u8]) {
        let Some(start) = &mut self.start else { return };
        let new = &bytes[..bytes.len().min(LOOK - start.len())];
        let known = if start.is_empty() {
            asks_oauth(new)
        } else {
            start.extend_from_slice(new);
            asks_oauth(start)
        };
        if let Some(at_oauth) = known {
            self.at_oauth = at_oauth;
        } else if start.is_empty() {
            start.extend_from_slice(new);
        }
        if known.is_some() || start.len() == LOOK {
            self.start = None;
        }
    }

    /// Whether it asks a door of OAuth's.
    pub(super) fn at_oauth(&self) -> bool {
        self.at_oauth
    }
}

/// Whether a request that begins with these bytes asks a door of OAuth's; None, if they do not say.
fn asks_oauth(bytes: &[u8]) -> Option<bool> {
    let line = &bytes[empty_lines(bytes)..];
    let method = line.iter().position(|byte| *byte == b' ')?;
    let is_method = method > 0 && line[..method].iter().all(u8::is_ascii_alphabetic);
    let rest = is_method.then(|| &line[method + 1..])?;
    let end = rest.iter().position(u8::is_ascii_whitespace);
    let (target, is_whole) = (&rest[..end.unwrap_or(rest.len())], end.is_some());
    let path = path(target);
    if path.starts_with(oauth::BELOW.as_bytes()) {
        return Some(true);
    }
    (is_whole || !oauth::BELOW.as_bytes().starts_with(path)).then_some(false)
}

/// The path of a target, or nothing. The target may have the absolute form (RFC 9112 section 3.2.2).
fn path(target: &[u8]) -> &[u8] {
    if target.starts_with(b"/") {
        return target;
    }
    let authority =
        target.windows(3).position(|three| three == b"://").map_or(&[][..], |at| &target[at + 3..]);
    authority.iter().position(|byte| b"/?#".contains(byte)).map_or(&[], |at| &authority[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_request_asks_is_known_once_its_path_begins() {
        for (bytes, asks) in [
            ("POST /oauth2/introspect HTTP/1.1\r\nContent-Length: abc\r\n\r\n", Some(true)),
            ("POST /oauth2/", Some(true)),
            ("\r\nBREW /oauth2/ HTTP/9", Some(true)),
            ("POST http://a.example/oauth2/revoke?a HTTP/1.1\r\n: ", Some(true)),
            ("POST http://a.example/v1/oauth2/ HTTP/1.1\r\n", Some(false)),
            ("GET http://a.example?/oauth2/ HTTP/1.1\r\n", Some(false)),
            ("GET /oauth2 HTTP/1.1\r\n", Some(false)),
            ("GET /oauth3", Some(false)),
            ("OPTIONS * HTTP/1.1\r\n", Some(false)),
            ("POST /oauth2", None),
            ("POST http://a.example", None),
            ("POST http://a.example/oa", None),
            ("POST ", None),
            ("PO", None),
            ("token=x&a=/oauth2/\r\n", None),
            ("ength: /oauth2/\r\n", None),
            (" /oauth2/", None),
            ("", None),
        ] {
            assert_eq!(asks_oauth(bytes.as_bytes()), asks, "{bytes:?}");
        }
    }

    #[test]
    fn it_does_not_matter_in_which_pieces_a_request_comes() {
        let oauth = format!("POST http://{}/oauth2/introspect?{}", "a".repeat(253), "x".repeat(9000));
        for (request, at_oauth) in [(oauth.as_str(), true), ("GET /v1/token HTTP/1.1\r\n", false)] {
            for piece in [1, 2, 7, 511, 512, 10_000] {
                let mut asked = Asked { at_oauth: !at_oauth, start: None };
                asked.came(b"GET /of-the-one-before ");
                asked.begins();
                request.as_bytes().chunks(piece).for_each(|bytes| asked.came(bytes));
                assert_eq!((asked.at_oauth(), asked.start), (at_oauth, None), "{piece} {request:.20}");
            }
        }
        let mut asked = Asked { at_oauth: true, start: None };
        asked.begins();
        asked.came(&[0x16; 10_000]);
        assert_eq!((asked.at_oauth(), asked.start), (true, None), "it asks nobody else");
    }
}
