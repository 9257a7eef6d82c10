//! Every parser of the domain, given what nobody meant: no panic, no long thought, and what is read at all is written
//! back as the same.

use crate::golden::files;
use crate::history::{at, gateway, token};
use counterfoil_domain::event::Recorded;
use counterfoil_domain::fold::fold;
use counterfoil_domain::ids::{GatewayId, TokenId};
use counterfoil_domain::plaintext::{Digest, Plaintext, contains_a_plaintext};
use counterfoil_domain::scope::Scopes;
use counterfoil_domain::state::State;
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::Reason;
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// One change of a text, at some place in it.
#[derive(Clone, Debug)]
enum Change {
    Put(u16, char),
    Insert(u16, &'static str),
    Cut(u16, u8),
    Repeat(u16, u8),
}

/// What stops a careless reader: ends, depths, numbers at their limits, and texts that are not what they seem.
const WORDS: [&str; 20] = [
    "\"",
    "\\",
    "{",
    "[[[[[[[[",
    "}",
    ",",
    ":",
    "null",
    "true",
    "-1",
    "0",
    "1e999",
    "18446744073709551616",
    "\\ud800",
    "\\u0000",
    "\0",
    "é",
    "\u{202e}",
    "9999-12-31T23:59:59.999999Z",
    "00000000-0000-0000-0000-000000000000",
];

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        (any::<u16>(), any::<char>()).prop_map(|(at, character)| Change::Put(at, character)),
        (any::<u16>(), prop::sample::select(WORDS.to_vec())).prop_map(|(at, word)| Change::Insert(at, word)),
        (any::<u16>(), any::<u8>()).prop_map(|(at, count)| Change::Cut(at, count)),
        (any::<u16>(), any::<u8>()).prop_map(|(at, count)| Change::Repeat(at, count)),
    ];
    prop::collection::vec(change, 1..5)
}

fn changed(text: &str, changes: &[Change]) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for change in changes {
        let place = |at: u16| usize::from(at) % (text.len() + 1);
        let until = |at: usize, count: u8| (at + usize::from(count)).min(text.len());
        match *change {
            Change::Put(at, character) => {
                let at = place(at);
                let end = until(at, 1);
                text.splice(at..end, [character]);
            }
            Change::Insert(at, word) => {
                let at = place(at);
                text.splice(at..at, word.chars());
            }
            Change::Cut(at, count) => {
                let at = place(at);
                let end = until(at, count);
                text.drain(at..end);
            }
            Change::Repeat(at, count) => {
                let at = place(at);
                let again = text[at..until(at, count)].to_vec();
                text.splice(at..at, again);
            }
        }
    }
    text.into_iter().collect()
}

/// Every record of the golden logs, with the state before it.
fn golden_logs() -> Vec<(State, String)> {
    let mut all = Vec::new();
    for (_, log) in files("ndjson") {
        let mut state = State::default();
        for line in log.lines() {
            all.push((state.clone(), line.to_owned()));
            fold(&mut state, &Recorded::decode(line).unwrap()).unwrap();
        }
    }
    all
}

/// Reads a record; what can be read is written back as the same, and folds or is refused.
fn read_record(before: &State, text: &str) {
    let Ok(recorded) = Recorded::decode(text) else { return };
    let again = recorded.encode().unwrap();
    assert_eq!(Recorded::decode(&again).unwrap(), recorded, "{text}");
    let _ = fold(&mut before.clone(), &recorded);
}

fn read_text(text: &str) {
    if let Ok(instant) = Timestamp::parse(text) {
        assert_eq!(Timestamp::parse(&instant.to_string()), Ok(instant), "{text}");
    }
    if let Ok(scopes) = Scopes::new(text.split(' ').map(String::from)) {
        assert_eq!(Scopes::new(scopes.iter().map(String::from)), Ok(scopes), "{text}");
    }
    if let Ok(id) = text.parse::<TokenId>() {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
    if let Some(id) = GatewayId::from_client_id(text) {
        assert_eq!(id.client_id(), text);
    }
    if let Some(digest) = Digest::from_hex(text) {
        assert_eq!(digest.hex(), text);
    }
    if let Ok(reason) = Reason::try_from(text.to_owned()) {
        assert_eq!(reason.as_str(), text);
    }
    contains_a_plaintext(text);
}

fn cases() -> u32 {
    if std::env::var_os("COUNTERFOIL_SOAK").is_some_and(|value| value == "1") { 2_000_000 } else { 4_000 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_record_is_read_whole_or_refused(place in any::<prop::sample::Index>(), changes in changes()) {
        thread_local!(static LOG: Vec<(State, String)> = golden_logs());
        LOG.with(|log| {
            let (before, record) = place.get(log);
            read_record(before, &changed(record, &changes));
        });
    }

    #[test]
    fn a_text_is_read_whole_or_refused(
        text in prop_oneof![
            "\\PC{0,80}",
            prop::collection::vec(any::<char>(), 0..80).prop_map(String::from_iter),
            "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,40})?([Zz]|[+-][0-9]{2}:[0-9]{2})",
        ],
        changes in changes(),
    ) {
        let known = [
            at(0).to_string(),
            token(7).to_string(),
            gateway(7).client_id(),
            Digest::of(b"x").hex(),
            Plaintext::mint("cf_pat_", &[7; 32]).into_shown(),
        ];
        read_text(&text);
        read_text(&changed(&text, &changes));
        known.iter().for_each(|text| read_text(&changed(text, &changes)));
    }
}

#[test]
fn what_is_deep_or_long_is_refused_soon() {
    let log = golden_logs();
    let (before, record) = log.last().unwrap();
    let began = Instant::now();
    for filling in ["[".repeat(1 << 20), "{\"a\":".repeat(1 << 18), "\"".repeat(1 << 20), "9".repeat(1 << 20)]
    {
        read_record(before, &filling);
        read_record(before, &record.replacen("\"body\":{", &format!("\"body\":{{\"more\":{filling}"), 1));
    }
    // The longest text that is searched for a plaintext has 200 characters, each at worst the beginning of one.
    for worst in ["_a".repeat(100), "cf_".repeat(67), "_".repeat(200)] {
        assert!(!contains_a_plaintext(&worst));
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
