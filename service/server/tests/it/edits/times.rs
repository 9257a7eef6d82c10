//! Instants and overlaps: one verdict for each, at every door.

use super::{TOKENS, events, path, text};
use crate::support::Service;
use crate::verify::program;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Instants, the latest first: how each is written back, and its second.
const INSTANTS: [(&str, &str, i64); 5] = [
    ("2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z", 1_835_395_200),
    ("2027-12-31T23:30:00-01:00", "2028-01-01T00:30:00Z", 1_830_299_400),
    ("2027-06-01T00:00:00.123456789Z", "2027-06-01T00:00:00.123456Z", 1_811_808_000),
    ("2027-06-01t00:00:00.1z", "2027-06-01T00:00:00.1Z", 1_811_808_000),
    ("2027-06-01T00:30:00+14:00", "2027-05-31T10:30:00Z", 1_811_759_400),
];

/// Texts that are none.
const NONE: [&str; 16] = [
    "2027-02-29T00:00:00Z",
    "2100-02-29T00:00:00Z",
    "2027-06-31T00:00:00Z",
    "2027-06-01",
    "2027-06-01T00:00:00",
    "2027-06-01T00:00:00+0100",
    "2027-06-01T00:00:00+25:00",
    "2027-06-01T00:00:00+01:60",
    "2027-06-01T24:00:00Z",
    "2027-06-01T00:00:00,5Z",
    "2027-06-01T12:34:60Z",
    " 2027-06-01T00:00:00Z",
    "2027-06-01T00:00:00Z ",
    "2027-06-01 00:00:00Z",
    "",
    // Where a position may stand, it is one.
    "1811808000",
];

/// Instants that cannot be written back.
const OUTSIDE: [&str; 3] = ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+00:01", "0000-12-31T23:59:59Z"];

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_has_one_verdict_at_every_door() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let (narrowed, rotated) = (service.issue(json!({})).await, service.issue(json!({})).await);
    let (_, gateways) = service.call(Method::GET, "/v1/gateways", &owner, None).await;
    let doors = [
        (Method::POST, TOKENS.to_string()),
        (Method::PATCH, path(&narrowed)),
        (Method::POST, format!("{}/rotate", path(&rotated))),
        (Method::POST, format!("/v1/gateways/{}/tokens", text(&gateways["items"][0], "id"))),
    ];
    let send = async |door: &(Method, String), expires_at: &Value| {
        let body = Some(json!({ "expires_at": expires_at }));
        service.call(door.0.clone(), &door.1, &owner, body).await
    };
    // The latest first, so that each narrows what the one before left.
    for (instant, written, seconds) in INSTANTS {
        for door in &doors {
            let (status, token) = send(door, &json!(instant)).await;
            assert!(status.is_success(), "{door:?} {instant}: {token}");
            assert_eq!(token["expires_at"], written, "{door:?}");
            if let Some(plaintext) = token["plaintext"].as_str().filter(|_| token["kind"] == "personal") {
                assert_eq!(service.introspect(plaintext).await["exp"], seconds);
            }
        }
        assert_eq!(service.introspect(text(&narrowed, "plaintext")).await["exp"], seconds);
    }
    let before = events(&service).await;
    let no_texts = [json!(1_811_808_000), json!(true), json!({}), json!(["2027-06-01T00:00:00Z"])];
    for wrong in NONE.map(|text| json!(text)).iter().chain(&no_texts) {
        for door in &doors {
            let (status, problem) = send(door, wrong).await;
            let verdict = (status, &problem["type"], &problem["field"]);
            let right = (StatusCode::BAD_REQUEST, &json!("/problems/malformed"), &json!("expires_at"));
            assert_eq!(verdict, right, "{door:?} {wrong}: {problem}");
        }
    }
    // Well-formed, and not allowed.
    for wrong in OUTSIDE.into_iter().chain(["1970-01-31T00:00:00Z"]) {
        for door in &doors {
            let (status, problem) = send(door, &json!(wrong)).await;
            let verdict = (status, text(&problem, "field"));
            assert_eq!(verdict, (StatusCode::UNPROCESSABLE_ENTITY, "expires_at"), "{door:?} {wrong}");
        }
    }
    assert_eq!(events(&service).await, before);
    service.stop().await;
}

