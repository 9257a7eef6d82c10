//! A history in which everything happens that can happen.

use super::Service;
use super::people::{Person, add_member, command, commit, person};
use counterfoil::clock::{Clock, random};
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::Action;
use counterfoil_domain::gateway_commands::{
    ChangeGateway, IssueGatewayToken, NewGatewayToken, RegisterGateway,
};
use counterfoil_domain::ids::{EnvironmentId, GatewayId, TokenId, UserId, ValueId};
use counterfoil_domain::plaintext::Plaintext;
use counterfoil_domain::role::Role;
use counterfoil_domain::token::Kind;
use counterfoil_domain::value::Value;
use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};

/// What a test may want to corrupt afterwards.
pub(crate) struct Made {
    /// A standing token with the scope `read` and a note.
    pub(crate) narrow: TokenId,
    /// A revoked token.
    pub(crate) revoked: TokenId,
    /// A member without a password.
    pub(crate) without_password: UserId,
    /// Somebody whose tokens were all ended.
    pub(crate) member: Person,
    /// A gateway that was not removed.
    pub(crate) gateway: GatewayId,
}

fn id(token: &Json) -> TokenId {
    token["id"].as_str().unwrap().parse().unwrap()
}

/// Calls as the owner, and expects a success.
async fn done(service: &Service, method: Method, path: &str, body: Json) -> Json {
    let (status, answer) = service.call(method, path, &service.made.owner.token, Some(body)).await;
    assert!(status.is_success(), "{path}: {answer}");
    answer
}

/// A personal token's events of every kind.
async fn tokens(service: &Service) -> (TokenId, TokenId) {
    let until = |seconds| Clock::system().now().plus_seconds(seconds).to_string();
    let narrow = service.issue(json!({ "note": "Ünïcode, and long-lived", "expires_at": until(9000) })).await;
    let path = format!("/v1/user/tokens/{}", id(&narrow));
    let change = json!({ "scopes": ["read"], "note": "renamed", "expires_at": until(5000) });
    done(service, Method::PATCH, &path, change).await;
    done(service, Method::POST, &format!("{path}/disable"), json!({ "reason": "lost" })).await;
    done(service, Method::POST, &format!("{path}/enable"), json!({})).await;
    for overlap in [json!("until_used"), json!("until_used"), json!(60), json!(0)] {
        done(service, Method::POST, &format!("{path}/rotate"), json!({ "overlap": overlap })).await;
    }
    let used = service.issue(json!({ "scopes": ["read"] })).await;
    let path = format!("/v1/user/tokens/{}/rotate", id(&used));
    let rotated = done(service, Method::POST, &path, json!({})).await;
    assert_eq!(service.introspect(rotated["plaintext"].as_str().unwrap()).await["active"], true);
    while service.events("token.previous_ended").await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let revoked = service.issue(json!({ "note": "short" })).await;
    let path = format!("/v1/user/tokens/{}", id(&revoked));
    done(service, Method::DELETE, &path, json!({ "reason": "key_leaked" })).await;
    (id(&narrow), id(&revoked))
}

fn value(text: &str) -> Value {
    Value { id: ValueId(Clock::system().uuid()), salt: random(), text: text.into() }
}

fn gateway_token() -> NewGatewayToken {
    let secret = Plaintext::mint("cf_gw_", &random());
    let id = TokenId(Clock::system().uuid());
    NewGatewayToken { id, digest: secret.digest(), hint: secret.hint("cf_gw_"), expires_at: None }
}

/// A gateway's events of every kind.
async fn gateways(service: &Service) -> GatewayId {
    let clock = Clock::system();
    let token = &service.made.owner.token;
    let presented = service.call(Method::GET, "/v1/token", token, None).await.1;
    let actor = Actor::Token { token_id: id(&presented), generation: 1, user_id: service.made.owner.id };
    let (stays, goes) = (GatewayId(clock.uuid()), GatewayId(clock.uuid()));
    let (second, name) = (gateway_token(), Some(value("renamed")));
    let second_id = second.id;
    let register = |id, name| {
        let kinds = [Kind::Personal].into();
        Action::RegisterGateway(RegisterGateway {
            id,
            name: value(name),
            kinds,
            environment: None,
            token: gateway_token(),
        })
    };
    let kinds = Some([Kind::Personal, Kind::Caller].into());
    let here = sqlx::query_scalar("SELECT id FROM environments").fetch_one(&service.database.pool).await;
    let environment = Some(Some(EnvironmentId(here.unwrap())));
    let actions = [
        register(stays, "stays"),
        register(goes, "goes"),
        Action::ChangeGateway(ChangeGateway { id: stays, if_match: None, name, kinds, environment }),
        Action::IssueGatewayToken(IssueGatewayToken { gateway: stays, token: second }),
        Action::RevokeGatewayToken { gateway: stays, id: second_id, if_match: None, reason: None },
        Action::RemoveGateway { id: goes, if_match: None, reason: None },
    ];
    let commands = actions.map(|action| command(service, &actor, action));
    for reply in commit(service, &commands).await {
        reply.unwrap();
    }
    stays
}

/// Makes everything happen.
pub(crate) async fn everything(service: &Service) -> Made {
    let (narrow, revoked) = tokens(service).await;
    let gateway = gateways(service).await;
    let member = person(service, "member@example.com", Role::Member).await;
    let (status, _) = service.call(Method::DELETE, "/v1/user/tokens", &member.plaintext, None).await;
    assert_eq!(status, StatusCode::OK);
    let without_password = UserId(Clock::system().uuid());
    let operator = Actor::Operator { command: "test".into() };
    let add = add_member(without_password, "managed@example.com", Role::Admin);
    commit(service, &[command(service, &operator, add)]).await.remove(0).unwrap();
    // The last: what comes after it records its end.
    let soon = Clock::system().now().plus_seconds(1);
    let expiring = service.issue(json!({ "expires_at": soon.to_string() })).await;
    while Clock::system().now() < soon.plus_seconds(1) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    service.issue(json!({})).await;
    assert_eq!(service.events("token.expired").await, 1, "{expiring}");
    Made { narrow, revoked, without_password, member, gateway }
}
