//! Golden records: one file an event type and version, never to be edited, decodable for ever; and the whole logs
//! that they were taken from, which fold for ever.
//!
//! A new type or version gets a new file, and a new field a new log: let it happen in [`everything`], and run this test
//! with `COUNTERFOIL_WRITE_GOLDEN=1`. That writes what is missing, and touches nothing that is there.

use crate::history::{
    History, at, begun, bootstrap, digest, gateway, gateway_token, holder, issue, operator, scopes, session,
    token, user, value,
};
use counterfoil_domain::command::{Action, SecretText};
use counterfoil_domain::event::{CHAIN_START, Event, Recorded, Undecodable, chain};
use counterfoil_domain::fold::fold;
use counterfoil_domain::gateway_commands::ChangeGateway;
use counterfoil_domain::people::SetPassword;
use counterfoil_domain::state::State;
use counterfoil_domain::token::change::ChangeToken;
use counterfoil_domain::token::issue::IssuePersonal;
use counterfoil_domain::token::rotate::{Overlap, Rotate};
use counterfoil_domain::token::{Kind, Reason};
use std::path::PathBuf;

/// The version of an event that is written today.
const VERSION: u32 = 1;

fn directory() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden"].iter().collect()
}

fn reason() -> Option<Reason> {
    Some(Reason::try_from("key_leaked".to_owned()).unwrap())
}

fn rotate(number: u128, generation: u32, overlap: Overlap) -> Action {
    Action::Rotate(Rotate {
        id: token(number),
        generation,
        if_match: None,
        digest: digest(u128::from(generation + 1) * 100),
        hint: "cf_pat_Rot8".into(),
        expires_at: None,
        overlap,
    })
}

/// A history in which every type of event happens, each with all of its fields where they fit together.
fn everything() -> History {
    let full = IssuePersonal {
        scopes: Some(scopes(&["read", "write"])),
        expires_at: Some(at(86_400)),
        note: Some(value(9, "ci")),
        ..issue(2)
    };
    let narrowed = ChangeToken {
        id: token(2),
        if_match: None,
        note: Some(Some(value(10, "cd"))),
        scopes: Some(scopes(&["write"])),
        expires_at: Some(Some(at(3_600))),
    };
    let changed = ChangeGateway {
        id: gateway(1),
        if_match: None,
        name: Some(value(11, "edge")),
        kinds: Some([Kind::Personal].into()),
        environment: Some(Some(bootstrap().environment)),
    };
    let everywhere = ChangeGateway { name: None, kinds: None, environment: Some(None), ..changed.clone() };
    let expiring = IssuePersonal { expires_at: Some(at(60)), ..issue(3) };
    begun()
        .and(session(1), Action::IssuePersonal(issue(1)))
        .and(holder(1, 1), Action::IssuePersonal(full))
        .and(session(1), Action::ChangeToken(narrowed))
        .and(session(1), rotate(2, 1, Overlap::UntilUsed))
        .and(session(1), rotate(2, 2, Overlap::UntilUsed))
        .and(counterfoil_domain::actor::Actor::System, Action::EndPrevious { id: token(2), generation: 3 })
        .and(session(1), Action::Disable { id: token(2), if_match: None, reason: reason() })
        .and(session(1), Action::Enable { id: token(2), if_match: None })
        .and(session(1), Action::IssuePersonal(expiring))
        .at(60)
        .and(session(1), Action::Revoke { id: token(1), if_match: None, reason: reason() })
        .and(session(1), Action::ChangeGateway(changed))
        .and(session(1), Action::ChangeGateway(everywhere))
        .and(
            session(1),
            Action::IssueGatewayToken(counterfoil_domain::gateway_commands::IssueGatewayToken {
                gateway: gateway(1),
                token: gateway_token(0x100),
            }),
        )
        .and(
            session(1),
            Action::RevokeGatewayToken {
                gateway: gateway(1),
                id: token(0x100),
                if_match: None,
                reason: reason(),
            },
        )
        .and(session(1), Action::RevokeAll { reason: reason(), sessions: false })
        .and(session(1), Action::RemoveGateway { id: gateway(1), if_match: None, reason: reason() })
        .and(
            operator(),
            Action::SetPassword(SetPassword { user: user(1), hash: SecretText("new".into()), checked: None }),
        )
}

/// Of each type the record that says the most.
fn fullest(log: &[String], name: &str) -> Option<String> {
    let of_type = |record: &&String| Recorded::decode(record).unwrap().event.name() == name;
    log.iter().filter(of_type).max_by_key(|record| record.len()).cloned()
}

fn golden(name: &str, version: u32) -> Option<String> {
    std::fs::read_to_string(directory().join(format!("{name}.v{version}.json"))).ok()
}