/// Both read a past as well as a future, and positions, which are in digits.
#[tokio::test(flavor = "multi_thread")]
async fn an_instant_that_ends_a_feed_or_a_replay_has_the_same_verdict() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let feed = async |text: &str| {
        let until = utf8_percent_encode(text, NON_ALPHANUMERIC);
        service.call(Method::GET, &format!("/v1/events?until={until}"), &owner, None).await
    };
    let replay = |until: &str| program(&service, &["replay", "--json", "--until", until]);
    for (instant, written, _) in
        INSTANTS.into_iter().chain([("1970-01-31T00:00:00Z", "1970-01-31T00:00:00Z", 0)])
    {
        let (status, page) = feed(instant).await;
        assert_eq!(status, StatusCode::OK, "{instant}: {page}");
        assert_eq!(page["items"] == json!([]), instant.starts_with("1970"), "{instant}");
        let replayed: Value = serde_json::from_slice(&replay(instant).stdout).unwrap();
        assert_eq!((&replayed["at"], replayed["seq"] == 0), (&json!(written), instant.starts_with("1970")));
    }
    let positions = |text: &&str| text.parse::<u64>().is_ok();
    assert_eq!(feed(NONE.into_iter().find(positions).unwrap()).await.0, StatusCode::OK);
    for (wrong, status, why) in
        [(&NONE[..], 400, "not an RFC 3339 date-time"), (&OUTSIDE, 422, "outside of the years")]
            .into_iter()
            .flat_map(|(texts, status, why)| texts.iter().map(move |text| (*text, status, why)))
            .filter(|(text, ..)| !positions(text))
    {
        let (told, problem) = feed(wrong).await;
        assert_eq!((told.as_u16(), &problem["field"]), (status, &json!("until")), "{wrong}: {problem}");
        let refused = replay(wrong);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{wrong}: {said}");
        assert!(said.contains(why), "{wrong}: {said}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overlap_is_a_time_or_until_used() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let token = service.issue(json!({})).await;
    let path = format!("{}/rotate", path(&token));
    for (overlap, status) in [
        (json!(-1), 422),
        (json!(2_592_001), 422),
        (json!(i64::MAX), 422),
        (json!(u64::MAX), 422),
        (json!(1e300), 422),
        (json!(1.5), 400),
        (json!("0"), 422),
        (json!("forever"), 422),
        (json!([0]), 400),
        (json!(2_592_000), 200),
        (json!("until_used"), 200),
        (json!(0), 200),
        (Value::Null, 200),
    ] {
        let body = Some(json!({ "overlap": overlap }));
        let (answered, answer) = service.call(Method::POST, &path, &owner, body).await;
        assert_eq!(answered.as_u16(), status, "{overlap}: {answer}");
        if status == 200 {
            assert_eq!(answer.get("previous_ends_at").is_some(), overlap != json!(0), "{overlap}");
        } else {
            assert!(matches!(text(&answer, "field"), "overlap" | "body"), "{answer}");
        }
    }
    // A number has as many digits as it likes.
    let digits = "9".repeat(400);
    for (overlap, status) in [
        ("1e400", 422),
        ("-1e400", 422),
        (digits.as_str(), 422),
        ("9999999999999999999999.0", 422),
        ("1e-400", 400),
        ("0.5", 400),
        ("0e400", 200),
        ("36e2", 200),
        (" 3600.0 ", 200),
    ] {
        let asked = reqwest::Client::new().post(format!("{}{path}", service.base())).bearer_auth(&owner);
        let asked = asked.header("content-type", "application/json");
        let response = asked.body(format!("{{\"overlap\":{overlap}}}")).send().await.unwrap();
        let (answered, answer) = (response.status(), response.json::<Value>().await.unwrap());
        assert_eq!(answered.as_u16(), status, "{overlap}: {answer}");
        assert!(status == 200 || answer["field"] == "overlap", "{overlap}: {answer}");
    }
    // A later expiry is not stronger, so a rotation may set one.
    let (_, sooner) = service
        .call(Method::POST, &path, &owner, Some(json!({ "expires_at": "2031-01-01T00:00:00Z" })))
        .await;
    let (_, later) = service
        .call(Method::POST, &path, &owner, Some(json!({ "expires_at": "2032-01-01T00:00:00Z" })))
        .await;
    let (_, kept) = service.call(Method::POST, &path, &owner, Some(json!({}))).await;
    let (_, never) = service.call(Method::POST, &path, &owner, Some(json!({ "expires_at": null }))).await;
    let expiries = [&sooner, &later, &kept, &never].map(|token| token["expires_at"].clone());
    let expected = [
        json!("2031-01-01T00:00:00Z"),
        json!("2032-01-01T00:00:00Z"),
        json!("2032-01-01T00:00:00Z"),
        Value::Null,
    ];
    assert_eq!(expiries, expected);
    service.stop().await;
}
