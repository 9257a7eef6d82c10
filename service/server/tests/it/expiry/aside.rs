//! A token whose rows contradict the log: the others expire all the same, and what is over goes.

use super::{now, text, until};
use crate::operations::series;
use crate::support::Service;
use serde_json::json;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};

/// A key that a day has passed over.
const OLD_KEY: &str = "INSERT INTO idempotency_keys (key, body, created_at)
    VALUES (sha256('old'), sha256('x'), now() - interval '25 hours')";
const KEYS: &str = "SELECT count(*) FROM idempotency_keys";

#[tokio::test(flavor = "multi_thread")]
async fn one_token_that_cannot_be_recorded_as_expired_holds_up_no_other() {
    let service = Service::start().await;
    let end = now().plus_seconds(3);
    let mut tokens = Vec::new();
    for _ in 0..20 {
        tokens.push(service.issue(json!({ "expires_at": end.to_string() })).await);
    }
    let cluster = service.database.private.as_ref().unwrap();
    let mut superuser = cluster.superuser("counterfoil").connect().await.unwrap();
    // By the log it holds a slot; by the tables somebody took that away.
    for culprit in [&tokens[4], &tokens[5], &tokens[17]] {
        let sql = format!("DELETE FROM claimed_slots WHERE token_id = '{}'", text(culprit, "id"));
        superuser.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    until(&service.database, "SELECT count(*) FROM events WHERE type = 'token.expired'", 17).await;
    let aside = || series(&service.metrics(), "counterfoil_expiries_set_aside");
    crate::support::until("three are left alone", async || aside() == 3.0).await;
    for token in &tokens {
        assert_eq!(service.introspect(text(token, "plaintext")).await["active"], false);
    }
    // Whatever becomes due later expires as well.
    service.issue(json!({ "expires_at": now().plus_seconds(2).to_string() })).await;
    until(&service.database, "SELECT count(*) FROM events WHERE type = 'token.expired'", 18).await;
    assert_eq!(aside(), 3.0);
    drop(superuser);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_goes_while_no_expiry_can_be_recorded() {
    // A log that is not empty is watched for ten seconds before anything is deleted.
    let service = Service::start().await.restart().await;
    let cluster = service.database.private.as_ref().unwrap();
    let mut superuser = cluster.superuser("counterfoil").connect().await.unwrap();
    superuser.execute(OLD_KEY).await.unwrap();
    // Nobody can ask what is due.
    superuser.execute("BEGIN; LOCK TABLE tokens IN ACCESS EXCLUSIVE MODE").await.unwrap();
    until(&service.database, KEYS, 0).await;
    superuser.execute("COMMIT").await.unwrap();
    drop(superuser);
    service.stop().await;
}
