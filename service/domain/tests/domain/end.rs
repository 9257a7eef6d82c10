//! Ending for good: one, all, and by whoever holds the plaintext.

use crate::history::{
    History, at, begun, digest, gateway, given, holder, issue, organization, scopes, session, session_id,
    token, user,
};
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Answer};
use counterfoil_domain::event::Event;
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::role::Role;
use counterfoil_domain::token::issue::IssuePersonal;
use counterfoil_domain::token::rotate::{Overlap, Rotate};
use counterfoil_domain::token::{HowEnded, Reason, State, TokenRevoked, TokensRevokedAll};

fn revoke(number: u128) -> Action {
    Action::Revoke { id: token(number), if_match: None, reason: None }
}

fn held(number: u128, plaintext: u128) -> Action {
    Action::RevokeHeld { id: token(number), digest: digest(plaintext) }
}

fn anybody() -> Actor {
    Actor::Holder { token_id: token(1) }
}

fn all() -> Action {
    Action::RevokeAll { reason: None, sessions: false }
}

fn rotated() -> History {
    given([Action::IssuePersonal(issue(1))]).and(
        session(1),
        Action::Rotate(Rotate {
            id: token(1),
            generation: 1,
            if_match: None,
            digest: digest(2),
            hint: "cf_pat_2".into(),
            expires_at: None,
            overlap: Overlap::Seconds(60),
        }),
    )
}

#[test]
fn a_revoked_token_is_final_and_the_same_again_is_fine() {
    let reason = || Some(Reason::try_from("key_leaked".to_owned()).unwrap());
    let event = TokenRevoked { id: token(1), reason: reason() };
    let history = rotated()
        .when(session(1), Action::Revoke { id: token(1), if_match: None, reason: reason() })
        .then([Event::TokenRevoked(event)]);
    assert_eq!((history.works(&digest(1)), history.works(&digest(2))), (None, None));
    assert!(history.token(1).ended.is_some_and(|ended| ended.how == HowEnded::Revoked && ended.seq == 11));
    assert!(history.token(1).previous.is_none());
    let history = history.when(session(1), revoke(1)).already_so(Answer::Token(token(1)));
    for action in [
        Action::Enable { id: token(1), if_match: None },
        Action::Disable { id: token(1), if_match: None, reason: None },
    ] {
        history.clone().when(session(1), action).refused(Refusal::Ended);
    }
}

#[test]
fn a_token_ends_itself_whatever_its_scopes_and_no_other() {
    let history = || {
        given([
            Action::IssuePersonal(IssuePersonal { scopes: Some(scopes(&["read"])), ..issue(1) }),
            Action::IssuePersonal(issue(2)),
        ])
    };
    history().when(holder(1, 1), revoke(2)).refused(Refusal::InsufficientScope("write"));
    let history = history().when(holder(1, 1), revoke(1)).happens();
    history.when(holder(1, 1), revoke(1)).refused(Refusal::Unauthenticated);
}

#[test]
fn what_expired_is_recorded_as_expired_and_not_as_revoked() {
    let history =
        given([Action::IssuePersonal(IssuePersonal { expires_at: Some(at(60)), ..issue(1) })]).at(60);
    let history = history.when(session(1), revoke(1)).already_so(Answer::Token(token(1)));
    assert_eq!(history.token(1).state(at(60)), State::Expired);
}

#[test]
fn all_end_in_one_event_the_presented_one_included() {
    let history =
        || given([Action::IssuePersonal(issue(1)), Action::IssuePersonal(issue(2))]).member(2, Role::Member);
    let history = history().and(session(2), Action::IssuePersonal(issue(3)));
    let event = TokensRevokedAll { user_id: user(1), reason: None };
    let after = history.clone().when(holder(1, 1), all()).then([Event::TokensRevokedAll(event)]);
    assert!((0..=2).all(|number| !after.token(number).stands()) && after.token(3).stands());
    after.clone().when(holder(1, 1), all()).refused(Refusal::Unauthenticated);
    after.clone().when(session(1), all()).already_so(Answer::Count(0));
    // Every place is free again, and what is issued later lives.
    let after = after.and(session(1), Action::IssuePersonal(issue(4)));
    assert!(after.works(&digest(4)).is_some() && after.token(4).slot == Some(0));
    history.when(session(1), all()).answers(Answer::Count(3));
}

