//! Lists of tokens: pages, filters, searches, and what belongs to none.

mod cost;

use crate::support::Service;
use crate::support::people::person;
use counterfoil::http::cursor::Belongs;
use counterfoil_domain::role::Role;
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const LIST: &str = "/v1/user/tokens";

/// The path of a list with these parameters, encoded.
fn path(parameters: &[(&str, &str)]) -> String {
    let url = Url::parse_with_params(&format!("http://x{LIST}"), parameters).unwrap();
    format!("{LIST}?{}", url.query().unwrap_or_default())
}

async fn list(service: &Service, parameters: &[(&str, &str)]) -> (StatusCode, Value) {
    service.call(Method::GET, &path(parameters), &service.made.owner.token, None).await
}

/// The ids of a whole list, page by page.
async fn walk(service: &Service, parameters: &[(&str, &str)], limit: usize) -> Vec<String> {
    let limit = limit.to_string();
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut with = parameters.to_vec();
        with.push(("limit", &limit));
        with.extend((!cursor.is_empty()).then_some(("cursor", cursor.as_str())));
        let (status, page) = list(service, &with).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit.parse().unwrap());
        ids.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_string()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.into(),
            None => return ids,
        }
    }
}

async fn notes(service: &Service, parameters: &[(&str, &str)]) -> BTreeSet<String> {
    let (status, page) = list(service, parameters).await;
    assert_eq!(status, StatusCode::OK, "{page}");
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["note"].as_str().unwrap_or_default().to_string()).collect()
}

/// An instant `seconds` from now.
fn later(seconds: i64) -> String {
    counterfoil::clock::Clock::system().now().plus_seconds(seconds).to_string()
}

