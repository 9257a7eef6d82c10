//! Instants that no calendar has, planted by who may edit tables: they are named, and they stop nobody else.

use super::{administrator, run};
use crate::operations::series;
use crate::support::people::person;
use crate::support::program::{Program, command};
use crate::support::{Service, until};
use counterfoil_domain::role::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgConnection;

const TOKENS: &str = "/v1/user/tokens";

/// Changes a table by hand for as long as something is looked at.
async fn planted(superuser: &mut PgConnection, sql: &str, back: &str, look: impl AsyncFnOnce()) {
    assert_ne!(run(superuser, sql).await, 0, "{sql}");
    look().await;
    run(superuser, back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_calendar_has_is_refused_and_stops_nobody_else() {
    let service = Service::start().await;
    let mut superuser = administrator(&service).await;
    let member = person(&service, "member@example.com", Role::Member).await;
    let (user, token) = (member.user, member.token);
    let members =
        async |method, body: Option<Value>| service.call(method, TOKENS, &member.plaintext, body).await.0;
    let others_go_on = async || {
        service.issue(json!({})).await;
        assert_eq!(service.introspect(&service.made.owner.token).await["active"], true);
        assert_eq!(service.introspect(&member.plaintext).await["active"], true);
        assert_eq!(series(&service.metrics(), "counterfoil_panics_total"), 0.0);
    };
    for instant in ["infinity", "-infinity", "200000-01-01Z"] {
        let sql = format!("UPDATE tokens SET expires_at = '{instant}' WHERE id = '{token}'");
        let back = format!("UPDATE tokens SET expires_at = NULL WHERE id = '{token}'");
        planted(&mut superuser, &sql, &back, async || {
            assert_eq!(members(Method::GET, None).await, StatusCode::INTERNAL_SERVER_ERROR, "{instant}");
            others_go_on().await;
        })
        .await;
        let sql = format!("UPDATE claimed_slots SET expires_at = '{instant}' WHERE user_id = '{user}'");
        let back = format!("UPDATE claimed_slots SET expires_at = NULL WHERE user_id = '{user}'");
        planted(&mut superuser, &sql, &back, async || {
            let issued = members(Method::POST, Some(json!({}))).await;
            assert_eq!(issued, StatusCode::INTERNAL_SERVER_ERROR, "{instant}");
            others_go_on().await;
        })
        .await;
        assert_eq!(members(Method::GET, None).await, StatusCode::OK);
    }
    assert_eq!(members(Method::POST, Some(json!({}))).await, StatusCode::CREATED);

    // The end of the log: nothing is written after what cannot be read, until it is put right.
    let ready = async |expected: &str| {
        until(expected, async || {
            let answer = reqwest::get(format!("{}/readyz", service.base())).await.unwrap();
            answer.text().await.unwrap().contains(expected)
        })
        .await;
    };
    let sql = "UPDATE events SET decided_at = 'infinity' WHERE seq = (SELECT max(seq) FROM events)";
    let back = "UPDATE events e SET decided_at = (e.record::json ->> 'decided_at')::timestamptz";
    planted(&mut superuser, sql, back, async || {
        ready("/problems/index-behind").await;
        assert_eq!(members(Method::POST, Some(json!({}))).await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(service.is_active(&member.plaintext).await, None);
    })
    .await;
    service.until_known(&member.plaintext).await;
    others_go_on().await;
    crate::whole::whole(&service).await;

    // A start says which row it is.
    run(&mut superuser, &format!("UPDATE tokens SET expires_at = 'infinity' WHERE id = '{token}'")).await;
    drop(superuser);
    let (data, _) = service.into_data().await;
    let mut program = Program::start(command(data.path(), &["serve"]));
    assert!(!program.until_it_ends().await.success());
    let said = program.said();
    assert!(said.contains("expires_at is no instant of the calendar"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}
