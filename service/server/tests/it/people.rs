//! Members beside the owner, and what one batch's commands see of each other.

use crate::support::Service;
use crate::support::people::{add_member, command, commit, person};
use counterfoil::clock::{Clock, random};
use counterfoil::event_log::batch::Refused;
use counterfoil::passwords::Password;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::Action;
use counterfoil_domain::ids::{SessionId, TokenId, UserId};
use counterfoil_domain::people::{OpenSession, SetPassword};
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::role::Role;
use counterfoil_domain::token::issue::IssuePersonal;
use reqwest::{Method, StatusCode};

#[tokio::test(flavor = "multi_thread")]
async fn a_member_has_its_own_tokens_and_nobody_elses() {
    let service = Service::start().await;
    let member = person(&service, "member@example.com", Role::Member).await;
    let answer = service.introspect(&member.plaintext).await;
    assert_eq!((&answer["role"], &answer["username"]), (&"member".into(), &"member@example.com".into()));
    assert_eq!(
        (&answer["sub"], &answer["jti"]),
        (&member.user.to_string().into(), &member.token.to_string().into())
    );
    let owners = service.issue(serde_json::json!({})).await;
    let path = format!("/v1/user/tokens/{}", owners["id"].as_str().unwrap());
    let (status, _) = service.call(Method::DELETE, &path, &member.plaintext, None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (_, list) = service.call(Method::GET, "/v1/user/tokens", &member.plaintext, None).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_one_batch_see_each_other() {
    let service = Service::start().await;
    let clock = Clock::system();
    let operator = Actor::Operator { command: "test".into() };
    let twice = [
        command(&service, &operator, add_member(UserId(clock.uuid()), "one@example.com", Role::Member)),
        command(&service, &operator, add_member(UserId(clock.uuid()), "ONE@example.com", Role::Member)),
    ];
    let replies = commit(&service, &twice).await;
    assert!(replies[0].is_ok());
    assert_eq!(replies[1].as_ref().err(), Some(&Refused::Refusal(Refusal::AddressTaken)));

    let user = service.made.owner.id;
    let set = Action::SetPassword(SetPassword {
        user,
        hash: Password::chosen("correct horse battery".into()).unwrap().hash().unwrap(),
        checked: None,
    });
    let password_set = commit(&service, &[command(&service, &operator, set.clone())]).await;
    assert!(password_set[0].is_ok());
    let sql = "SELECT password_set FROM users WHERE id = $1";
    let password_set: i64 =
        sqlx::query_scalar(sql).bind(user.0).fetch_one(&service.database.pool).await.unwrap();
    let id = SessionId(clock.uuid());
    let open = OpenSession {
        id,
        user,
        organization: service.made.organization.id,
        digest: Digest(random()),
        expires_at: clock.now().plus_seconds(600),
        password_set: password_set as u64,
    };
    let actor = Actor::Session { session_id: id, user_id: user };
    let issue = || {
        let (id, digest) = (TokenId(clock.uuid()), Digest(random()));
        Action::IssuePersonal(IssuePersonal {
            id,
            digest,
            hint: String::new(),
            scopes: None,
            expires_at: None,
            note: None,
        })
    };
    // A session that ends, by itself or by a new password, acts no more in the same batch.
    for end in [Action::EndSession { id }, set] {
        let ender = if matches!(end, Action::EndSession { .. }) { &actor } else { &operator };
        let batch = [
            command(&service, &operator, Action::OpenSession(open.clone())),
            command(&service, &actor, issue()),
            command(&service, ender, end),
            command(&service, &actor, issue()),
        ];
        let replies = commit(&service, &batch).await;
        assert!(replies[..3].iter().all(Result::is_ok));
        assert_eq!(replies[3].as_ref().err(), Some(&Refused::Refusal(Refusal::Unauthenticated)));
    }
    service.stop().await;
}