async fn own_id(service: &Service) -> String {
    let (_, record) = service.call(Method::GET, "/v1/token", &service.made.owner.token, None).await;
    record["id"].as_str().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_shows_each_token_once_whatever_the_page() {
    let service = Service::start().await;
    let issue = async |body| service.issue(body).await["id"].as_str().unwrap().to_string();
    // Several share an instant, several have none.
    let (soon, late) = (later(3600), later(7200));
    let mut issued = vec![own_id(&service).await];
    for expires_at in [json!(late), Value::Null, json!(soon), json!(soon), Value::Null, json!(late)] {
        issued.push(issue(json!({ "expires_at": expires_at })).await);
    }
    // The first one is the owner's, of a day.
    let expected: Vec<String> = [3, 4, 1, 6, 0, 2, 5].map(|at| issued[at].clone()).to_vec();
    let backwards = |ids: &[String]| ids.iter().rev().cloned().collect::<Vec<_>>();
    for limit in [1, 2, 3, 100] {
        assert_eq!(walk(&service, &[("sort", "created"), ("order", "asc")], limit).await, issued);
        assert_eq!(walk(&service, &[], limit).await, backwards(&issued));
        assert_eq!(walk(&service, &[("sort", "expires"), ("order", "asc")], limit).await, expected);
        assert_eq!(walk(&service, &[("sort", "expires")], limit).await, backwards(&expected));
    }
    // Some were used, two of them at one instant.
    let sql = "INSERT INTO token_usage (token_id, last_used_at, uses)
        SELECT id, '2027-01-01T00:00:00Z'::timestamptz + seconds * interval '1 second', 1
        FROM UNNEST($1::uuid[], $2::int[]) AS used (id, seconds)
        ON CONFLICT (token_id) DO UPDATE SET last_used_at = excluded.last_used_at";
    let used: Vec<uuid::Uuid> = [5, 1, 2].map(|at| issued[at].parse().unwrap()).to_vec();
    sqlx::query(sql).bind(used).bind(vec![1, 0, 1]).execute(&service.database.pool).await.unwrap();
    let by_use: Vec<String> = [3, 4, 6, 1, 2, 5].map(|at| issued[at].clone()).to_vec();
    for limit in [1, 2, 100] {
        let mut walked = walk(&service, &[("sort", "last_used"), ("order", "asc")], limit).await;
        // The token that asks is used meanwhile.
        walked.retain(|id| *id != issued[0]);
        assert_eq!(walked, by_use);
        let mut walked = walk(&service, &[("sort", "last_used")], limit).await;
        walked.retain(|id| *id != issued[0]);
        assert_eq!(walked, backwards(&by_use));
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_by_state_goes_by_the_clock() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let issue = async |note: &str, expires_at: Value| {
        let token = service.issue(json!({ "note": note, "expires_at": expires_at })).await;
        format!("{LIST}/{}", token["id"].as_str().unwrap())
    };
    issue("live", Value::Null).await;
    let (disabled, revoked) = (issue("disabled", Value::Null).await, issue("revoked", Value::Null).await);
    let expiring = service.issue(json!({ "note": "expired", "expires_at": later(1) })).await;
    service.call(Method::POST, &format!("{disabled}/disable"), &owner, None).await;
    service.call(Method::DELETE, &revoked, &owner, None).await;
    let set = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
    while service.introspect(expiring["plaintext"].as_str().unwrap()).await["active"] == true {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What introspection has called inactive is listed as expired, recorded or not. One more is the owner's.
    assert_eq!(notes(&service, &[("state", "expired")]).await, set(&["expired"]));
    assert_eq!(notes(&service, &[("state", "live")]).await, set(&["live", "made by init"]));
    assert_eq!(notes(&service, &[("state", "disabled")]).await, set(&["disabled"]));
    assert_eq!(notes(&service, &[("state", "revoked")]).await, set(&["revoked"]));
    assert_eq!(
        notes(&service, &[("state", "revoked,disabled,revoked")]).await,
        set(&["disabled", "revoked"])
    );
    assert_eq!(notes(&service, &[]).await.len(), 5);
    for item in list(&service, &[("search", "ed")]).await.1["items"].as_array().unwrap() {
        assert_eq!(item["state"], item["note"]);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_takes_its_text_literally() {
    let service = Service::start().await;
    let all =
        ["50%", "500", "a_b", "axb", "c\\d", "c/d", "it's", "Ärger", "İnşaat", "café", "ΟΔΟΣ", "李 Zoë"];
    for note in all {
        service.issue(json!({ "note": note })).await;
    }
    for (text, found) in [
        ("%", "50%"),
        ("_", "a_b"),
        ("\\", "c\\d"),
        ("a_b", "a_b"),
        ("A_B", "a_b"),
        ("50%", "50%"),
        ("'", "it's"),
        ("ärger", "Ärger"),
        ("A\u{308}RGER", "Ärger"),
        ("cafe\u{301}", "café"),
        ("CAFÉ", "café"),
        ("i\u{307}nşaat", "İnşaat"),
        ("İNŞ", "İnşaat"),
        ("Σ", "ΟΔΟΣ"),
        ("οδος", "ΟΔΟΣ"),
        ("李", "李 Zoë"),
        (" z", "李 Zoë"),
    ] {
        assert_eq!(
            notes(&service, &[("search", text)]).await,
            BTreeSet::from([found.to_string()]),
            "{text:?}"
        );
    }
    assert_eq!(notes(&service, &[("search", "")]).await.len(), all.len() + 1);
    assert!(notes(&service, &[("search", ".*")]).await.is_empty());
    assert!(notes(&service, &[("search", &"x".repeat(200))]).await.is_empty());
    assert_eq!(notes(&service, &[("search", "50%"), ("state", "revoked")]).await.len(), 0);
    for query in [format!("search={}", "x".repeat(10_000)), "search=%00".into(), "search=%ff".into()] {
        let (status, answer) =
            service.call(Method::GET, &format!("{LIST}?{query}"), &service.made.owner.token, None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_belong_to_a_list_is_refused() {
    let service = Service::start().await;
    for _ in 0..6 {
        service.issue(json!({})).await;
    }
    let (_, page) = list(&service, &[("sort", "created"), ("limit", "5")]).await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let mut refused: Vec<String> =
        [("sort", "expires"), ("order", "asc"), ("state", "live"), ("search", "a")]
            .iter()
            .map(|other| path(&[("cursor", cursor), *other]))
            .collect();
    let cut = &cursor[..cursor.len() - 1];
    let long = "x".repeat(10_000);
    for wrong in [cut, &cursor[1..], &format!("{cursor}A"), "0", "", " ", &long, "\0", "7"] {
        refused.push(path(&[("cursor", wrong)]));
    }
    for wrong in
        ["0", "-1", "-2147483648", "2147483648", "99999999999999999999", "1.5", "１０", "", "101", "+5"]
    {
        refused.push(path(&[("limit", wrong)]));
    }
    for query in [
        "limit=5&limit=5",
        "sort=created&sort=created",
        "sort=note",
        "sort=",
        "order=up",
        "state=dead",
        "state=",
        "state=live,",
        "cursor=%ff",
        "page=1",
        "q=a",
    ] {
        refused.push(format!("{LIST}?{query}"));
    }
    // Whether there is such a gateway or not.
    refused.push("/v1/gateways/00000000-0000-7000-8000-000000000000/tokens?q=a".into());
    for path in refused {
        let (status, problem) = service.call(Method::GET, &path, &service.made.owner.token, None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {problem}");
        assert_eq!(problem["type"], "/problems/malformed", "{path}");
    }
    // Another user's list is another list.
    let bob = person(&service, "bob@example.com", Role::Member).await;
    let (status, _) = service.call(Method::GET, &path(&[("cursor", cursor)]), &bob.plaintext, None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (_, page) = service.call(Method::GET, LIST, &bob.plaintext, None).await;
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    // Written otherwise, or with another limit, it is the same list.
    let same =
        [("cursor", cursor), ("order", "desc"), ("state", "revoked,live,expired,disabled"), ("limit", "1")];
    assert_eq!(list(&service, &same).await.0, StatusCode::OK);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_somebody_computed_is_refused_as_any_that_is_none() {
    let service = Service::start().await;
    let list_of = Belongs::to(LIST).and(service.made.owner.id.0.as_bytes()).and(&[0, 1]);
    let list_of = list_of.and(b"live,disabled,expired,revoked").and(b"");
    let forged = |kind: u8, key: i64, issued: i64| {
        let bytes = [&[kind][..], &key.to_be_bytes(), &issued.to_be_bytes()].concat();
        list_of.seal::<17>(bytes.try_into().unwrap())
    };
    let ask = async |cursor: String| list(&service, &[("cursor", &cursor)]).await;
    // So they are computed.
    assert_eq!(ask(forged(0, 0, 1 << 40)).await.0, StatusCode::OK);
    for cursor in [forged(0, 0, -1), forged(1, i64::MAX, 1), forged(1, i64::MIN, 1), forged(7, 0, 1)] {
        let (status, problem) = ask(cursor).await;
        assert_eq!(
            (status, &problem["field"]),
            (StatusCode::BAD_REQUEST, &Value::from("cursor")),
            "{problem}"
        );
    }
    service.stop().await;
}
