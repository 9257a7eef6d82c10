//! Last use and counts of uses, at every door.

use crate::support::{PATIENCE, Scratch, Service};
use counterfoil::app::App;
use counterfoil::clock::Clock;
use counterfoil::config::Config;
use counterfoil::postgres::connect::Database;
use counterfoil::read_model::digest_index::Use;
use counterfoil_domain::ids::{GatewayId, OrganizationId, TokenId};
use counterfoil_domain::timestamp::Timestamp;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Row;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A token's plaintext and path.
async fn token(service: &Service, body: Value) -> (String, String) {
    let token = service.issue(body).await;
    let text = |field: &str| token[field].as_str().unwrap().to_string();
    (text("plaintext"), format!("/v1/user/tokens/{}", text("id")))
}

async fn record(service: &Service, path: &str) -> Value {
    service.call(Method::GET, path, &service.made.owner.token, None).await.1
}

/// The record of a token, once it shows what is waited for.
async fn until(service: &Service, path: &str, shows: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let record = record(service, path).await;
        if shows(&record) {
            return record;
        }
        assert!(started.elapsed() < PATIENCE, "{record}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn by_key(service: &Service, secret: &str, bearer: Option<&str>) -> StatusCode {
    let request = Client::new().get(format!("{}/v1/token", service.base())).header("x-api-key", secret);
    let request = bearer.map_or(request.try_clone().unwrap(), |bearer| request.bearer_auth(bearer));
    request.send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_door_counts_and_what_fails_does_not() {
    let service = Service::start().await;
    let (introspected, introspected_path) = token(&service, json!({})).await;
    let (bearer, bearer_path) = token(&service, json!({ "scopes": ["read"] })).await;
    let (key, key_path) = token(&service, json!({})).await;
    let (failing, failing_path) = token(&service, json!({ "scopes": ["read"] })).await;
    let before = Clock::system().now();
    let soon = before.plus_seconds(1);
    let (expired, expired_path) = token(&service, json!({ "expires_at": soon.to_string() })).await;
    let first = record(&service, &introspected_path).await;
    assert_eq!(
        (&first["last_used_at"], &first["last_used_by"], &first["uses"]),
        (&Value::Null, &Value::Null, &json!(0))
    );

    // Ways that fail: too narrow, two credentials, another organization's, disabled, expired.
    let (status, _) = service.call(Method::POST, "/v1/user/tokens", &failing, Some(json!({}))).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = service.call(Method::DELETE, &introspected_path, &failing, None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(service.call(Method::GET, "/v1/token?x", &failing, None).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(by_key(&service, &failing, Some(&failing)).await, StatusCode::BAD_REQUEST);
    let elsewhere = Client::new().get(format!("{}/v1/token", service.base())).bearer_auth(&failing);
    let elsewhere = elsewhere.header("x-organization", Clock::system().uuid().to_string());
    assert_eq!(elsewhere.send().await.unwrap().status(), StatusCode::NOT_FOUND);
    let owner = &service.made.owner.token;
    service.call(Method::POST, &format!("{failing_path}/disable"), owner, None).await;
    assert_eq!(service.introspect(&failing).await["active"], false);
    assert_eq!(service.call(Method::GET, "/v1/token", &failing, None).await.0, StatusCode::UNAUTHORIZED);
    while Clock::system().now() < soon {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(service.introspect(&expired).await["active"], false);
    assert_eq!(service.call(Method::GET, "/v1/token", &expired, None).await.0, StatusCode::UNAUTHORIZED);

    // Ways that count.
    for _ in 0..3 {
        assert_eq!(service.introspect(&introspected).await["active"], true);
    }
    assert_eq!(service.call(Method::GET, "/v1/token", &bearer, None).await.0, StatusCode::OK);
    assert_eq!(by_key(&service, &key, None).await, StatusCode::OK);
    let after = Clock::system().now();
    let shown = until(&service, &key_path, |record| record["uses"] == 1).await;
    assert_eq!(shown["last_used_by"], Value::Null);
    let shown_at = Timestamp::parse(shown["last_used_at"].as_str().unwrap()).unwrap();
    assert!(before <= shown_at && shown_at <= after);
    let shown = until(&service, &introspected_path, |record| record["uses"] == 3).await;
    assert_eq!(shown["last_used_by"]["client_id"], json!(service.made.gateway.client_id));
    assert!(shown["last_used_by"]["name"].is_string(), "{shown}");
    until(&service, &bearer_path, |record| record["uses"] == 1).await;
    // These uses were before the others, so they would have been written by now.
    for path in [failing_path, expired_path] {
        let record = record(&service, &path).await;
        assert_eq!((&record["last_used_at"], &record["uses"]), (&Value::Null, &json!(0)), "{record}");
    }
    let (_, page) = service.call(Method::GET, "/v1/user/tokens?sort=last_used&limit=4", owner, None).await;
    assert!(page["items"].as_array().unwrap().iter().all(|item| item["last_used_at"].is_string()), "{page}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_use_of_an_ended_plaintext_is_shown_and_changes_no_tag() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let (old, path) = token(&service, json!({})).await;
    let at_once = Some(json!({ "overlap": 0 }));
    let (_, rotated) = service.call(Method::POST, &format!("{path}/rotate"), &owner, at_once).await;
    assert!(rotated.get("previous_ends_at").is_none() && rotated.get("ended_use").is_none(), "{rotated}");
    let tag = async || {
        let request = Client::new().get(format!("{}{path}", service.base())).bearer_auth(&owner);
        request.send().await.unwrap().headers()["etag"].to_str().unwrap().to_string()
    };
    let before = tag().await;
    assert_eq!(service.introspect(&old).await, json!({ "active": false }));
    assert_eq!(service.call(Method::GET, "/v1/token", &old, None).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(service.introspect(&old).await, json!({ "active": false }));
    let shown = until(&service, &path, |record| record["ended_use"]["uses"] == 3).await;
    assert_eq!(shown["ended_use"]["last_used_by"]["client_id"], json!(service.made.gateway.client_id));
    assert_eq!((&shown["last_used_at"], &shown["uses"]), (&Value::Null, &json!(0)));
    assert!(service.metrics().contains("counterfoil_ended_plaintext_uses_total 3"));
    assert_eq!(tag().await, before);
    // An earlier plaintext that its time ended is told apart as well, and the token's own end ends the telling.
    let plaintext = rotated["plaintext"].as_str().unwrap();
    assert_eq!(service.introspect(plaintext).await["active"], true);
    service.call(Method::POST, &format!("{path}/rotate"), &owner, Some(json!({ "overlap": 1 }))).await;
    while service.introspect(plaintext).await["active"] == true {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until(&service, &path, |record| record["ended_use"]["uses"].as_u64() == Some(4)).await;
    service.call(Method::DELETE, &path, &owner, None).await;
    assert_eq!(service.introspect(plaintext).await, json!({ "active": false }));
    assert!(service.metrics().contains("counterfoil_ended_plaintext_uses_total 4"));
    service.stop().await;
}

#[tokio::test]
async fn a_clean_stop_loses_no_use_and_no_use_goes_backwards() {
    let data = Scratch::new();
    let (clock, config) = (Clock::system(), Config::default());
    let database = Database::open(None, data.path(), &|_| {}).await.unwrap();
    let token = TokenId(clock.uuid());
    let (early, late) = (GatewayId(Uuid::from_u128(1)), GatewayId(Uuid::from_u128(2)));
    let home = OrganizationId(clock.uuid());
    let used = Use { token, generation: 1, home, ends_earlier: false, noted: false };
    let now = clock.now();
    let far = now.plus_seconds(400_000_000);
    let sql = "SELECT last_used_at, last_used_by, uses FROM token_usage WHERE token_id = $1";
    // Each is noted right before a stop. What a clock that was wrong left in the future is put right by the next use.
    for (by, at, expected_by, expected_at, count) in [
        (late, now, late, Some(now), 1),
        (early, now.plus_seconds(-60), late, Some(now), 2),
        (early, far, early, None, 3),
        (late, clock.now(), early, None, 4),
    ] {
        let (app, task) = App::start(&config, &database, clock.clone(), None, &|_| {}).await.unwrap();
        app.note_use(used, Some(by), at);
        drop(app);
        task.await.unwrap();
        let row = sqlx::query(sql).bind(token.0).fetch_one(&database.pool).await.unwrap();
        let stored = Timestamp::from_offset_date_time(row.get(0));
        assert!(
            expected_at.is_none_or(|at| at == stored) && stored <= clock.now().plus_seconds(1),
            "{stored}"
        );
        assert_eq!((row.get::<Uuid, _>(1), row.get::<i64, _>(2)), (expected_by.0, count));
    }
    let sql = "UPDATE token_usage SET last_used_at = $2 WHERE token_id = $1";
    sqlx::query(sql).bind(token.0).bind(far.to_offset_date_time()).execute(&database.pool).await.unwrap();
    let (app, task) = App::start(&config, &database, clock.clone(), None, &|_| {}).await.unwrap();
    app.note_use(used, None, now);
    drop(app);
    task.await.unwrap();
    let sql = "SELECT last_used_at, last_used_by IS NULL FROM token_usage WHERE token_id = $1";
    let row = sqlx::query(sql).bind(token.0).fetch_one(&database.pool).await.unwrap();
    assert_eq!((Timestamp::from_offset_date_time(row.get(0)), row.get(1)), (now, true));
    database.pool.close().await;
    database.private.unwrap().leave(&|_| {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_tokens_are_told_apart_by_their_use() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let (_, list) = service.call(Method::GET, "/v1/gateways", &owner, None).await;
    let id = list["items"][0]["id"].as_str().unwrap();
    let tokens = format!("/v1/gateways/{id}/tokens");
    let (_, second) = service.call(Method::POST, &tokens, &owner, None).await;
    let second_id = second["id"].as_str().unwrap();
    // One record, once it shows so many uses.
    let until = async |id: Option<&str>, uses: u64| {
        let started = Instant::now();
        loop {
            let (_, page) = service.call(Method::GET, &tokens, &owner, None).await;
            let is_asked = |item: &&Value| id.is_none_or(|id| item["id"] == id) && item["uses"] == uses;
            if let Some(found) = page["items"].as_array().unwrap().iter().find(is_asked) {
                return found.clone();
            }
            assert!(started.elapsed() < PATIENCE, "{page}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert_eq!(until(Some(second_id), 0).await["last_used_at"], Value::Null);
    // Whatever is asked about, and through whichever door.
    let before = Clock::system().now();
    for token in [owner.as_str(), "unknown"] {
        service.introspect(token).await;
    }
    let ask = async |path: &str, secret: &str, form: &str| {
        let request = Client::new().post(format!("{}{path}", service.base())).bearer_auth(secret);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.body(form.to_owned()).send().await.unwrap().status()
    };
    let secret = second["plaintext"].as_str().unwrap();
    // The second is not plain, and goes by the route.
    for path in ["/oauth2/introspect", "/oauth2/introspect?", "/oauth2/revoke"] {
        assert_eq!(ask(path, secret, "token=unknown").await, StatusCode::OK);
    }
    assert_eq!(ask("/oauth2/introspect", secret, "nothing=1").await, StatusCode::BAD_REQUEST);
    let shown = until(Some(second_id), 3).await;
    let shown_at = Timestamp::parse(shown["last_used_at"].as_str().unwrap()).unwrap();
    assert!(before <= shown_at && shown_at <= Clock::system().now());
    assert_eq!(shown["last_used_by"]["client_id"], list["items"][0]["client_id"]);
    assert_eq!(shown["last_used_by"]["name"], list["items"][0]["name"]);
    let first = until(None, 2).await;
    assert_ne!(first["id"], second["id"]);

    // The last use before the end is not lost with the end, nor by a stop.
    assert_eq!(ask("/oauth2/introspect", secret, "token=unknown").await, StatusCode::OK);
    let path = format!("{tokens}/{second_id}");
    assert_eq!(service.call(Method::DELETE, &path, &owner, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(ask("/oauth2/introspect", secret, "token=unknown").await, StatusCode::UNAUTHORIZED);
    let service = service.restart().await;
    let (_, page) = service.call(Method::GET, &tokens, &owner, None).await;
    let ended = page["items"].as_array().unwrap().iter().find(|item| item["id"] == second["id"]).unwrap();
    assert_eq!((&ended["state"], &ended["uses"]), (&json!("revoked"), &json!(4)), "{ended}");
    service.stop().await;
}
