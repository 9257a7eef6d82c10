//! What does not fit the state stops whoever folds.

use crate::history::{
    History, at, begun, digest, gateway, given, issue, operator, organization, scopes, session, token, user,
    value,
};
use counterfoil_domain::command::Action;
use counterfoil_domain::event::{Event, Recorded};
use counterfoil_domain::fold::{FoldError, fold};
use counterfoil_domain::gateway::{GatewayChanged, GatewayRegistered, GatewayRemoved};
use counterfoil_domain::ids::{EnvironmentId, OrganizationId};
use counterfoil_domain::organization::{EnvironmentCreated, MemberAdded, OrganizationCreated};
use counterfoil_domain::role::Role;
use counterfoil_domain::token::{
    Kind, Owner, PreviousEnded, TokenDisabled, TokenEnabled, TokenExpired, TokenIssued, TokenRenamed,
    TokenRevoked, TokenRotated, TokenScoped, TokensRevokedAll,
};
use counterfoil_domain::user::{PasswordSet, UserCreated};
use uuid::Uuid;

fn folded(history: &History, organization: Option<OrganizationId>, event: Event) -> Result<(), FoldError> {
    let mut state = history.state.clone();
    let seq = state.head + 1;
    let recorded =
        Recorded { seq, organization, actor: operator(), request_id: Uuid::nil(), decided_at: at(0), event };
    fold(&mut state, &recorded)
}

#[track_caller]
fn missing(history: &History, organization: Option<OrganizationId>, event: Event) {
    let name = event.name();
    let outcome = folded(history, organization, event);
    assert!(matches!(outcome, Err(FoldError::Missing { .. })), "{name}: {outcome:?}");
}

#[track_caller]
fn impossible(history: &History, organization: Option<OrganizationId>, event: Event) {
    let name = event.name();
    let outcome = folded(history, organization, event);
    assert!(matches!(outcome, Err(FoldError::Impossible { .. })), "{name}: {outcome:?}");
}

fn issued(number: u128, owner: Owner, token_kind: Kind) -> TokenIssued {
    TokenIssued {
        id: token(number),
        token_kind,
        owner,
        home: organization(),
        digest: digest(number),
        hint: String::new(),
        scopes: scopes(&["read"]),
        expires_at: None,
        note: None,
        issued_by: None,
        since: 1,
    }
}

fn rotated(number: u128, generation: u32) -> TokenRotated {
    TokenRotated {
        id: token(number),
        generation,
        digest: digest(0x55),
        hint: String::new(),
        expires_at: None,
        previous_ends_at: None,
        until_used: false,
        keeps_previous: false,
    }
}

/// Each event that is about one standing token.
fn about(number: u128) -> [Event; 8] {
    let id = token(number);
    [
        Event::TokenScoped(TokenScoped { id, scopes: None, expires_at: None }),
        Event::TokenRenamed(TokenRenamed { id, note: None }),
        Event::TokenRotated(rotated(number, 2)),
        Event::TokenDisabled(TokenDisabled { id, reason: None }),
        Event::TokenEnabled(TokenEnabled { id }),
        Event::TokenExpired(TokenExpired { id }),
        Event::TokenRevoked(TokenRevoked { id, reason: None }),
        Event::PreviousEnded(PreviousEnded { id, generation: 1 }),
    ]
}

#[test]
fn a_position_follows_the_one_before() {
    let history = begun();
    let last = history.log.last().unwrap();
    for seq in [0, 1, last.seq, last.seq + 2, u64::MAX] {
        let mut state = history.state.clone();
        let outcome = fold(&mut state, &Recorded { seq, ..last.clone() });
        assert_eq!(outcome, Err(FoldError::Sequence { head: last.seq, found: seq }));
    }
}

#[test]
fn an_event_about_what_is_not_there_is_an_error() {
    let here = Some(organization());
    about(77).into_iter().for_each(|event| missing(&begun(), None, event));
    missing(&begun(), None, Event::PasswordSet(PasswordSet { user_id: user(77) }));
    missing(&begun(), None, Event::TokensRevokedAll(TokensRevokedAll { user_id: user(77), reason: None }));
    let added =
        |number| Event::MemberAdded(MemberAdded { user_id: user(number), number: 1, role: Role::Member });
    missing(&begun(), here, added(77));
    missing(&begun(), here, Event::GatewayChanged(unchanged(77)));
    missing(&begun(), here, Event::GatewayRemoved(GatewayRemoved { id: gateway(77), reason: None }));
    missing(&begun(), None, Event::TokenIssued(issued(1, Owner::User(user(77)), Kind::Personal)));
    missing(&begun(), here, Event::TokenIssued(issued(1, Owner::Gateway(gateway(77)), Kind::Gateway)));

    // An organization that is not there has neither members nor parts.
    let elsewhere = Some(OrganizationId(Uuid::from_u128(0x77)));
    missing(&begun(), elsewhere, added(1));
    missing(&begun(), elsewhere, Event::EnvironmentCreated(environment(0x11)));
    missing(&begun(), elsewhere, Event::GatewayRegistered(registered(2)));
}

