//! Ending for good needs two clocks; while they cannot be trusted, only what narrows is decided.

use crate::history::{
    History, at, begun, bootstrap, digest, gateway, gateway_token, given, holder, issue, nothing, operator,
    scopes, session, session_id, token, user, value,
};
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Answer, SecretText};
use counterfoil_domain::gateway::STANDING_TOKENS;
use counterfoil_domain::gateway_commands::{IssueGatewayToken, NewGatewayToken, RegisterGateway};
use counterfoil_domain::people::{OpenSession, SetPassword};
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::token::Kind;
use counterfoil_domain::token::change::ChangeToken;
use counterfoil_domain::token::issue::IssuePersonal;
use counterfoil_domain::token::rotate::{Overlap, Rotate};

fn expiring() -> History {
    given([Action::IssuePersonal(IssuePersonal { expires_at: Some(at(60)), ..issue(1) })])
}

/// Anything that appends what is due.
fn anything() -> Action {
    Action::Sweep { tokens: vec![token(1)] }
}

fn after(database: i64, node: i64, trusted: bool) -> History {
    let mut history = expiring();
    (history.clock.database, history.clock.node, history.clock.trusted) = (at(database), at(node), trusted);
    history
}

#[test]
fn what_expired_by_one_clock_is_denied_and_not_ended() {
    for (database, node) in [(60, 59), (59, 60)] {
        let mut history = after(database, node, true);
        history.run(Actor::System, anything());
        assert!(history.token(1).stands());
        history.clone().when(holder(1, 1), Action::IssuePersonal(issue(2))).refused(Refusal::Unauthenticated);
        history.when(session(1), Action::Enable { id: token(1), if_match: None }).refused(Refusal::Ended);
    }
    let mut history = after(60, 60, true);
    history.run(Actor::System, anything());
    assert_eq!(history.names_after(9), ["token.expired"]);
}

#[test]
fn an_earlier_plaintext_ends_its_token_until_both_clocks_say_that_it_is_over() {
    let held = || Action::RevokeHeld { id: token(1), digest: digest(1) };
    let anybody = || Actor::Holder { token_id: token(1) };
    let rotated = |database: i64, node: i64| {
        let rotate = Rotate {
            id: token(1),
            generation: 1,
            if_match: None,
            digest: digest(2),
            hint: String::new(),
            expires_at: None,
            overlap: Overlap::Seconds(60),
        };
        let mut history = given([Action::IssuePersonal(issue(1))]).and(session(1), Action::Rotate(rotate));
        (history.clock.database, history.clock.node) = (at(database), at(node));
        history
    };
    for (database, node) in [(59, 59), (60, 59), (59, 60)] {
        rotated(database, node).when(anybody(), held()).happens();
    }
    rotated(60, 60).when(anybody(), held()).already_so(Answer::Done);
}

#[test]
fn nothing_ends_for_good_by_clocks_that_are_not_trusted() {
    let mut history = after(3600, 3600, false);
    history.run(Actor::System, anything());
    history.run(session(1), Action::Disable { id: token(0), if_match: None, reason: None });
    assert!(history.token(1).stands());
    // They are right again, and so is everything.
    (history.clock.database, history.clock.node, history.clock.trusted) = (at(10), at(10), true);
    history.run(Actor::System, anything());
    assert_eq!(history.works(&digest(1)), Some(token(1)));
}

