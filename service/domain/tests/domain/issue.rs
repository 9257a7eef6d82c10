//! Issuing: the limit, slots, and what a token cannot give.

use crate::history::{
    at, begun, digest, given, holder, issue, organization, scopes, session, token, user, value,
};
use counterfoil_domain::command::{Action, Answer};
use counterfoil_domain::decide::Limits;
use counterfoil_domain::event::Event;
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::role::Role;
use counterfoil_domain::token::issue::IssuePersonal;
use counterfoil_domain::token::{Kind, Owner, State, TokenIssued};

fn issued(number: u128) -> TokenIssued {
    TokenIssued {
        id: token(number),
        token_kind: Kind::Personal,
        owner: Owner::User(user(1)),
        home: organization(),
        digest: digest(number),
        hint: format!("cf_pat_{number}"),
        scopes: scopes(&["read", "write"]),
        expires_at: None,
        note: None,
        issued_by: None,
        since: 9,
    }
}

fn issues(numbers: std::ops::RangeInclusive<u128>) -> impl Iterator<Item = Action> {
    numbers.map(|number| Action::IssuePersonal(issue(number)))
}

#[test]
fn a_session_issues_a_token_whose_authority_is_its_own() {
    let asked = IssuePersonal {
        scopes: Some(scopes(&["read"])),
        expires_at: Some(at(60)),
        note: Some(value(9, "ci")),
        ..issue(1)
    };
    let event = TokenIssued {
        scopes: scopes(&["read"]),
        expires_at: Some(at(60)),
        note: Some(value(9, "ci").reference()),
        ..issued(1)
    };
    let history = begun().when(session(1), Action::IssuePersonal(asked)).then([Event::TokenIssued(event)]);
    let token = history.token(1);
    assert_eq!((token.generation, token.slot, token.issued_seq, token.since), (1, Some(1), 9, 9));
    assert_eq!(history.works(&digest(1)), Some(token.id));
}

#[test]
fn what_a_token_issues_stems_from_where_it_stems_from() {
    let history = given([Action::IssuePersonal(issue(1))]);
    let since = history.token(1).since;
    let history = history.and(holder(1, 1), Action::IssuePersonal(issue(2)));
    let event = TokenIssued { issued_by: Some(token(2)), since, ..issued(3) };
    history.when(holder(2, 1), Action::IssuePersonal(issue(3))).then([Event::TokenIssued(event)]);
}

#[test]
fn the_fifty_first_is_refused_and_changes_nothing() {
    let history = given(issues(1..=49));
    let history = history
        .when(session(1), Action::IssuePersonal(issue(50)))
        .refused(Refusal::LimitReached { limit: 50 });
    let held: Vec<u16> = history.state.users[&user(1)].standing.keys().copied().collect();
    assert_eq!(held, (0..50).collect::<Vec<_>>());
    assert!(!history.state.tokens.contains_key(&token(50)));
}

#[test]
fn the_limit_is_each_users_own_and_an_operator_may_lower_it() {
    let other = given(issues(1..=49)).member(2, Role::Member);
    other.when(session(2), Action::IssuePersonal(issue(50))).answers(Answer::Token(token(50)));
    let mut history = begun();
    history.limits = Limits { tokens_per_user: 1 };
    history.when(session(1), Action::IssuePersonal(issue(1))).refused(Refusal::LimitReached { limit: 1 });
}

#[test]
fn a_place_is_free_again_once_its_token_ends() {
    let expiring = Action::IssuePersonal(IssuePersonal { expires_at: Some(at(60)), ..issue(1) });
    let full = || given(std::iter::once(expiring.clone()).chain(issues(2..=49)));
    full().when(session(1), Action::IssuePersonal(issue(50))).refused(Refusal::LimitReached { limit: 50 });

    // The instant itself is expired. The writer records that before it decides, so the place is free.
    let history = full().at(60);
    let before = history.state.head;
    let history = history.when(session(1), Action::IssuePersonal(issue(50))).happens();
    assert_eq!(history.names_after(before), ["token.expired", "token.issued"]);
    assert_eq!(history.token(50).slot, Some(1));
    assert_eq!(history.token(1).state(at(60)), State::Expired);

    let revoked = full().and(session(1), Action::Revoke { id: token(7), if_match: None, reason: None });
    let history = revoked.when(session(1), Action::IssuePersonal(issue(50))).happens();
    assert_eq!(history.token(50).slot, Some(7));
}

#[test]
fn disabling_frees_no_place() {
    let history =
        given(issues(1..=49)).and(session(1), Action::Disable { id: token(3), if_match: None, reason: None });
    history.when(session(1), Action::IssuePersonal(issue(50))).refused(Refusal::LimitReached { limit: 50 });
}

#[test]
fn a_token_gives_no_more_than_it_has() {
    let write_only =
        || given([Action::IssuePersonal(IssuePersonal { scopes: Some(scopes(&["write"])), ..issue(1) })]);
    let asks =
        |names: &[&str]| Action::IssuePersonal(IssuePersonal { scopes: Some(scopes(names)), ..issue(2) });
    write_only().when(holder(1, 1), asks(&["read"])).refused(Refusal::Stronger);
    write_only().when(holder(1, 1), asks(&["read", "write"])).refused(Refusal::Stronger);
    // What is not asked for is the issuer's own.
    let history = write_only().when(holder(1, 1), Action::IssuePersonal(issue(2))).happens();
    assert_eq!(history.token(2).scopes, scopes(&["write"]));

    let read_only =
        given([Action::IssuePersonal(IssuePersonal { scopes: Some(scopes(&["read"])), ..issue(1) })]);
    read_only.when(holder(1, 1), asks(&["read"])).refused(Refusal::InsufficientScope("write"));
    begun().when(session(1), asks(&["admin"])).refused(Refusal::UnknownScope("admin".into()));
}

#[test]
fn an_expiry_that_has_come_is_refused_and_a_later_one_than_the_issuers_is_not() {
    let asks = |expires_at| Action::IssuePersonal(IssuePersonal { expires_at: Some(expires_at), ..issue(2) });
    let here =
        || given([Action::IssuePersonal(IssuePersonal { expires_at: Some(at(60)), ..issue(1) })]).at(30);
    for past in [at(0), at(29), at(30)] {
        here().when(session(1), asks(past)).refused(Refusal::ExpiryInPast { at: past });
    }
    here().when(holder(1, 1), asks(at(90))).happens();
}