/// The golden files whose names end so, with their text.
pub(crate) fn files(extension: &str) -> Vec<(String, String)> {
    let files = std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|has| has == extension));
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn write_what_is_missing() {
    let log: Vec<String> = everything().log.iter().map(|recorded| recorded.encode().unwrap()).collect();
    for name in Event::NAMES.iter().filter(|name| golden(name, VERSION).is_none()) {
        let record = fullest(&log, name).unwrap_or_else(|| panic!("nothing here makes a {name} event"));
        std::fs::write(directory().join(format!("{name}.v{VERSION}.json")), record).unwrap();
    }
    let (log, known) = (log.join("\n") + "\n", files("ndjson"));
    if known.iter().all(|(_, known)| *known != log) {
        let number = known.len() + 1;
        std::fs::write(directory().join(format!("log-{number}.ndjson")), log).unwrap();
    }
}

#[test]
fn every_event_type_has_a_golden_record() {
    if std::env::var_os("COUNTERFOIL_WRITE_GOLDEN").is_some() {
        write_what_is_missing();
    }
    let log: Vec<String> = everything().log.iter().map(|recorded| recorded.encode().unwrap()).collect();
    for name in Event::NAMES {
        assert!(golden(name, VERSION).is_some(), "{name} has no golden record: see the head of this file");
        assert!(fullest(&log, name).is_some(), "nothing in `everything` makes a {name} event");
    }
}

#[test]
fn every_golden_record_is_decoded_and_encoded_to_the_same_bytes() {
    let (records, logs) = (files("json"), files("ndjson"));
    assert!(records.len() >= Event::NAMES.len());
    for (name, text) in &records {
        let recorded = Recorded::decode(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(*name, format!("{}.v{VERSION}.json", recorded.event.name()));
        assert_eq!(recorded.encode().unwrap(), *text, "{name}");
        assert!(
            logs.iter().any(|(_, log)| log.lines().any(|line| line == text)),
            "{name} is in no golden log"
        );
    }
}

#[test]
fn every_golden_log_folds() {
    let logs = files("ndjson");
    assert!(!logs.is_empty());
    for (name, log) in logs {
        let mut state = State::default();
        for line in log.lines() {
            let recorded = Recorded::decode(line).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(recorded.encode().unwrap(), line, "{name}");
            fold(&mut state, &recorded).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert_eq!(state.head, log.lines().count() as u64);
        // At their ends, all that was issued has ended.
        assert!(state.tokens.len() >= 5 && state.tokens.values().all(|token| !token.stands()), "{name}");
    }
}

#[test]
fn what_is_not_known_stops_the_reader() {
    let record = golden("token.revoked", 1).unwrap();
    let with = |from: &str, to: &str| {
        assert!(record.contains(from), "{record}");
        Recorded::decode(&record.replacen(from, to, 1))
    };
    assert!(matches!(with("token.revoked", "token.forgiven"), Err(Undecodable::Type(_))));
    for version in ["0", "2", "4294967295"] {
        let outcome = with("\"version\":1", &format!("\"version\":{version}"));
        assert!(matches!(outcome, Err(Undecodable::Version(..))), "{outcome:?}");
    }
    assert!(matches!(with("\"body\":{", "\"body\":{\"more\":1,"), Err(Undecodable::Body { .. })));
    assert!(matches!(
        with("\"reason\":\"key_leaked\"", "\"reason\":\"free text\""),
        Err(Undecodable::Body { .. })
    ));
    for (from, to) in [
        ("{\"seq\"", "{\"more\":1,\"seq\""),
        ("\"seq\"", "\"position\""),
        ("\"kind\":\"session\"", "\"kind\":\"ghost\""),
        ("\"version\":1", "\"version\":-1"),
        ("\"version\":1,", ""),
        ("\"type\":\"token.revoked\",\"version\":1", "\"version\":1,\"type\":\"token.revoked\""),
        ("\"seq\"", "\"organization\":null,\"seq\""),
        ("2027", "10000"),
    ] {
        assert!(matches!(with(from, to), Err(Undecodable::Record(_))), "{from} -> {to}");
    }
    for cut in 0..record.len() {
        assert!(Recorded::decode(&record[..cut]).is_err());
    }
}

#[test]
fn a_chain_breaks_at_the_first_record_that_was_edited_left_out_or_moved() {
    let records: Vec<String> = everything().log.iter().map(|recorded| recorded.encode().unwrap()).collect();
    let links = |records: &[String]| {
        records.iter().fold(vec![CHAIN_START], |mut chained, record| {
            chained.push(chain(chained.last().unwrap(), record));
            chained
        })
    };
    let whole = links(&records);
    for place in 0..records.len() - 1 {
        let mut edited = records.clone();
        edited[place] = edited[place].replacen("2027", "2026", 1);
        let mut without = records.clone();
        without.remove(place);
        let mut moved = records.clone();
        moved.swap(place, place + 1);
        for changed in [edited, without, moved] {
            let broken = links(&changed);
            assert_eq!(broken[..=place], whole[..=place]);
            assert!(broken[place + 1..].iter().zip(&whole[place + 1..]).all(|(a, b)| a != b), "at {place}");
        }
    }
}
