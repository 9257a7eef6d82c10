//! Bytes that are nearly right, or not at all.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::cell::RefCell;

/// One change, at some place.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put(u32, u8),
    Insert(u32, &'static str),
    Cut(u32, u16),
    Repeat(u32, u16),
}

/// What stops a careless reader: separators and ends of every format that is read, depths, and numbers at their limits.
const WORDS: [&str; 42] = [
    "\"",
    "\\",
    "{",
    "[[[[[[[[[[[[",
    "}",
    ",",
    ":",
    "null",
    "-1",
    "1e999",
    "18446744073709551616",
    "\\ud800",
    "\\u0000",
    "\0",
    "\u{e9}",
    "\u{202e}",
    "%",
    "%00",
    "%ff",
    "%2",
    "+",
    "&",
    "=",
    ";",
    " ",
    "\t",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "Bearer ",
    "Basic ",
    "chunked",
    "Transfer-Encoding: chunked\r\n",
    "Content-Length: 5\r\n",
    "HTTP/1.0",
    "HTTP/2.0",
    "*a",
    "&a ",
    "!!binary ",
    "- ",
    "? ",
    "0x1F",
];

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<u32>(), any::<u8>()).prop_map(|(at, byte)| Change::Put(at, byte)),
        (any::<u32>(), prop::sample::select(WORDS.to_vec())).prop_map(|(at, word)| Change::Insert(at, word)),
        (any::<u32>(), 0u16..64).prop_map(|(at, count)| Change::Cut(at, count)),
        (any::<u32>(), 0u16..64).prop_map(|(at, count)| Change::Repeat(at, count)),
        (any::<u32>(), any::<u16>()).prop_map(|(at, count)| Change::Cut(at, count)),
    ]
}

/// A few changes.
pub(super) fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(change(), 1..4)
}

/// Any bytes.
pub(super) fn any_bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

/// A few changes, outside of a property.
pub(super) fn one() -> Vec<Change> {
    thread_local!(static RUNNER: RefCell<TestRunner> = RefCell::new(TestRunner::default()));
    RUNNER.with_borrow_mut(|runner| changes().new_tree(runner).unwrap().current())
}

/// The bytes after the changes.
pub(super) fn changed(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes {
        let (Change::Put(at, _) | Change::Insert(at, _) | Change::Cut(at, _) | Change::Repeat(at, _)) =
            change;
        let at = *at as usize % (bytes.len() + 1);
        let until = |count: u16| (at + usize::from(count)).min(bytes.len());
        match *change {
            Change::Put(_, byte) => drop(bytes.splice(at..until(1), [byte])),
            Change::Insert(_, word) => drop(bytes.splice(at..at, word.bytes())),
            Change::Cut(_, count) => drop(bytes.drain(at..until(count))),
            Change::Repeat(_, count) => {
                let again = bytes[at..until(count)].to_vec();
                drop(bytes.splice(at..at, again));
            }
        }
    }
    bytes
}
