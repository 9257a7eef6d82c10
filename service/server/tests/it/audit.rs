//! The audit feed over HTTP: complete, bounded, and shown to whom it belongs.

mod given_up;
mod killed;
mod readers;
mod streams;

use crate::support::Service;
use counterfoil_domain::event::{CHAIN_START, Recorded, chain};
use counterfoil_domain::ids::UserId;
use reqwest::{Method, StatusCode};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

/// A line of the stream, as an auditor's program reads it.
#[derive(serde::Deserialize)]
struct Line {
    chain: Option<String>,
    record: Option<Box<RawValue>>,
    next_after: Option<u64>,
    more: Option<bool>,
}

/// The stream's text, as the holder of a token gets it.
pub(crate) async fn stream(service: &Service, token: &str, query: &str) -> String {
    let request = reqwest::Client::new().get(format!("{}/v1/events{query}", service.base()));
    let response = request.bearer_auth(token).header("accept", "application/x-ndjson").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    String::from_utf8(response.bytes().await.unwrap().to_vec()).unwrap()
}

fn lines(text: &str) -> Vec<Line> {
    assert!(text.is_empty() || text.ends_with('\n'), "a line is cut");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn seqs(lines: &[Line]) -> Vec<u64> {
    let records = lines.iter().filter_map(|line| line.record.as_ref());
    records.map(|record| Recorded::decode(record.get()).unwrap().seq).collect()
}

async fn page(service: &Service, token: &str, query: &str) -> Value {
    let (status, page) = service.call(Method::GET, &format!("/v1/events{query}"), token, None).await;
    assert_eq!(status, StatusCode::OK, "{query}: {page}");
    page
}

/// Every seq that pages of a query show, by following `next_after` until there is no more.
async fn pages(service: &Service, token: &str, filter: &str, mut after: u64) -> (Vec<u64>, u64) {
    let mut seen = Vec::new();
    loop {
        let page = page(service, token, &format!("?after={after}{filter}")).await;
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|item| item["record"]["seq"].as_u64().unwrap()),
        );
        after = page["next_after"].as_u64().unwrap();
        if page["more"] == false {
            return (seen, after);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_proves_itself_and_names_who_did_what() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let token = service.issue(json!({ "note": "secret words" })).await;
    service
        .call(Method::DELETE, &format!("/v1/user/tokens/{}", token["id"].as_str().unwrap()), &owner, None)
        .await;
    let text = stream(&service, &owner, "").await;
    assert!(!text.contains("secret words") && !text.contains("owner@example.com"));
    assert!(!text.contains(token["plaintext"].as_str().unwrap()));
    let lines = lines(&text);
    let mut last = CHAIN_START;
    for (place, line) in lines[..lines.len() - 1].iter().enumerate() {
        let record = line.record.as_ref().unwrap().get();
        last = chain(&last, record);
        assert_eq!(Some(last.hex()), line.chain);
        let recorded = Recorded::decode(record).unwrap();
        assert_eq!(recorded.seq, place as u64 + 1);
        assert!(!recorded.request_id.is_nil());
        if recorded.event.name() == "token.revoked" {
            assert_eq!(recorded.actor.user(), Some(service.made.owner.id));
        }
    }
    // The last line tells a whole stream from one that was cut.
    let end = lines.last().unwrap();
    assert_eq!((end.more, end.next_after), (Some(false), Some(lines.len() as u64 - 1)));
    assert_eq!(page(&service, &owner, "").await["items"].as_array().unwrap().len(), lines.len() - 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_taken_literally_or_refused() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    for (query, field) in [
        ("after=-1", "after"),
        ("after=18446744073709551615", "after"),
        ("after=9223372036854775808", "after"),
        ("after=%2B1", "after"),
        ("after=1.5", "after"),
        ("after=", "after"),
        ("after=%00", "after"),
        ("after=%D9%A1", "after"),
        ("after=1&after=1", "after"),
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=1001", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=", "limit"),
        ("until=-1", "until"),
        ("until=yesterday", "until"),
        ("until=2027-06-01T00:00:00", "until"),
        ("until=2027-06-01T02:00:00+02:00", "until"),
        ("until=%00", "until"),
        ("type=token.revokd", "type"),
        ("type=", "type"),
        ("type=%FF", "query"),
        ("subject=me", "subject"),
        ("subject=0197c9a0000070008000000000000001", "subject"),
        ("subject=%00", "subject"),
        ("cursor=1", "query"),
        ("%00=1", "query"),
    ] {
        let (status, problem) = service.call(Method::GET, &format!("/v1/events?{query}"), &owner, None).await;
        assert_eq!(
            (status, &problem["field"]),
            (StatusCode::BAD_REQUEST, &json!(field)),
            "{query}: {problem}"
        );
    }
    // An instant, and none that is in the calendar here: as in every other place.
    for until in ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00%2B00:01"] {
        let (status, problem) =
            service.call(Method::GET, &format!("/v1/events?until={until}"), &owner, None).await;
        assert_eq!(
            (status, &problem["field"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("until")),
            "{problem}"
        );
    }
    let all = page(&service, &owner, "?until=2999-06-01T02:00:00%2B02:00").await;
    assert_eq!(all["items"].as_array().unwrap().len(), 8);
    assert_eq!(page(&service, &owner, "?until=2001-01-01T00:00:00Z").await["items"], json!([]));
    let beyond = page(&service, &owner, "?after=9223372036854775807").await;
    assert_eq!((&beyond["items"], &beyond["more"], &beyond["head"]), (&json!([]), &json!(false), &json!(8)));
    assert_eq!(beyond["next_after"], json!(9_223_372_036_854_775_807_u64));
    service.stop().await;
}

/// Issues and revokes, some thirty events from eight writers at once, while readers read.
async fn write(service: &Service) {
    let owner = &service.made.owner.token;
    let writers = (0..8).map(|_| async {
        for _ in 0..2 {
            let token = service.issue(json!({})).await;
            let path = format!("/v1/user/tokens/{}", token["id"].as_str().unwrap());
            service.call(Method::PATCH, &path, owner, Some(json!({ "scopes": ["read"] }))).await;
            service.call(Method::DELETE, &path, owner, None).await;
        }
    });
    futures_util::future::join_all(writers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_beside_writers_miss_nothing_and_see_nothing_twice() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let done = std::sync::atomic::AtomicBool::new(false);
    let following = async {
        let (mut seen, mut after) = (Vec::new(), 0);
        loop {
            let last_round = done.load(Ordering::SeqCst);
            let (more, next) = pages(&service, &owner, "&limit=10", after).await;
            seen.extend(more);
            after = next;
            if last_round {
                return seen;
            }
        }
    };
    let windows = async {
        let (mut seen, mut after) = (Vec::new(), 0);
        loop {
            let last_round = done.load(Ordering::SeqCst);
            // In the last round the window reaches beyond the log's end.
            let now = counterfoil::clock::Clock::system().now().plus_seconds(if last_round { 60 } else { 0 });
            let (more, next) = pages(&service, &owner, &format!("&limit=7&until={now}"), after).await;
            seen.extend(more);
            after = next;
            if last_round {
                return seen;
            }
        }
    };
    let writing = async {
        write(&service).await;
        done.store(true, Ordering::SeqCst);
    };
    let (followed, windowed, ()) = tokio::join!(following, windows, writing);
    let all: Vec<u64> = (1..=8 + 8 * 2 * 3).collect();
    assert_eq!(followed, all);
    assert_eq!(windowed, all);
    // Windows between any two instants tile.
    let instants = page(&service, &owner, "?limit=1000").await;
    let mut tiled = Vec::new();
    let mut after = 0;
    for item in instants["items"].as_array().unwrap().iter().step_by(5) {
        let until = item["record"]["decided_at"].as_str().unwrap();
        let (window, next) = pages(&service, &owner, &format!("&until={until}"), after).await;
        assert!(window.iter().all(|seq| {
            instants["items"][*seq as usize - 1]["record"]["decided_at"].as_str().unwrap() < until
        }));
        tiled.extend(window);
        after = next;
    }
    tiled.extend(pages(&service, &owner, "", after).await.0);
    assert_eq!(tiled, all);
    // A sparse reader, and a stream that is cut three times.
    let (revoked, _) = pages(&service, &owner, "&type=token.revoked&limit=3", 0).await;
    assert_eq!(revoked.len(), 16);
    let (mut pieces, mut after) = (Vec::new(), 0);
    for cut in [700, 3000, 9000, usize::MAX] {
        let text = stream(&service, &owner, &format!("?after={after}")).await;
        let got = &text[..cut.min(text.len())];
        // Only whole lines count; the rest comes again.
        let whole = &got[..got.rfind('\n').map_or(0, |end| end + 1)];
        pieces.extend(seqs(&lines(whole)));
        after = pieces.last().copied().unwrap_or(0);
    }
    assert_eq!(pieces, all);
    service.stop().await;
}

/// Puts events into the log that say the same as the last one, but for their columns, and waits until the service is past
/// them.
async fn padding(service: &Service, name: &str, user: UserId, count: i64) {
    let cluster = service.database.private.as_ref().unwrap();
    let mut superuser = sqlx::ConnectOptions::connect(&cluster.superuser("counterfoil")).await.unwrap();
    let sql = "WITH RECURSIVE padding AS (
            (SELECT seq, record, chain, decided_at, 0::bigint AS n FROM events ORDER BY seq DESC LIMIT 1)
            UNION ALL SELECT seq + 1, record, sha256(chain || convert_to(record, 'UTF8')), decided_at, n + 1
            FROM padding WHERE n < $1)
        INSERT INTO events SELECT seq, record, chain, $2, $4, $3, $3, decided_at FROM padding WHERE n > 0";
    let organization = name.starts_with("member.").then_some(service.made.organization.id.0);
    sqlx::query(sql)
        .bind(count)
        .bind(name)
        .bind(user.0)
        .bind(organization)
        .execute(&mut superuser)
        .await
        .unwrap();
    let sql = "SELECT max(seq) FROM events";
    let head: i64 = sqlx::query_scalar(sql).fetch_one(&service.database.pool).await.unwrap();
    let began = std::time::Instant::now();
    while service.app().applied.load(Ordering::Acquire) < head as u64 {
        assert!(began.elapsed() < std::time::Duration::from_secs(60));
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    service.until_known(&service.made.owner.token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_page_is_not_the_end() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let query = "?after=8&type=token.revoked";
    padding(&service, "user.password_set", service.made.owner.id, 45_000).await;
    let first = page(&service, &owner, query).await;
    assert_eq!((&first["items"], &first["more"]), (&json!([]), &json!(true)));
    let (seen, after) = pages(&service, &owner, "&type=token.revoked", 8).await;
    assert_eq!((seen, after), (vec![], 45_008));
    // One query answers what an index leads to.
    let subject = format!("?after=8&type=token.revoked&subject={}", service.made.owner.id);
    assert_eq!(page(&service, &owner, &subject).await["more"], false);
    assert_eq!(lines(&stream(&service, &owner, query).await).len(), 1);
    service.stop().await;
}
