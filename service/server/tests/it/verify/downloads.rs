//! Files that are no whole download of the feed: half of one is never told to be whole, and what one cannot show is said.

use super::program;
use crate::audit::stream;
use crate::support::{Service, everything};
use serde_json::Value;
use std::path::Path;

/// What a command said of a file.
struct Said {
    done: bool,
    output: String,
    errors: String,
}

fn said(service: &Service, arguments: &[&str], file: &Path) -> Said {
    let all = [arguments, &["--from", file.to_str().unwrap()]].concat();
    let output = program(service, &all);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { done: output.status.success(), output: text(output.stdout), errors: text(output.stderr) }
}

/// An answer of `/v1/events` as it is written to a file where nobody looks at its status.
async fn answer(service: &Service, token: &str) -> String {
    let request = reqwest::Client::new().get(format!("{}/v1/events", service.base())).bearer_auth(token);
    request.send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_or_is_no_download_is_refused_by_both_commands() {
    let service = Service::start().await;
    everything(&service).await;
    let owner = &service.made.owner.token;
    let text = stream(&service, owner, "").await;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (end, events) = lines.split_last().unwrap();
    let first = stream(&service, owner, "?limit=3").await;
    let (refusal, page) = (answer(&service, "nobody").await, answer(&service, owner).await);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events.ndjson");
    for (name, content, words) in [
        ("the last line is gone", events.concat(), "it was cut"),
        ("events at its end are gone too", events[..events.len() - 5].concat(), "it was cut"),
        ("cut within an event", text[..text.len() / 2].into(), "it was cut"),
        ("cut within the last line", text[..text.len() - 5].into(), "it was cut"),
        ("goes on in one that was cut", [&*first, &*events[3..].concat()].concat(), "it was cut"),
        ("empty", String::new(), "no event and no last line"),
        ("cut within the first event", lines[0][..40].into(), "no event and no last line"),
        ("without an event", (*end).into(), "the file has no event"),
        ("a refusal", refusal.clone(), "no download but a refusal"),
        ("a refusal in a line of its own", format!("{refusal}\n"), "no download but a refusal"),
        ("a refusal after a download", format!("{text}{refusal}"), "no download but a refusal"),
        ("a page", page, "this is a page of the feed"),
        ("something else", "<html></html>".into(), "no line of the feed's stream"),
    ] {
        std::fs::write(&file, content).unwrap();
        let verified = said(&service, &["verify"], &file);
        assert!(!verified.done && verified.output.contains(words), "{name}: {}", verified.output);
        assert!(!verified.output.contains("has every event"), "{name}: {}", verified.output);
        let verified = said(&service, &["verify", "--json"], &file);
        let document: Value = serde_json::from_str(&verified.output).unwrap();
        assert!(!verified.done && document["ok"] == false, "{name}");
        assert_eq!(document["reaches_head"], name == "a refusal after a download", "{name}");
        for arguments in [&["replay"][..], &["replay", "--json"], &["replay", "--until", "3"]] {
            let replayed = said(&service, arguments, &file);
            assert!(!replayed.done && replayed.output.is_empty(), "{name}: {}", replayed.output);
            assert!(replayed.errors.contains(words), "{name}: {}", replayed.errors);
        }
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_says_where_it_ends_is_taken_for_that_and_no_more() {
    let service = Service::start().await;
    everything(&service).await;
    let owner = &service.made.owner.token;
    let text = stream(&service, owner, "").await;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let head = lines.len() as u64 - 1;
    // Somebody took the last five events out, and left the line that says how far it looked.
    let robbed = [&lines[..lines.len() - 6], &lines[lines.len() - 1..]].concat().concat();
    let (first, rest) =
        (stream(&service, owner, "?limit=3").await, stream(&service, owner, "?after=3").await);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events.ndjson");
    let not_there = format!("the head as of then, event {head}, is not in the download");
    let ends = |at: u64| format!("ends at event {at}, before the head as of then, which was event {head}");
    for (name, content, missing, reaches_head, words) in [
        ("whole", text.clone(), 0, true, format!("has every event up to {head}")),
        ("its last line end is gone", text.trim_end().into(), 0, true, "has every event".into()),
        ("two that were put together", format!("{first}{rest}"), 0, true, "has every event".into()),
        ("robbed", robbed, 5, false, not_there),
        ("limited", first, 0, false, ends(3)),
        ("until a position", stream(&service, owner, "?until=5").await, 0, false, ends(5)),
        ("from a position", rest, 3, true, "3 events are not in the download".into()),
    ] {
        std::fs::write(&file, content).unwrap();
        for (command, partial) in [("verify", false), ("verify", true), ("replay", false), ("replay", true)] {
            let more = if partial { &["--partial"][..] } else { &[] };
            let told = said(&service, &[&[command], more].concat(), &file);
            assert!(told.output.contains(&words), "{name}: {} {}", told.output, told.errors);
            // A hole in it proves nothing, unless that is expected.
            assert_eq!(told.done, missing == 0 || partial, "{name}: {} {}", told.output, told.errors);
            assert_eq!(told.output.contains("has every event"), missing == 0, "{name}: {}", told.output);
            let told = said(&service, &[&[command, "--json"], more].concat(), &file);
            assert_eq!(told.done, missing == 0 || partial, "{name}: {} {}", told.output, told.errors);
            let document: Value = serde_json::from_str(&told.output).unwrap();
            if command == "verify" {
                assert_eq!(document["ok"], told.done, "{name}");
            }
            assert_eq!(
                (&document["missing"], &document["reaches_head"]),
                (&missing.into(), &reaches_head.into())
            );
            let warned = told.errors.contains("may have ended by them");
            assert_eq!(warned, (command == "replay" || !partial) && missing > 0, "{name}: {}", told.errors);
        }
    }
    // Of a moment: what it lacks before, and not what comes after. It says nothing of a moment after its end.
    let filtered = stream(&service, owner, "?type=token.issued").await;
    std::fs::write(&file, &filtered).unwrap();
    let listed: Vec<u64> = filtered.lines().filter_map(seq).collect();
    for until in [listed[1], listed[2] - 1, head] {
        let arguments = ["replay", "--json", "--partial", "--until", &until.to_string()];
        let told = said(&service, &arguments, &file);
        assert!(told.done, "{until}: {}", told.errors);
        let document: Value = serde_json::from_str(&told.output).unwrap();
        let there = listed.iter().filter(|seq| **seq <= until).count() as u64;
        assert_eq!(document["missing"], until - there, "{until}: {}", told.output);
    }
    for until in [head + 1, u64::MAX] {
        let told = said(&service, &["replay", "--until", &until.to_string()], &file);
        let ends = format!("the download ends at event {head}");
        assert!(!told.done && told.errors.contains(&ends), "{until}: {}", told.errors);
    }
    // A position that no log reaches.
    std::fs::write(&file, text.replacen("\"seq\":3,", &format!("\"seq\":{},", u64::MAX), 1)).unwrap();
    for command in ["verify", "replay"] {
        let told = said(&service, &[command], &file);
        let all = told.output + &told.errors;
        assert!(!told.done && all.contains("the order is broken"), "{command}: {all}");
    }
    service.stop().await;
}

/// The position of a line's event.
fn seq(line: &str) -> Option<u64> {
    serde_json::from_str::<Value>(line).unwrap()["record"]["seq"].as_u64()
}