fn unchanged(number: u128) -> GatewayChanged {
    GatewayChanged { id: gateway(number), name: None, kinds: None, environment: None }
}

fn environment(number: u128) -> EnvironmentCreated {
    EnvironmentCreated {
        id: EnvironmentId(Uuid::from_u128(number)),
        number: 5,
        name: value(50, "e").reference(),
    }
}

fn registered(number: u128) -> GatewayRegistered {
    GatewayRegistered {
        id: gateway(number),
        name: value(51, "g").reference(),
        kinds: [].into(),
        environment: None,
    }
}

#[test]
fn what_needs_an_organization_names_one() {
    impossible(&begun(), None, Event::EnvironmentCreated(environment(0x11)));
    impossible(&begun(), None, Event::GatewayRegistered(registered(2)));
    let added = MemberAdded { user_id: user(1), number: 1, role: Role::Member };
    impossible(&begun(), None, Event::MemberAdded(added));
}

#[test]
fn nothing_comes_into_being_twice() {
    let here = Some(organization());
    let organization =
        OrganizationCreated { id: organization(), number: 9, name: value(1, "acme").reference() };
    impossible(&begun(), here, Event::OrganizationCreated(organization));
    impossible(
        &begun(),
        None,
        Event::UserCreated(UserCreated { id: user(1), email: value(2, "x").reference() }),
    );
    impossible(&begun(), here, Event::EnvironmentCreated(environment(0x10)));
    impossible(&begun(), here, Event::GatewayRegistered(registered(1)));
    impossible(&begun(), None, Event::TokenIssued(issued(0, Owner::User(user(1)), Kind::Personal)));
}

#[test]
fn an_ended_token_stays_as_it_was() {
    let history = begun().and(session(1), Action::Revoke { id: token(0), if_match: None, reason: None });
    about(0).into_iter().for_each(|event| impossible(&history, None, event));
}

#[test]
fn a_token_only_becomes_narrower() {
    let narrow = counterfoil_domain::token::issue::IssuePersonal {
        scopes: Some(scopes(&["read"])),
        expires_at: Some(at(60)),
        ..issue(1)
    };
    let history = given([Action::IssuePersonal(narrow)]);
    let wider = TokenScoped { id: token(1), scopes: Some(scopes(&["read", "write"])), expires_at: None };
    impossible(&history, None, Event::TokenScoped(wider));
    impossible(
        &history,
        None,
        Event::TokenScoped(TokenScoped { id: token(1), scopes: None, expires_at: Some(at(61)) }),
    );
}

#[test]
fn a_plaintext_has_the_next_number_and_its_own_predecessor() {
    for generation in [0, 1, 3] {
        impossible(&begun(), None, Event::TokenRotated(rotated(0, generation)));
    }
    let keeps = TokenRotated {
        keeps_previous: true,
        until_used: true,
        previous_ends_at: Some(at(9)),
        ..rotated(0, 2)
    };
    impossible(&begun(), None, Event::TokenRotated(keeps));
    impossible(&begun(), None, Event::PreviousEnded(PreviousEnded { id: token(0), generation: 1 }));
}

#[test]
fn an_owner_has_its_own_kind_of_token_and_a_user_at_most_fifty() {
    impossible(&begun(), None, Event::TokenIssued(issued(1, Owner::User(user(1)), Kind::Gateway)));
    impossible(&begun(), None, Event::TokenIssued(issued(1, Owner::Gateway(gateway(1)), Kind::Personal)));
    let full = given((1..=49).map(|number| Action::IssuePersonal(issue(number))));
    impossible(&full, None, Event::TokenIssued(issued(50, Owner::User(user(1)), Kind::Personal)));
}

#[test]
fn a_removed_gateway_is_not_changed_any_more() {
    let here = Some(organization());
    let history =
        begun().and(session(1), Action::RemoveGateway { id: gateway(1), if_match: None, reason: None });
    impossible(&history, here, Event::GatewayChanged(unchanged(1)));
    impossible(&history, here, Event::GatewayRemoved(GatewayRemoved { id: gateway(1), reason: None }));
    impossible(&history, here, Event::TokenIssued(issued(1, Owner::Gateway(gateway(1)), Kind::Gateway)));
}
