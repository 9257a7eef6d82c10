//! Who sees which events.

use super::{padding, page};
use crate::support::Service;
use crate::support::people::person;
use counterfoil::event_log::feed::{self, Filter, Viewer};
use counterfoil_domain::ids::{OrganizationId, UserId};
use counterfoil_domain::role::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn seqs_of(page: &Value, name: &str) -> BTreeSet<u64> {
    let items = page["items"].as_array().unwrap().iter();
    let of_type = items.filter(|item| name.is_empty() || item["record"]["type"] == name);
    of_type.map(|item| item["record"]["seq"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_shown_to_whom_they_belong() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let member = person(&service, "member@example.com", Role::Member).await;
    let auditor = person(&service, "auditor@example.com", Role::Auditor).await;
    let all: BTreeSet<u64> = (1..=16).collect();
    for token in [&owner, &auditor.plaintext] {
        assert_eq!(seqs_of(&page(&service, token, "").await, ""), all);
    }
    let own = page(&service, &member.plaintext, "").await;
    assert_eq!(own["items"].as_array().unwrap().len(), 4, "{own}");
    for item in own["items"].as_array().unwrap() {
        assert!(item["record"].to_string().contains(&member.user.to_string()), "{item}");
    }
    let theirs = format!("?subject={}", service.made.owner.id);
    assert_eq!(page(&service, &member.plaintext, &theirs).await["items"], json!([]));

    // What happens to a member after the removal is not shown to the organization; what was before it still is.
    padding(&service, "member.removed", member.user, 1).await;
    padding(&service, "user.password_set", member.user, 1).await;
    assert_eq!(page(&service, &owner, "").await["items"].as_array().unwrap().len(), all.len() + 1);
    // The owner of another organization sees nothing of this one's.
    let (user, organization) = (UserId(uuid::Uuid::nil()), OrganizationId(uuid::Uuid::nil()));
    let stranger = Viewer { user, organization, everything: true };
    let mut connection = service.database.pool.acquire().await.unwrap();
    let seen = feed::page(&mut connection, &stranger, &Filter::default(), 0, 18, 100).await.unwrap();
    assert!(seen.items.is_empty() && seen.next_after == 18);
    drop(connection);

    let narrow = service.issue(json!({ "scopes": ["write"] })).await;
    let (status, _) =
        service.call(Method::GET, "/v1/events", narrow["plaintext"].as_str().unwrap(), None).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(service.call(Method::GET, "/v1/events", "", None).await.0, StatusCode::UNAUTHORIZED);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_includes_what_ended_it_without_naming_it() {
    let service = Service::start().await;
    let owner = service.made.owner.token.clone();
    let person = person(&service, "two@example.com", Role::Member).await;
    let before = service.issue(json!({})).await;
    service.call(Method::DELETE, "/v1/user/tokens", &person.plaintext, None).await;
    let page = page(&service, &owner, &format!("?subject={}", person.token)).await;
    let names: Vec<&str> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["record"]["type"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["token.issued", "tokens.revoked_all"]);
    let other = super::page(&service, &owner, &format!("?subject={}", before["id"].as_str().unwrap())).await;
    assert_eq!(seqs_of(&other, "tokens.revoked_all").len(), 0);
    service.stop().await;
}
