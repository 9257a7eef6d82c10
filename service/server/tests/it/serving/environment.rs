//! An environment full of surprises, from the first start on. What the operator's shell says of languages, of time zones
//! and of other PostgreSQL servers reaches neither `initdb` nor PostgreSQL, and changes no answer.

use super::a_token_lives_and_ends;
use crate::support::Scratch;
use crate::support::load::People;
use crate::support::program::{INIT, Program, command, run};
use counterfoil_domain::timestamp::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What a shell may say, for other programs and for other servers. The time zone is one that there is, and is far from
/// UTC, also in its minutes: what does not exist would be taken for UTC.
const SURPRISES: [(&str, &str); 14] = [
    ("PGOPTIONS", "-c nonsense.at.all -c statement_timeout=1 -c search_path=pg_temp"),
    ("PGHOST", "/nowhere"),
    ("PGPORT", "1"),
    ("PGUSER", "nobody"),
    ("PGDATABASE", "nowhere"),
    ("PGPASSWORD", "wrong"),
    ("PGSSLMODE", "verify-full"),
    ("PGSSLROOTCERT", "/nowhere"),
    ("PGAPPNAME", "surprise"),
    ("PGDATA", "/nowhere"),
    ("LC_ALL", "pl_PL.UTF-8"),
    ("LC_MESSAGES", "ja_JP.UTF-8"),
    ("LANG", "xx"),
    ("TZ", "Asia/Kathmandu"),
];

/// A note that no single language has.
const NOTE: &str = "Zoë 李";

fn with_surprises(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = command(data_dir, arguments);
    command.envs(SURPRISES);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_environment_reaches_neither_initdb_nor_postgres_and_changes_no_answer() {
    let scratch = Scratch::new();
    let mut program = Program::start(with_surprises(scratch.path(), &["serve"]));
    program.until_ready().await;
    none_reached(&scratch.path().join("postgres"));
    let people = People::made_by(with_surprises(scratch.path(), &INIT), program.base()).await;
    a_token_lives_and_ends(&people, program.base()).await;

    let before = replayed(scratch.path(), None).await;
    let token = noted(&people, program.base()).await;
    let after = replayed(scratch.path(), None).await;
    let issued = instant(&token["created_at"]);
    assert!(instant(&before["at"]) < issued && issued < instant(&after["at"]), "{before}{token}{after}");
    // By position and by instant alike.
    for (then, lives) in [(&before, false), (&after, true)] {
        let (seq, at) = (then["seq"].to_string(), then["at"].as_str().unwrap());
        for until in [&seq, at] {
            let replayed = replayed(scratch.path(), Some(until)).await;
            let live = replayed["live"].as_array().unwrap();
            assert_eq!(live.iter().any(|live| live["id"] == token["id"]), lives, "{until}: {replayed}");
            assert_eq!(replayed["seq"], then["seq"], "{until}");
        }
    }
    program.stop().await;
}

/// What `initdb` wrote down and the server was given.
fn none_reached(cluster: &Path) {
    let settings = fs::read_to_string(cluster.join("postgresql.conf")).unwrap();
    // `initdb` notes the time zone and the languages that it finds.
    let foreign = |line: &&str| ["Kathmandu", "pl_PL", "ja_JP"].iter().any(|word| line.contains(word));
    assert_eq!(settings.lines().filter(foreign).collect::<Vec<_>>(), Vec::<&str>::new());
    let file = fs::read_to_string(cluster.join("postmaster.pid")).unwrap();
    let given = fs::read(format!("/proc/{}/environ", file.lines().next().unwrap())).unwrap();
    let given: Vec<_> = given.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    assert!(given.iter().any(|variable| variable.starts_with("PATH=")), "{given:?}");
    for (name, value) in SURPRISES {
        assert!(!given.contains(&format!("{name}={value}").into()), "{name}: {given:?}");
    }
}

/// A token that is found by parts of its note, in either case and in either of Unicode's forms.
async fn noted(people: &People, base: &str) -> Value {
    let issue = reqwest::Client::new().post(format!("{base}/v1/user/tokens")).bearer_auth(people.own());
    let response = issue.json(&json!({ "note": NOTE })).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let token: Value = response.json().await.unwrap();
    for (search, found) in
        [("Zoë", 1), ("zOË", 1), ("zoe\u{308}", 1), ("李", 1), ("ë 李", 1), ("Zoe", 0), ("杏", 0)]
    {
        let path = format!("/v1/user/tokens?search={search}");
        let (status, page) = people.ask(base, Method::GET, &path).await.unwrap();
        assert_eq!(status, StatusCode::OK, "{search}: {page}");
        let notes: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| &item["note"]).collect();
        assert_eq!(notes, vec![NOTE; found], "{search}");
    }
    token
}

/// What was live at a moment.
async fn replayed(data_dir: &Path, until: Option<&str>) -> Value {
    let mut replay = with_surprises(data_dir, &["replay", "--json"]);
    replay.args(until.map(|moment| ["--until", moment]).into_iter().flatten());
    let output = run(replay).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn instant(text: &Value) -> Timestamp {
    Timestamp::parse(text.as_str().unwrap()).unwrap()
}