#[test]
fn only_what_narrows_is_decided_by_clocks_that_are_not_trusted() {
    let change = || ChangeToken { id: token(1), if_match: None, note: None, scopes: None, expires_at: None };
    let narrows = [
        Action::ChangeToken(ChangeToken { scopes: Some(scopes(&["read"])), ..change() }),
        Action::Disable { id: token(1), if_match: None, reason: None },
        Action::Revoke { id: token(1), if_match: None, reason: None },
        Action::RevokeAll { reason: None, sessions: true },
        Action::RevokeHeld { id: token(1), digest: digest(1) },
        Action::RemoveGateway { id: gateway(1), if_match: None, reason: None },
        Action::RevokeGatewayToken { gateway: gateway(1), id: token(0xFFFF), if_match: None, reason: None },
        Action::EndSession { id: session_id(1) },
    ];
    for action in narrows {
        let holder = Actor::Holder { token_id: token(1) };
        let actor = if matches!(action, Action::RevokeHeld { .. }) { holder } else { session(1) };
        after(0, 9, false).when(actor, action).happens();
    }
    let rotate = Rotate {
        id: token(1),
        generation: 1,
        if_match: None,
        digest: digest(2),
        hint: String::new(),
        expires_at: None,
        overlap: Overlap::Seconds(0),
    };
    let open = OpenSession {
        id: session_id(5),
        user: user(1),
        organization: crate::history::organization(),
        digest: digest(5),
        expires_at: at(1000),
        password_set: 3,
    };
    let set = SetPassword { user: user(1), hash: SecretText("new".into()), checked: None };
    let refused = [
        (session(1), Action::IssuePersonal(issue(2))),
        (session(1), Action::Rotate(rotate)),
        (session(1), Action::Enable { id: token(1), if_match: None }),
        (session(1), Action::ChangeToken(ChangeToken { note: Some(Some(value(9, "n"))), ..change() })),
        (Actor::System, Action::OpenSession(open)),
        (operator(), Action::SetPassword(set)),
        (Actor::System, anything()),
    ];
    for (actor, action) in refused {
        after(0, 9, false).when(actor, action).refused(Refusal::ClockUntrusted);
    }
}

#[test]
fn the_log_does_not_begin_by_clocks_that_are_not_trusted() {
    let mut history = nothing();
    history.clock.trusted = false;
    history.when(operator(), Action::Bootstrap(Box::new(bootstrap()))).refused(Refusal::ClockUntrusted);
}

#[test]
fn a_stranger_learns_nothing_about_the_clocks() {
    let mut history = begun().and(session(1), Action::Revoke { id: token(0), if_match: None, reason: None });
    history.clock.trusted = false;
    history.when(holder(0, 1), Action::IssuePersonal(issue(2))).refused(Refusal::Unauthenticated);
}

#[test]
fn what_is_older_than_the_watch_of_the_clocks_is_denied_and_not_ended() {
    let mut history = after(3600, 3600, true);
    history.clock.ends_after = history.state.head;
    history.limits.tokens_per_user = history.state.users[&user(1)].standing.len();
    history.run(Actor::System, anything());
    assert!(history.token(1).stands());
    history.clone().when(session(1), Action::Enable { id: token(1), if_match: None }).refused(Refusal::Ended);
    // Whether there is a place for another is not known yet.
    history.clone().when(session(1), Action::IssuePersonal(issue(2))).refused(Refusal::ClockUntrusted);
    history.clock.ends_after = 0;
    history.run(Actor::System, anything());
    assert!(!history.token(1).stands());
    history.run(session(1), Action::IssuePersonal(issue(2)));
}

#[test]
fn whether_a_gateway_has_a_place_for_another_token_is_not_known_while_one_seems_to_be_over() {
    let register = RegisterGateway {
        id: gateway(2),
        name: value(30, "edge"),
        kinds: [Kind::Personal].into(),
        environment: None,
        token: NewGatewayToken { expires_at: Some(at(60)), ..gateway_token(0x100) },
    };
    let mut history = begun().and(session(1), Action::RegisterGateway(register));
    let another = |number| {
        Action::IssueGatewayToken(IssueGatewayToken { gateway: gateway(2), token: gateway_token(number) })
    };
    for number in 1..STANDING_TOKENS as u128 {
        history.run(session(1), another(0x100 + number));
    }
    let limit = Refusal::LimitReached { limit: STANDING_TOKENS };
    history.clone().when(session(1), another(0x200)).refused(limit);
    (history.clock.database, history.clock.node) = (at(60), at(60));
    history.clock.ends_after = history.state.head;
    history.clone().when(session(1), another(0x200)).refused(Refusal::ClockUntrusted);
    history.clock.ends_after = 0;
    history.run(Actor::System, Action::Sweep { tokens: vec![token(0x100)] });
    history.run(session(1), another(0x200));
}
