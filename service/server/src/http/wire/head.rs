//! Whether the head of a request is here, so that hyper and its buffers come no earlier.

use httparse::{EMPTY_HEADER, Request, Status};

/// Header lines that hyper reads at most. It refuses more, and need not wait for their end to do so.
const LINES: usize = 100;

/// Whether there is something for hyper: a head that is whole, or one that it refuses already. So many of the bytes were
/// known before, and were neither. They do not begin with an empty line.
pub(super) fn is_whole(bytes: &[u8], known: usize) -> bool {
    // Like hyper: a head that comes byte by byte is not parsed at each of them.
    if known > 0 && !has_an_empty_line(&bytes[known.saturating_sub(2)..]) {
        return false;
    }
    let mut lines = [EMPTY_HEADER; LINES];
    !matches!(Request::new(&mut lines).parse(bytes), Ok(Status::Partial))
}

/// Lines may end in LF alone (RFC 9112 section 2.2).
fn has_an_empty_line(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|two| two == b"\n\n") || bytes.windows(3).any(|three| three == b"\n\r\n")
}

/// How many bytes of empty lines a client sends before a request, which are nothing (RFC 9112 section 2.2).
pub(super) fn empty_lines(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some(after) = rest.strip_prefix(b"\r\n").or(rest.strip_prefix(b"\n")) {
        rest = after;
    }
    bytes.len() - rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_whole_with_its_last_byte_however_it_comes() {
        for end in ["\r\n\r\n", "\n\n", "\r\n\n", "\n\r\n"] {
            let head = format!("GET / HTTP/1.1\r\nHost: x{end}");
            for known in 0..head.len() {
                for now in known + 1..=head.len() {
                    let whole = is_whole(&head.as_bytes()[..now], known);
                    assert_eq!(whole, now == head.len(), "{end:?} {known} {now}");
                }
                let more = format!("{head}GET / HTTP/1.1\r\n");
                assert!(is_whole(more.as_bytes(), known), "{end:?} {known}");
            }
        }
    }

    #[test]
    fn what_is_refused_at_once_is_not_waited_for() {
        let many = format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(LINES + 1));
        for wrong in [b"\x16\x03\x01".as_slice(), b"G\0", b"GET  / HTTP/1.1\r\n", many.as_bytes()] {
            assert!(is_whole(wrong, 0), "{wrong:?}");
        }
        assert!(!is_whole(b"GET / HTTP/1.1\r\nX: ", 0));
    }

    #[test]
    fn empty_lines_are_nothing() {
        for (bytes, nothing) in
            [("", 0), ("\r\n\n\r\nG", 5), ("\r", 0), ("\n\r", 1), ("\r\r\n", 0), ("GET\r\n", 0)]
        {
            assert_eq!(empty_lines(bytes.as_bytes()), nothing, "{bytes:?}");
        }
    }
}
