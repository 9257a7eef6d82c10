//! The integration tests, on a real PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers included")]

mod absences;
mod applied;
mod audit;
mod canaries;
mod challenges;
mod clocks;
mod contract;
mod crashes;
mod cuts;
mod databases;
mod disconnects;
mod disk;
mod doctor;
mod edge;
mod edits;
mod expiry;
mod faults;
mod floods;
mod foreign;
mod foreign_bytes;
mod gateways;
mod http2;
mod lists;
mod oauth;
mod operations;
mod operator;
mod outage;
mod overload;
mod parsers;
mod pauses;
mod people;
mod private_postgres;
mod proxies;
mod queue;
mod readme;
mod restart;
mod runbook;
mod serving;
mod sessions;
mod sign_in;
mod standing;
mod starting;
mod steps;
mod support;
mod tokens;
mod tour;
mod two_nodes;
mod usage;
mod verify;
mod whole;

use counterfoil::app::App;
use counterfoil::clock::{Clock, random};
use counterfoil::config::Config;
use counterfoil::postgres::connect::Database;
use counterfoil::read_model::digest_index::Introspected;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Command, SecretText};
use counterfoil_domain::gateway_commands::NewGatewayToken;
use counterfoil_domain::ids::{EnvironmentId, GatewayId, OrganizationId, TokenId, UserId, ValueId};
use counterfoil_domain::people::Bootstrap;
use counterfoil_domain::plaintext::Plaintext;
use counterfoil_domain::token::issue::IssuePersonal;
use counterfoil_domain::value::Value;

fn value(clock: &Clock, text: &str) -> Value {
    Value { id: ValueId(clock.uuid()), salt: random(), text: text.into() }
}

#[tokio::test]
async fn a_first_token_is_active_until_it_is_revoked() {
    let data = support::Scratch::new();
    let (clock, config) = (Clock::system(), Config::default());
    let database = Database::open(None, data.path(), &|_| {}).await.unwrap();
    let (app, task) = App::start(&config, &database, clock.clone(), None, &|_| {}).await.unwrap();
    let (token, secret) = (Plaintext::mint("cf_pat_", &random()), Plaintext::mint("cf_gw_", &random()));
    let (organization, owner) = (OrganizationId(clock.uuid()), UserId(clock.uuid()));
    let (id, gateway) = (TokenId(clock.uuid()), GatewayId(clock.uuid()));
    let bootstrap = Bootstrap {
        organization,
        numbers: [1, 2, 3],
        organization_name: value(&clock, "acme"),
        owner,
        email: value(&clock, "owner@example.com"),
        email_key: "owner@example.com".into(),
        password_hash: SecretText("x".into()),
        token: IssuePersonal {
            id,
            digest: token.digest(),
            hint: token.hint("cf_pat_"),
            scopes: None,
            expires_at: None,
            note: None,
        },
        environment: EnvironmentId(clock.uuid()),
        environment_name: value(&clock, "default"),
        gateway,
        gateway_name: value(&clock, "first"),
        gateway_token: NewGatewayToken {
            id: TokenId(clock.uuid()),
            digest: secret.digest(),
            hint: secret.hint("cf_gw_"),
            expires_at: None,
        },
    };
    let command = |actor, action| Command { actor, request_id: clock.uuid(), organization, action };
    let operator = Actor::Operator { command: "init".into() };
    app.writer
        .write(command(operator.clone(), Action::Bootstrap(Box::new(bootstrap.clone()))), None)
        .await
        .unwrap();
    assert!(app.writer.write(command(operator, Action::Bootstrap(Box::new(bootstrap))), None).await.is_err());
    let (token, secret) = (token.into_shown(), secret.into_shown());
    let client = app.index.client(Some(gateway), secret.as_bytes(), clock.now()).unwrap();
    let introspect = || {
        let mut out = Vec::new();
        let found = app.index.introspect(
            &client,
            &app.index.seek(token.as_bytes()),
            (clock.now(), true),
            &app.issuer,
            &mut out,
        );
        (found, String::from_utf8(out).unwrap())
    };
    let (found, answer) = introspect();
    assert!(matches!(found, Introspected::Active(used) if used.token == id));
    assert!(answer.contains("owner@example.com") && app.is_fresh(), "{answer}");
    let actor = Actor::Token { token_id: id, generation: 1, user_id: owner };
    app.writer
        .write(command(actor, Action::Revoke { id, if_match: None, reason: None }), None)
        .await
        .unwrap();
    assert_eq!(introspect().0, Introspected::NotHeld);
    drop(app);
    task.await.unwrap();
    database.pool.close().await;
    database.private.unwrap().leave(&|_| {}).await.unwrap();
}
