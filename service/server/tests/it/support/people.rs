//! More people than the owner, made by the writer's own code beside the running service.

use super::Service;
use counterfoil::clock::{Clock, random};
use counterfoil::event_log::batch::{self, Input, Refused, Reply};
use counterfoil::passwords::Password;
use counterfoil::read_model::tables::beside::folded;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Command};
use counterfoil_domain::decide::Limits;
use counterfoil_domain::ids::{SessionId, TokenId, UserId, ValueId};
use counterfoil_domain::members::AddMember;
use counterfoil_domain::people::{OpenSession, SetPassword};
use counterfoil_domain::plaintext::{Digest, Plaintext};
use counterfoil_domain::role::Role;
use counterfoil_domain::token::change::ChangeToken;
use counterfoil_domain::token::issue::IssuePersonal;
use counterfoil_domain::value::Value;
use futures_util::future::join_all;
use reqwest::Method;
use sqlx::ConnectOptions;

/// Somebody with a personal token of no expiry.
pub(crate) struct Person {
    /// Who.
    pub(crate) user: UserId,
    /// Its token's id.
    pub(crate) token: TokenId,
    /// Its token.
    pub(crate) plaintext: String,
}

/// A command of `actor`'s in the service's organization.
pub(crate) fn command(service: &Service, actor: &Actor, action: Action) -> Command {
    let organization = service.made.organization.id;
    Command { actor: actor.clone(), request_id: Clock::system().uuid(), organization, action }
}

/// Has commands decided in one batch, as another process would.
pub(crate) async fn commit(service: &Service, commands: &[Command]) -> Vec<Result<Reply, Refused>> {
    let mut connection = service.database.options.connect().await.unwrap();
    let commands: Vec<_> = commands.iter().map(|command| (command, None)).collect();
    let clock = Clock::system();
    let input = Input { commands: &commands, clock: &clock, limits: Limits::default(), faults: None };
    batch::run(&mut connection, &input, None).await.unwrap().replies
}

/// A command that makes a member.
pub(crate) fn add_member(user: UserId, email: &str, role: Role) -> Action {
    let value = Value { id: ValueId(Clock::system().uuid()), salt: random(), text: email.into() };
    Action::AddMember(AddMember { user, email: value, email_key: folded(email), number: 7, role })
}

/// A user who has a password, signed in: the actor, and the command after which it may act.
pub(crate) async fn session(service: &Service, user: UserId) -> (Actor, Command) {
    let id = SessionId(Clock::system().uuid());
    let sql = "SELECT password_set FROM users WHERE id = $1";
    let password_set: i64 =
        sqlx::query_scalar(sql).bind(user.0).fetch_one(&service.database.pool).await.unwrap();
    let open = OpenSession {
        id,
        user,
        organization: service.made.organization.id,
        digest: Digest(random()),
        // Longer than the longest test.
        expires_at: Clock::system().now().plus_seconds(12 * 3600),
        password_set: password_set as u64,
    };
    let open = command(service, &Actor::System, Action::OpenSession(open));
    (Actor::Session { session_id: id, user_id: user }, open)
}

/// Members, each of them signed in.
pub(crate) async fn signed_in(service: &Service, emails: &[String], role: Role) -> Vec<Actor> {
    let operator = Actor::Operator { command: "test".into() };
    let hash = Password::chosen("correct horse battery".into()).unwrap().hash().unwrap();
    let (mut made, mut users) = (Vec::new(), Vec::new());
    for email in emails {
        let user = UserId(Clock::system().uuid());
        let set = SetPassword { user, hash: hash.clone(), checked: None };
        made.push(command(service, &operator, add_member(user, email, role)));
        made.push(command(service, &operator, Action::SetPassword(set)));
        users.push(user);
    }
    assert!(commit(service, &made).await.iter().all(Result::is_ok));
    let sessions = join_all(users.into_iter().map(|user| session(service, user))).await;
    let (actors, opened): (Vec<_>, Vec<_>) = sessions.into_iter().unzip();
    assert!(commit(service, &opened).await.iter().all(Result::is_ok));
    actors
}

/// A member with a token, which the running service knows.
pub(crate) async fn person(service: &Service, email: &str, role: Role) -> Person {
    persons(service, &[email.into()], role).await.remove(0)
}

/// Several.
pub(crate) async fn persons(service: &Service, emails: &[String], role: Role) -> Vec<Person> {
    let (mut made, mut persons) = (Vec::new(), Vec::new());
    for actor in signed_in(service, emails, role).await {
        let Actor::Session { session_id, user_id } = actor else { unreachable!() };
        let (token, secret) = (TokenId(Clock::system().uuid()), Plaintext::mint("cf_pat_", &random()));
        let issue = IssuePersonal {
            id: token,
            digest: secret.digest(),
            hint: secret.hint("cf_pat_"),
            scopes: None,
            expires_at: None,
            note: None,
        };
        made.push(command(service, &actor, Action::IssuePersonal(issue)));
        made.push(command(service, &actor, Action::EndSession { id: session_id }));
        persons.push(Person { user: user_id, token, plaintext: secret.into_shown() });
    }
    assert!(commit(service, &made).await.iter().all(Result::is_ok));
    for person in &persons {
        service.until_known(&person.plaintext).await;
    }
    persons
}

/// Makes so many events, a hundred at a time: the owner gives its own token one name after the other.
pub(crate) async fn rename(service: &Service, times: usize) {
    let presented = service.call(Method::GET, "/v1/token", &service.made.owner.token, None).await.1;
    let id: TokenId = presented["id"].as_str().unwrap().parse().unwrap();
    let actor = Actor::Token { token_id: id, generation: 1, user_id: service.made.owner.id };
    let renamed = |number: usize| -> Command {
        let text = format!("the {number}th name");
        let note = Some(Some(Value { id: ValueId(Clock::system().uuid()), salt: random(), text }));
        let change = ChangeToken { id, if_match: None, note, scopes: None, expires_at: None };
        command(service, &actor, Action::ChangeToken(change))
    };
    for hundred in 0..times / 100 {
        let commands: Vec<Command> = (0..100).map(|number| renamed(hundred * 100 + number)).collect();
        assert!(commit(service, &commands).await.iter().all(Result::is_ok));
    }
}
