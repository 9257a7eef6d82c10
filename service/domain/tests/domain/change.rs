//! Narrowing, renaming, switching off and on.

use crate::history::{at, given, holder, issue, scopes, session, token, value};
use counterfoil_domain::command::{Action, Answer};
use counterfoil_domain::event::Event;
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::role::Role;
use counterfoil_domain::token::change::ChangeToken;
use counterfoil_domain::token::issue::IssuePersonal;
use counterfoil_domain::token::{Reason, TokenDisabled, TokenEnabled, TokenRenamed, TokenScoped};

fn nothing_yet() -> ChangeToken {
    ChangeToken { id: token(1), if_match: None, note: None, scopes: None, expires_at: None }
}

fn change(change: ChangeToken) -> Action {
    Action::ChangeToken(change)
}

/// Token 1: `read write`, until 100, with the note "ci".
fn standing() -> crate::history::History {
    given([Action::IssuePersonal(IssuePersonal {
        expires_at: Some(at(100)),
        note: Some(value(9, "ci")),
        ..issue(1)
    })])
}

#[test]
fn a_token_becomes_narrower_and_never_wider() {
    let scope = |names: &[&str]| change(ChangeToken { scopes: Some(scopes(names)), ..nothing_yet() });
    let narrowed = TokenScoped { id: token(1), scopes: Some(scopes(&["read"])), expires_at: None };
    let narrow =
        || standing().when(session(1), scope(&["read"])).then([Event::TokenScoped(narrowed.clone())]);
    narrow().when(session(1), scope(&["read"])).already_so(Answer::Token(token(1)));
    for wider in [["read", "write"].as_slice(), &["write"], &["other"]] {
        narrow().when(session(1), scope(wider)).refused(Refusal::Widens("scopes"));
    }

    let expiry = |expires_at| change(ChangeToken { expires_at: Some(expires_at), ..nothing_yet() });
    let earlier = TokenScoped { id: token(1), scopes: None, expires_at: Some(at(50)) };
    let history = standing().when(session(1), expiry(Some(at(50)))).then([Event::TokenScoped(earlier)]);
    assert_eq!(history.state.users[&crate::history::user(1)].standing[&1].expires_at, Some(at(50)));
    for wider in [Some(at(101)), None] {
        standing().when(session(1), expiry(wider)).refused(Refusal::Widens("expires_at"));
    }
    standing().when(session(1), expiry(Some(at(100)))).already_so(Answer::Token(token(1)));
    standing().at(10).when(session(1), expiry(Some(at(10)))).refused(Refusal::ExpiryInPast { at: at(10) });

    // A token without expiry gets one; null for what has none is no change.
    let endless = || given([Action::IssuePersonal(issue(1))]);
    endless().when(session(1), expiry(Some(at(5)))).happens();
    endless().when(session(1), expiry(None)).already_so(Answer::Token(token(1)));
}

#[test]
fn what_is_absent_stays() {
    standing().when(session(1), change(nothing_yet())).already_so(Answer::Token(token(1)));
    let rename = ChangeToken { note: Some(Some(value(10, "cd"))), ..nothing_yet() };
    let history = standing().when(session(1), change(rename)).happens();
    assert_eq!(history.token(1).scopes, scopes(&["read", "write"]));
    assert_eq!(history.token(1).expires_at, Some(at(100)));
}

#[test]
fn a_note_is_renamed_cleared_and_not_renamed_to_itself() {
    let note = |note| change(ChangeToken { note: Some(note), ..nothing_yet() });
    // The same words under another salt are the same words.
    let mut again = value(11, "ci");
    again.salt = [9; 16];
    standing().when(session(1), note(Some(again))).already_so(Answer::Token(token(1)));
    let renamed = TokenRenamed { id: token(1), note: Some(value(10, "cd").reference()) };
    let history =
        standing().when(session(1), note(Some(value(10, "cd")))).then([Event::TokenRenamed(renamed)]);
    let cleared = TokenRenamed { id: token(1), note: None };
    let history = history.when(session(1), note(None)).then([Event::TokenRenamed(cleared)]);
    history.when(session(1), note(None)).already_so(Answer::Token(token(1)));
}

