//! An actor is judged again at the command's place in the order.

use crate::history::{
    History, at, begun, digest, given, holder, issue, organization, scopes, session, session_id, token, user,
};
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::Action;
use counterfoil_domain::gateway_commands::RegisterGateway;
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::role::Role;
use counterfoil_domain::token::issue::IssuePersonal;
use counterfoil_domain::token::rotate::{Overlap, Rotate};

fn issues(number: u128) -> Action {
    Action::IssuePersonal(issue(number))
}

fn rotate(overlap: Overlap) -> Action {
    Action::Rotate(Rotate {
        id: token(1),
        generation: 1,
        if_match: None,
        digest: digest(20),
        hint: String::new(),
        expires_at: None,
        overlap,
    })
}

#[track_caller]
fn is_a_stranger(history: &History, actor: Actor) {
    for action in [
        issues(9),
        Action::Revoke { id: token(1), if_match: None, reason: None },
        Action::RevokeAll { reason: None, sessions: true },
    ] {
        history.clone().when(actor.clone(), action).refused(Refusal::Unauthenticated);
    }
}

#[test]
fn an_ended_credential_does_nothing_any_more() {
    let issued = || given([Action::IssuePersonal(IssuePersonal { expires_at: Some(at(60)), ..issue(1) })]);
    is_a_stranger(
        &issued().and(session(1), Action::Revoke { id: token(1), if_match: None, reason: None }),
        holder(1, 1),
    );
    is_a_stranger(
        &issued().and(session(1), Action::RevokeAll { reason: None, sessions: false }),
        holder(1, 1),
    );
    is_a_stranger(
        &issued().and(session(1), Action::Disable { id: token(1), if_match: None, reason: None }),
        holder(1, 1),
    );
    is_a_stranger(&issued().at(60), holder(1, 1));
    is_a_stranger(&issued().and(session(1), rotate(Overlap::Seconds(0))), holder(1, 1));
    is_a_stranger(&issued().and(session(1), rotate(Overlap::Seconds(30))).at(30), holder(1, 1));
    is_a_stranger(&issued(), holder(1, 2));
    is_a_stranger(&issued(), holder(77, 1));
    let ended = issued().and(session(1), Action::EndSession { id: session_id(1) });
    is_a_stranger(&ended, session(1));
}

#[test]
fn an_earlier_plaintext_acts_while_it_works() {
    let history = given([issues(1)]).and(session(1), rotate(Overlap::Seconds(30))).at(29);
    history.clone().when(holder(1, 1), issues(2)).happens();
    history.when(holder(1, 2), issues(2)).happens();
}

#[test]
fn a_credential_speaks_for_its_own_user_only() {
    let history = given([issues(1)]).member(2, Role::Owner);
    is_a_stranger(&history, Actor::Token { token_id: token(1), generation: 1, user_id: user(2) });
    is_a_stranger(&history, Actor::Session { session_id: session_id(1), user_id: user(2) });
}

#[test]
fn a_gateway_a_holder_and_the_operator_are_no_users() {
    let history = given([issues(1)]);
    is_a_stranger(
        &history,
        Actor::Gateway { gateway_id: crate::history::gateway(1), token_id: token(0xFFFF) },
    );
    is_a_stranger(&history, Actor::Holder { token_id: token(1) });
    is_a_stranger(&history, crate::history::operator());
    is_a_stranger(&history, Actor::System);
}

#[test]
fn a_session_ends_by_either_clock() {
    let mut history = begun();
    history.state.sessions.get_mut(&session_id(1)).unwrap().expires_at = at(10);
    history.clone().when(session(1), issues(1)).happens();
    history.clock.node = at(10);
    is_a_stranger(&history, session(1));
}

fn register() -> Action {
    Action::RegisterGateway(RegisterGateway {
        id: crate::history::gateway(2),
        name: crate::history::value(30, "second"),
        kinds: [counterfoil_domain::token::Kind::Personal].into(),
        environment: None,
        token: crate::history::gateway_token(0x100),
    })
}

#[test]
fn a_lost_right_is_forbidden_and_a_lost_place_is_too() {
    let history = || given([issues(1)]);
    let demoted = |role| {
        let mut history = history();
        let user = history.state.users.get_mut(&user(1)).unwrap();
        user.memberships.get_mut(&organization()).unwrap().role = role;
        history
    };
    history().when(holder(1, 1), register()).happens();
    for actor in [session(1), holder(1, 1)] {
        demoted(Some(Role::Admin)).when(actor.clone(), register()).happens();
        demoted(Some(Role::Member)).when(actor.clone(), register()).refused(Refusal::Forbidden);
        demoted(Some(Role::Auditor)).when(actor, register()).refused(Refusal::Forbidden);
    }
    // Signed in still, but nobody here; the token of a former member is nothing here.
    demoted(None).when(session(1), register()).refused(Refusal::Forbidden);
    demoted(None).when(holder(1, 1), register()).refused(Refusal::Unauthenticated);
}

#[test]
fn a_scope_is_asked_for_before_a_role() {
    let history =
        given([Action::IssuePersonal(IssuePersonal { scopes: Some(scopes(&["read"])), ..issue(1) })]);
    history.when(holder(1, 1), register()).refused(Refusal::InsufficientScope("write"));
}