#[test]
fn sessions_end_with_all_tokens_where_that_is_asked_for() {
    let ended = begun().and(session(1), Action::RevokeAll { reason: None, sessions: true });
    assert!(!ended.state.sessions.contains_key(&session_id(1)));
    ended.when(session(1), all()).refused(Refusal::Unauthenticated);
    // Without any token there is no event, but the sessions end.
    let none_left = begun().and(session(1), all());
    let history = none_left.when(session(1), Action::RevokeAll { reason: None, sessions: true }).then([]);
    history.when(session(1), all()).refused(Refusal::Unauthenticated);
}

#[test]
fn a_read_token_cannot_end_all() {
    let history =
        given([Action::IssuePersonal(IssuePersonal { scopes: Some(scopes(&["read"])), ..issue(1) })]);
    history.when(holder(1, 1), all()).refused(Refusal::InsufficientScope("write"));
}

#[test]
fn a_mark_ends_what_stems_from_before_it_and_what_that_issued() {
    // A kill switch in the organization and a removal of the member leave the same kind of mark.
    let marks: [fn(&mut History); 2] = [
        |h| h.state.organizations.get_mut(&organization()).unwrap().revoked_all = h.state.head,
        |h| {
            let user = h.state.users.get_mut(&user(1)).unwrap();
            user.memberships.get_mut(&organization()).unwrap().removed = h.state.head;
        },
    ];
    for mark in marks {
        let mut history = given([Action::IssuePersonal(issue(1))]);
        let fresh = history.state.head + 1;
        history = history.and(holder(1, 1), Action::IssuePersonal(issue(2)));
        assert!(history.token(2).since < fresh);
        mark(&mut history);
        for number in [1, 2] {
            history
                .clone()
                .when(holder(number, 1), Action::IssuePersonal(issue(9)))
                .refused(Refusal::Unauthenticated);
        }
        // Rotation does not wash a token clean: its authority keeps its origin.
        let rotate = Action::Rotate(Rotate {
            id: token(2),
            generation: 1,
            if_match: None,
            digest: digest(20),
            hint: String::new(),
            expires_at: None,
            overlap: Overlap::Seconds(0),
        });
        let rotated = history.clone().and(session(1), rotate);
        rotated.when(holder(2, 2), Action::IssuePersonal(issue(9))).refused(Refusal::Unauthenticated);
        // What a session issues after the mark counts.
        let after = history.and(session(1), Action::IssuePersonal(issue(3)));
        after.when(holder(3, 1), Action::IssuePersonal(issue(4))).happens();
    }
}

#[test]
fn whoever_holds_the_plaintext_can_end_the_token() {
    rotated().when(anybody(), held(1, 2)).answers(Answer::Done);
    rotated().when(anybody(), held(1, 1)).answers(Answer::Done);
    // Another's digest, an ended earlier plaintext and an unknown token get the same answer, and nothing happens.
    rotated().when(anybody(), held(1, 0)).already_so(Answer::Done);
    rotated().at(60).when(anybody(), held(1, 1)).already_so(Answer::Done);
    rotated().when(anybody(), held(77, 2)).already_so(Answer::Done);
    rotated().and(anybody(), held(1, 2)).when(anybody(), held(1, 2)).already_so(Answer::Done);
    let disabled = rotated().and(session(1), Action::Disable { id: token(1), if_match: None, reason: None });
    disabled.when(anybody(), held(1, 2)).answers(Answer::Done);
}

#[test]
fn a_gateway_ends_what_it_could_introspect_and_nothing_else() {
    let gateway = || Actor::Gateway { gateway_id: gateway(1), token_id: token(0xFFFF) };
    rotated().when(gateway(), held(1, 2)).answers(Answer::Done);
    rotated().when(gateway(), held(0xFFFF, 0xFFFF)).already_so(Answer::Done);
    // No member of its organization.
    let mut history = rotated();
    history.state.users.get_mut(&user(1)).unwrap().memberships.clear();
    history.when(gateway(), held(1, 2)).already_so(Answer::Done);
    let other = Actor::Gateway { gateway_id: crate::history::gateway(2), token_id: token(0xFFFF) };
    rotated().when(other, held(1, 2)).refused(Refusal::Unauthenticated);
    let ended = rotated().and(anybody(), Action::RevokeHeld { id: token(0xFFFF), digest: digest(0xFFFF) });
    ended.when(gateway(), held(1, 2)).refused(Refusal::Unauthenticated);
}
