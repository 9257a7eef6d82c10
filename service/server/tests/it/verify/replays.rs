//! What was live at a moment, by the log alone, and downloads that are as good as the database.

use super::{of_file, program, replayed, verified};
use crate::audit::stream;
use crate::support::{Service, everything};
use counterfoil::clock::Clock;
use counterfoil::event_log::replay::Replayed;
use counterfoil::event_log::verify::Until;
use counterfoil_domain::ids::TokenId;
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_gives_what_was_live() {
    let service = Service::start().await;
    let made = everything(&service).await;
    let now = replayed(&service, None).await;
    let sql = "SELECT id FROM tokens WHERE ended_seq IS NULL AND NOT disabled
        AND (expires_at IS NULL OR expires_at > clock_timestamp()) ORDER BY id";
    let live: Vec<uuid::Uuid> = sqlx::query_scalar(sql).fetch_all(&service.database.pool).await.unwrap();
    assert_eq!(now.live.iter().map(|token| token.id.0).collect::<Vec<_>>(), live);
    let scopes_of = |replayed: &Replayed, id| {
        replayed.live.iter().find(|token| token.id == id).map(|token| token.scopes.to_string())
    };
    assert_eq!(scopes_of(&now, made.narrow).as_deref(), Some("read"));
    assert_eq!(scopes_of(&now, made.revoked), None);
    // At each step of a token's life.
    let sql = "SELECT seq FROM events WHERE subject_id = $1 AND type = $2";
    let seq = |id: TokenId, name: &'static str| {
        let pool = service.database.pool.clone();
        async move {
            sqlx::query_scalar::<_, i64>(sql).bind(id.0).bind(name).fetch_one(&pool).await.unwrap() as u64
        }
    };
    let (issued, scoped) = (seq(made.narrow, "token.issued").await, seq(made.narrow, "token.scoped").await);
    let (disabled, ended) =
        (seq(made.narrow, "token.disabled").await, seq(made.revoked, "token.revoked").await);
    for (until, id, expected) in [
        (issued - 1, made.narrow, None),
        (issued, made.narrow, Some("read write")),
        (scoped, made.narrow, Some("read")),
        (disabled, made.narrow, None),
        (ended - 1, made.revoked, Some("read write")),
        (ended, made.revoked, None),
    ] {
        let then = replayed(&service, Some(Until::Seq(until))).await;
        assert_eq!((scopes_of(&then, id).as_deref(), then.seq), (expected, until));
    }
    // An instant is the end before which something was decided, and after the last the log has no answer.
    let sql = "SELECT decided_at FROM events WHERE seq = $1";
    let at: time::OffsetDateTime =
        sqlx::query_scalar(sql).bind(scoped as i64).fetch_one(&service.database.pool).await.unwrap();
    let at = counterfoil_domain::timestamp::Timestamp::from_offset_date_time(at);
    let before = replayed(&service, Some(Until::Instant(at))).await;
    assert_eq!(scopes_of(&before, made.narrow).as_deref(), Some("read write"));
    assert_eq!(before.at, at);
    let after = replayed(&service, Some(Until::Instant(at.plus_seconds(5000)))).await;
    assert_eq!(scopes_of(&after, made.narrow), None, "it expires within 5000 seconds");
    let beyond = program(&service, &["replay", "--until", "100000"]);
    assert_eq!(beyond.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&beyond.stderr).contains("the log ends at event"), "{beyond:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_as_good_as_the_database() {
    let service = Service::start().await;
    everything(&service).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events.ndjson");
    let text = stream(&service, &service.made.owner.token, "").await;
    std::fs::write(&file, &text).unwrap();
    let whole = of_file(&file).await;
    assert_eq!(whole.findings.first, []);
    let database = verified(&service).await;
    assert_eq!((whole.events, &whole.chain), (database.events, &database.chain));
    assert_eq!(
        (whole.extent.missing, whole.extent.last, whole.extent.reaches_head()),
        (0, database.head, true)
    );
    // The same list, to the byte, from the database and from the file alone.
    let path = file.to_str().unwrap();
    for until in ["20", &Clock::system().now().to_string()] {
        let [database, download] = [
            vec!["replay", "--json", "--until", until],
            vec!["replay", "--json", "--until", until, "--from", path],
        ]
        .map(|arguments| serde_json::from_slice::<Value>(&program(&service, &arguments).stdout).unwrap());
        assert_eq!(database["live"], download["live"]);
        assert_eq!((&database["totals"], &database["chain"]), (&download["totals"], &download["chain"]));
        assert_ne!(database["live"], json!([]));
    }
    let line = |text: &str, place: usize| text.lines().nth(place).unwrap().to_string();
    for (name, changed, what) in [
        (
            "a changed event",
            text.replacen("\"token.scoped\",\"version\":1", "\"token.scoped\", \"version\":1", 1),
            "chain value",
        ),
        (
            "two that trade places",
            text.replace(&line(&text, 3), "\u{1}")
                .replace(&line(&text, 4), &line(&text, 3))
                .replace('\u{1}', &line(&text, 4)),
            "the order is broken",
        ),
        ("a line of something else", text.replacen('\n', "\n{}\n", 1), "line 2: this is no line"),
        (
            "a repeated line",
            text.replacen('\n', &format!("\n{}\n", line(&text, 0)), 1),
            "the order is broken",
        ),
    ] {
        std::fs::write(&file, changed).unwrap();
        let found = of_file(&file).await.findings;
        assert!(
            found.first.iter().any(|difference| difference.what.contains(what)),
            "{name}: {:?}",
            found.first
        );
        assert_eq!(program(&service, &["verify", "--from", path]).status.code(), Some(1), "{name}");
    }
    // What a member may see has gaps: what is there holds, and what cannot be shown is said.
    let (_, token) = service.call(Method::GET, "/v1/token", &service.made.owner.token, None).await;
    let query = format!("?subject={}", token["id"].as_str().unwrap());
    std::fs::write(&file, stream(&service, &service.made.owner.token, &query).await).unwrap();
    let filtered = of_file(&file).await;
    assert_eq!((filtered.findings.count, filtered.extent.unfolded), (0, 0));
    assert!(filtered.extent.missing > 0);
    let printed = program(&service, &["verify", "--partial", "--from", path]);
    assert!(printed.status.success());
    assert!(String::from_utf8_lossy(&printed.stdout).contains("are not in the download"));
    let printed = program(&service, &["replay", "--partial", "--from", path]);
    assert!(printed.status.success());
    assert!(String::from_utf8_lossy(&printed.stdout).contains(token["id"].as_str().unwrap()), "{printed:?}");
    assert!(String::from_utf8_lossy(&printed.stderr).contains("may have ended by them"), "{printed:?}");
    service.stop().await;
}
