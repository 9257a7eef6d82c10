//! Instants and overlaps: one verdict for each, at every door.

use super::{TOKENS, events, path, text};
use crate::support::Service;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_has_one_verdict_at_every_door() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let (narrowed, rotated) = (service.issue(json!({})).await, service.issue(json!({})).await);
    let doors = [
        (Method::POST, TOKENS.to_string()),
        (Method::PATCH, path(&narrowed)),
        (Method::POST, format!("{}/rotate", path(&rotated))),
    ];
    let send = async |door: &(Method, String), expires_at: &Value| {
        let body = Some(json!({ "expires_at": expires_at }));
        service.call(door.0.clone(), &door.1, &owner, body).await
    };
    // The latest first, so that each narrows what the one before left.
    for (instant, written, seconds) in [
        ("2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z", 1_835_395_200),
        ("2027-12-31T23:30:00-01:00", "2028-01-01T00:30:00Z", 1_830_299_400),
        ("2027-06-01T00:00:00.123456789Z", "2027-06-01T00:00:00.123456Z", 1_811_808_000),
        ("2027-06-01t00:00:00.1z", "2027-06-01T00:00:00.1Z", 1_811_808_000),
        ("2027-06-01T00:30:00+14:00", "2027-05-31T10:30:00Z", 1_811_759_400),
    ] {
        for door in &doors {
            let (status, token) = send(door, &json!(instant)).await;
            assert!(status.is_success(), "{door:?} {instant}: {token}");
            assert_eq!(token["expires_at"], written, "{door:?}");
            if let Some(plaintext) = token["plaintext"].as_str() {
                assert_eq!(service.introspect(plaintext).await["exp"], seconds);
            }
        }
        assert_eq!(service.introspect(text(&narrowed, "plaintext")).await["exp"], seconds);
    }
    let before = events(&service).await;
    for wrong in [
        json!("2027-02-29T00:00:00Z"),
        json!("2100-02-29T00:00:00Z"),
        json!("2027-06-31T00:00:00Z"),
        json!("2027-06-01"),
        json!("2027-06-01T00:00:00"),
        json!("2027-06-01T00:00:00+0100"),
        json!("2027-06-01T00:00:00+25:00"),
        json!("2027-06-01T00:00:00+01:60"),
        json!("2027-06-01T24:00:00Z"),
        json!("2027-06-01T00:00:00,5Z"),
        json!("2027-06-01T12:34:60Z"),
        json!(" 2027-06-01T00:00:00Z"),
        json!("2027-06-01 00:00:00Z"),
        json!(""),
        json!("1811808000"),
        json!(1_811_808_000),
        json!(true),
        json!({}),
        json!(["2027-06-01T00:00:00Z"]),
    ] {
        for door in &doors {
            let (status, problem) = send(door, &wrong).await;
            let verdict = (status, &problem["type"], &problem["field"]);
            let right = (StatusCode::BAD_REQUEST, &json!("/problems/malformed"), &json!("expires_at"));
            assert_eq!(verdict, right, "{door:?} {wrong}: {problem}");
        }
    }
    // Well-formed, and not allowed.
    for door in &doors {
        let (status, problem) = send(door, &json!("1970-01-31T00:00:00Z")).await;
        assert_eq!(
            (status, text(&problem, "field")),
            (StatusCode::UNPROCESSABLE_ENTITY, "expires_at"),
            "{door:?}"
        );
    }
    assert_eq!(events(&service).await, before);
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
