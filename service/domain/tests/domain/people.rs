//! The first organization, passwords and sessions.

use crate::history::{
    at, begun, bootstrap, digest, issue, nothing, operator, organization, session, session_id, user, value,
};
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Answer, SecretText};
use counterfoil_domain::event::Event;
use counterfoil_domain::members::AddMember;
use counterfoil_domain::people::{OpenSession, SetPassword};
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::role::Role;
use counterfoil_domain::user::PasswordSet;

fn begin() -> Action {
    Action::Bootstrap(Box::new(bootstrap()))
}

fn set_password(number: u128) -> Action {
    Action::SetPassword(SetPassword { user: user(number), hash: SecretText("new".into()), checked: None })
}

fn open(number: u128, password_set: u64) -> Action {
    Action::OpenSession(OpenSession {
        id: session_id(number),
        user: user(1),
        organization: organization(),
        digest: digest(number),
        expires_at: at(1000),
        password_set,
    })
}

#[test]
fn a_first_start_makes_all_that_is_needed_in_one_step() {
    let history = nothing().when(operator(), begin()).answers(Answer::Done);
    let names = [
        "organization.created",
        "user.created",
        "user.password_set",
        "member.added",
        "environment.created",
        "gateway.registered",
        "token.issued",
        "token.issued",
    ];
    assert_eq!(history.names_after(0), names);
    assert_eq!(history.state.users[&user(1)].role_in(organization()), Some(Role::Owner));
    // Each token's authority is its own.
    for token in history.state.tokens.values() {
        assert_eq!(token.since, token.issued_seq);
    }
    assert!(history.works(&digest(0)).is_some() && history.works(&digest(0xFFFF)).is_some());
}

#[test]
fn there_is_one_first_organization() {
    begun().when(operator(), begin()).refused(Refusal::AlreadyInitialized(Some(organization())));
}

#[test]
fn only_somebody_at_the_command_line_begins_or_sets_a_lost_password() {
    for (actor, refusal) in [(session(1), Refusal::WrongPassword), (Actor::System, Refusal::Unauthenticated)]
    {
        nothing().when(actor.clone(), begin()).refused(Refusal::Forbidden);
        begun().when(actor, set_password(1)).refused(refusal);
    }
}

#[test]
fn a_user_changes_the_own_password_by_the_present_one_and_keeps_the_own_session() {
    let change = |number, checked| {
        let hash = SecretText("new".into());
        Action::SetPassword(SetPassword { user: user(number), hash, checked: Some(checked) })
    };
    let present = begun().state.users[&user(1)].password_set;
    let history = begun().and(Actor::System, open(5, present)).member(2, Role::Owner);
    history.clone().when(session(2), change(1, present)).refused(Refusal::NotFound);
    history.clone().when(session(1), change(1, present + 1)).refused(Refusal::WrongPassword);
    // Somebody without a password has none to change.
    history.clone().when(session(2), change(2, 0)).refused(Refusal::WrongPassword);
    let event = Event::PasswordSet(PasswordSet { user_id: user(1) });
    let changed = history.when(session(1), change(1, present)).then([event]);
    let sessions = &changed.state.sessions;
    assert!(sessions.contains_key(&session_id(1)) && !sessions.contains_key(&session_id(5)));
    assert!(sessions.contains_key(&session_id(2)));
    // Checked before somebody else changed it.
    changed.when(session(1), change(1, present)).refused(Refusal::WrongPassword);
}

#[test]
fn all_sessions_end_and_nobody_elses() {
    let present = begun().state.users[&user(1)].password_set;
    let history = begun().and(Actor::System, open(5, present)).member(2, Role::Member);
    let history = history.when(session(1), Action::EndAllSessions).then([]);
    assert_eq!(history.state.sessions.keys().collect::<Vec<_>>(), [&session_id(2)]);
    history.when(session(1), Action::EndAllSessions).refused(Refusal::Unauthenticated);
}

#[test]
fn a_session_acts_where_its_user_is_a_member() {
    let present = begun().state.users[&user(1)].password_set;
    let Action::OpenSession(mut elsewhere) = open(5, present) else { unreachable!() };
    elsewhere.organization = counterfoil_domain::ids::OrganizationId(uuid::Uuid::nil());
    begun().when(Actor::System, Action::OpenSession(elsewhere)).refused(Refusal::Forbidden);
}

#[test]
fn a_new_password_ends_the_users_sessions_and_no_token() {
    let history = begun().member(2, Role::Member);
    let event = Event::PasswordSet(PasswordSet { user_id: user(1) });
    let history = history.when(operator(), set_password(1)).then([event]);
    assert!(history.works(&digest(0)).is_some());
    let history = history.when(session(1), Action::IssuePersonal(issue(1))).refused(Refusal::Unauthenticated);
    history.when(session(2), Action::IssuePersonal(issue(1))).happens();
    begun().when(operator(), set_password(9)).refused(Refusal::NotFound);
}

#[test]
fn a_session_opens_only_by_the_password_that_is_set_now() {
    let checked = begun().state.users[&user(1)].password_set;
    let history = begun().when(Actor::System, open(5, checked)).then([]);
    assert!(history.state.sessions.contains_key(&session_id(5)));
    let changed = begun().and(operator(), set_password(1));
    changed.when(Actor::System, open(5, checked)).refused(Refusal::Unauthenticated);
    // A member without a password cannot sign in by having none.
    let mut history = begun();
    history.state.users.get_mut(&user(1)).unwrap().password_set = 0;
    history.when(Actor::System, open(5, 0)).refused(Refusal::Unauthenticated);
}

#[test]
fn a_session_is_ended_by_its_own_user_and_twice_is_fine() {
    let history = begun().member(2, Role::Owner);
    let end = || Action::EndSession { id: session_id(1) };
    history.clone().when(session(2), end()).refused(Refusal::NotFound);
    history.when(session(1), end()).then([]).when(session(1), end()).already_so(Answer::Done);
}

fn add(number: u128, key: &str) -> Action {
    Action::AddMember(AddMember {
        user: user(number),
        email: value(0x20 + number, key),
        email_key: key.into(),
        number: 9,
        role: Role::Auditor,
    })
}

#[test]
fn a_member_is_added_once_from_the_command_line_and_has_no_password() {
    let history = begun().when(operator(), add(2, "a@example.com")).answers(Answer::Done);
    assert_eq!(history.names_after(8), ["user.created", "member.added"]);
    let added = &history.state.users[&user(2)];
    assert_eq!((added.role_in(organization()), added.password_set), (Some(Role::Auditor), 0));
    let history = history.when(operator(), add(3, "a@example.com")).refused(Refusal::AddressTaken);
    history.when(operator(), add(3, "owner@example.com")).refused(Refusal::AddressTaken);
    begun().when(session(1), add(2, "a@example.com")).refused(Refusal::Forbidden);
    nothing().when(operator(), add(2, "a@example.com")).refused(Refusal::NotFound);
}