#[test]
fn a_change_is_whole_or_does_not_happen() {
    let both =
        ChangeToken { note: Some(Some(value(10, "cd"))), scopes: Some(scopes(&["read"])), ..nothing_yet() };
    let history = standing().when(session(1), change(both.clone())).happens();
    assert_eq!(history.names_after(9), ["token.renamed", "token.scoped"]);
    let wider = ChangeToken { expires_at: Some(None), ..both };
    let history = standing().when(session(1), change(wider)).refused(Refusal::Widens("expires_at"));
    assert_eq!(history.state.head, 9);
}

#[test]
fn a_change_of_what_was_changed_meanwhile_is_refused() {
    let seen =
        |seq| ChangeToken { if_match: Some(vec![seq]), scopes: Some(scopes(&["read"])), ..nothing_yet() };
    standing().when(session(1), change(seen(8))).refused(Refusal::ChangedMeanwhile);
    let history = standing().when(session(1), change(seen(9))).happens();
    history.when(session(1), change(seen(9))).refused(Refusal::ChangedMeanwhile);
}

#[test]
fn switching_and_ending_are_of_what_was_seen_and_again_is_fine() {
    let seen = |seqs: &[u64]| Some(seqs.to_vec());
    let off = |seqs: &[u64]| Action::Disable { id: token(1), if_match: seen(seqs), reason: None };
    let on = |seqs: &[u64]| Action::Enable { id: token(1), if_match: seen(seqs) };
    let end = |seqs: &[u64]| Action::Revoke { id: token(1), if_match: seen(seqs), reason: None };
    let mut history = standing();
    for (seq, action) in [(9, &off as &dyn Fn(&[u64]) -> Action), (10, &on), (11, &end)] {
        for stale in [&[][..], &[seq - 1], &[seq + 1, 0]] {
            history.clone().when(session(1), action(stale)).refused(Refusal::ChangedMeanwhile);
        }
        history = history.when(session(1), action(&[1, seq])).happens();
        // Whoever was not answered asks again, with what was seen then.
        history.clone().when(session(1), action(&[1, seq])).already_so(Answer::Token(token(1)));
    }
}

#[test]
fn a_token_is_switched_off_and_on() {
    let off = || Action::Disable {
        id: token(1),
        if_match: None,
        reason: Some(Reason::try_from("lost_laptop".to_owned()).unwrap()),
    };
    let disabled =
        TokenDisabled { id: token(1), reason: Some(Reason::try_from("lost_laptop".to_owned()).unwrap()) };
    let history = standing().when(session(1), off()).then([Event::TokenDisabled(disabled)]);
    assert_eq!(history.works(&crate::history::digest(1)), None);
    let history = history.when(session(1), off()).already_so(Answer::Token(token(1)));
    // It cannot switch itself on.
    let history = history
        .when(holder(1, 1), Action::Enable { id: token(1), if_match: None })
        .refused(Refusal::Unauthenticated);
    let enabled = TokenEnabled { id: token(1) };
    let history = history
        .when(session(1), Action::Enable { id: token(1), if_match: None })
        .then([Event::TokenEnabled(enabled)]);
    assert_eq!(history.works(&crate::history::digest(1)), Some(token(1)));
    history
        .when(session(1), Action::Enable { id: token(1), if_match: None })
        .already_so(Answer::Token(token(1)));
}

#[test]
fn an_ended_token_stays_as_it_is() {
    let changes = || {
        [
            change(nothing_yet()),
            Action::Disable { id: token(1), if_match: None, reason: None },
            Action::Enable { id: token(1), if_match: None },
        ]
    };
    for action in changes() {
        let revoked =
            standing().and(session(1), Action::Revoke { id: token(1), if_match: None, reason: None });
        revoked.when(session(1), action).refused(Refusal::Ended);
    }
    for action in changes() {
        standing().at(100).when(session(1), action).refused(Refusal::Ended);
    }
}

#[test]
fn somebody_elses_token_is_not_there() {
    for action in [
        change(ChangeToken { scopes: Some(scopes(&["read"])), ..nothing_yet() }),
        Action::Disable { id: token(1), if_match: None, reason: None },
        Action::Enable { id: token(1), if_match: None },
        Action::Revoke { id: token(1), if_match: None, reason: None },
    ] {
        standing().member(2, Role::Admin).when(session(2), action).refused(Refusal::NotFound);
    }
}
