//! Rotation in its three modes.

use crate::history::{History, at, digest, given, holder, issue, scopes, session, token};
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Answer};
use counterfoil_domain::event::Event;
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::token::issue::IssuePersonal;
use counterfoil_domain::token::rotate::{LONGEST_OVERLAP, Overlap, Rotate, UNTIL_USED_LIMIT};
use counterfoil_domain::token::{PreviousEnded, TokenRotated};

/// Rotates token 1, whose `generation`th plaintext is seen, to the plaintext of that number times ten.
fn to(generation: u32, overlap: Overlap) -> Rotate {
    let number = u128::from(generation + 1) * 10;
    Rotate {
        id: token(1),
        generation,
        if_match: None,
        digest: digest(number),
        hint: format!("cf_pat_{number}"),
        expires_at: None,
        overlap,
    }
}

fn rotate(generation: u32, overlap: Overlap) -> Action {
    Action::Rotate(to(generation, overlap))
}

fn rotated(generation: u32) -> TokenRotated {
    let number = u128::from(generation) * 10;
    TokenRotated {
        id: token(1),
        generation,
        digest: digest(number),
        hint: format!("cf_pat_{number}"),
        expires_at: None,
        previous_ends_at: None,
        until_used: false,
        keeps_previous: false,
    }
}

fn issued() -> History {
    given([Action::IssuePersonal(issue(1))])
}

/// The numbers of the plaintexts of token 1 that work.
fn working(history: &History) -> Vec<u128> {
    [1, 20, 30, 40].into_iter().filter(|number| history.works(&digest(*number)).is_some()).collect()
}

fn used(generation: u32) -> Action {
    Action::EndPrevious { id: token(1), generation }
}

#[test]
fn until_used_keeps_both_until_the_new_one_is_used() {
    let event = TokenRotated { previous_ends_at: Some(at(UNTIL_USED_LIMIT)), until_used: true, ..rotated(2) };
    let history = issued().when(session(1), rotate(1, Overlap::UntilUsed)).then([Event::TokenRotated(event)]);
    assert_eq!(working(&history), [1, 20]);
    assert_eq!(working(&history.clone().at(UNTIL_USED_LIMIT - 1)), [1, 20]);
    assert_eq!(working(&history.clone().at(UNTIL_USED_LIMIT)), [20]);
    let ended = PreviousEnded { id: token(1), generation: 1 };
    let history = history.when(Actor::System, used(2)).then([Event::PreviousEnded(ended)]);
    assert_eq!(working(&history), [20]);
    // It stays as a tombstone; the use after that says nothing new.
    assert!(history.token(1).previous.as_ref().is_some_and(|p| p.ended == Some(11)));
    history.when(Actor::System, used(2)).already_so(Answer::Done);
}

#[test]
fn only_the_service_itself_reports_a_use_and_only_of_the_present_plaintext() {
    let history = || issued().and(session(1), rotate(1, Overlap::UntilUsed));
    history().when(session(1), used(2)).already_so(Answer::Done);
    history().when(Actor::System, used(1)).already_so(Answer::Done);
    let overlapping = issued().and(session(1), rotate(1, Overlap::Seconds(60)));
    let history = overlapping.when(Actor::System, used(2)).already_so(Answer::Done);
    assert_eq!(working(&history), [1, 20]);
}

#[test]
fn an_unused_successor_is_replaced_and_the_earlier_plaintext_kept() {
    let history = issued().and(session(1), rotate(1, Overlap::UntilUsed)).at(10);
    let event = TokenRotated {
        previous_ends_at: Some(at(UNTIL_USED_LIMIT)),
        until_used: true,
        keeps_previous: true,
        ..rotated(3)
    };
    let history = history.when(session(1), rotate(2, Overlap::UntilUsed)).then([Event::TokenRotated(event)]);
    assert_eq!(working(&history), [1, 30]);
    let history = history.when(Actor::System, used(3)).happens();
    assert_eq!(working(&history), [30]);
    // Used, it is itself the earlier one of the next.
    let history = history.when(session(1), rotate(3, Overlap::UntilUsed)).happens();
    assert_eq!(working(&history), [30, 40]);
}

#[test]
fn an_unused_successor_is_replaced_in_an_overlap_of_seconds_too() {
    let history = issued().and(session(1), rotate(1, Overlap::UntilUsed)).at(10);
    let history = history.when(session(1), rotate(2, Overlap::Seconds(60))).happens();
    assert_eq!(working(&history), [1, 30]);
    // Now it ends by the clock, not by use.
    let history = history.when(Actor::System, used(3)).already_so(Answer::Done);
    assert_eq!(working(&history.clone().at(69)), [1, 30]);
    assert_eq!(working(&history.at(70)), [30]);
    // An overlap does not prolong what works already.
    let history = issued().and(session(1), rotate(1, Overlap::UntilUsed));
    let history = history.and(session(1), rotate(2, Overlap::Seconds(LONGEST_OVERLAP)));
    assert_eq!(working(&history.at(UNTIL_USED_LIMIT)), [30]);
}

#[test]
fn a_token_that_rotates_itself_again_with_its_earlier_plaintext_keeps_that() {
    // The answer to the first rotation was lost, be its overlap what it may.
    for first in [Overlap::UntilUsed, Overlap::Seconds(60)] {
        let history = issued().and(holder(1, 1), rotate(1, first)).at(10);
        let again = |overlap| history.clone().when(holder(1, 1), rotate(2, overlap)).happens();
        for second in [Overlap::UntilUsed, Overlap::Seconds(60), Overlap::Seconds(3600)] {
            assert_eq!(working(&again(second)), [1, 30], "{first:?} {second:?}");
        }
        assert_eq!(working(&again(Overlap::Seconds(0))), [30], "{first:?}");
        // What is asked for then holds, and prolongs nothing.
        assert_eq!(working(&again(Overlap::Seconds(20)).at(30)), [30], "{first:?}");
        let until_used = again(Overlap::UntilUsed).when(Actor::System, used(3)).happens();
        assert_eq!(working(&until_used), [30], "{first:?}");
    }
    let history = issued().and(holder(1, 1), rotate(1, Overlap::Seconds(60))).at(10);
    let history = history.and(holder(1, 1), rotate(2, Overlap::Seconds(3600)));
    assert_eq!(working(&history.at(60)), [30]);
}

#[test]
fn an_overlap_in_seconds_ends_by_the_clock() {
    let event = TokenRotated { previous_ends_at: Some(at(60)), ..rotated(2) };
    let history =
        issued().when(session(1), rotate(1, Overlap::Seconds(60))).then([Event::TokenRotated(event)]);
    assert_eq!(working(&history.clone().at(59)), [1, 20]);
    assert_eq!(working(&history.clone().at(60)), [20]);
    // At most one earlier plaintext works.
    let history = history.when(session(1), rotate(2, Overlap::Seconds(60))).happens();
    assert_eq!(working(&history), [20, 30]);
    issued()
        .when(session(1), rotate(1, Overlap::Seconds(LONGEST_OVERLAP + 1)))
        .refused(Refusal::OverlapTooLong(LONGEST_OVERLAP));
    issued().when(session(1), rotate(1, Overlap::Seconds(LONGEST_OVERLAP))).happens();
}

#[test]
fn no_overlap_ends_the_earlier_plaintext_at_once() {
    let history =
        issued().when(session(1), rotate(1, Overlap::Seconds(0))).then([Event::TokenRotated(rotated(2))]);
    assert_eq!(working(&history), [20]);
    assert!(history.token(1).previous.as_ref().is_some_and(|p| p.digest == digest(1) && p.ended == Some(10)));
    // Even where the lost successor's predecessor still worked.
    let history = issued().and(session(1), rotate(1, Overlap::UntilUsed));
    let history = history.when(session(1), rotate(2, Overlap::Seconds(0))).happens();
    assert_eq!(working(&history), [30]);
}

#[test]
fn the_earlier_plaintext_ends_with_its_own_expiry_at_the_latest() {
    let expiring = || given([Action::IssuePersonal(IssuePersonal { expires_at: Some(at(50)), ..issue(1) })]);
    for overlap in [Overlap::UntilUsed, Overlap::Seconds(60)] {
        let later = Rotate { expires_at: Some(None), ..to(1, overlap) };
        let history = expiring().when(session(1), Action::Rotate(later)).happens();
        assert_eq!(working(&history.clone().at(49)), [1, 20]);
        assert_eq!(working(&history.at(50)), [20]);
    }
}

#[test]
fn a_rotation_keeps_the_token_and_may_move_its_expiry() {
    let before = issued();
    let later = Rotate { expires_at: Some(Some(at(500))), ..to(1, Overlap::UntilUsed) };
    let history = before.clone().when(session(1), Action::Rotate(later)).answers(Answer::Token(token(1)));
    let (old, new) = (before.token(1), history.token(1));
    assert_eq!(
        (old.id, &old.scopes, old.owner, old.note, old.since),
        (new.id, &new.scopes, new.owner, new.note, new.since)
    );
    assert_eq!((new.generation, new.expires_at, new.slot), (2, Some(at(500)), old.slot));
    let past = Rotate { expires_at: Some(Some(at(0))), ..to(1, Overlap::UntilUsed) };
    issued().when(session(1), Action::Rotate(past)).refused(Refusal::ExpiryInPast { at: at(0) });
    let history = history.at(499);
    assert_eq!(
        history.clone().when(session(1), rotate(2, Overlap::UntilUsed)).happens().token(1).expires_at,
        Some(at(500))
    );
    history.at(500).when(session(1), rotate(2, Overlap::UntilUsed)).refused(Refusal::Ended);
}

#[test]
fn of_two_rotations_at_once_one_is_refused() {
    let history = issued().and(session(1), rotate(1, Overlap::UntilUsed));
    let history = history.when(session(1), rotate(1, Overlap::UntilUsed)).refused(Refusal::RotatedMeanwhile);
    let seen = Rotate { if_match: Some(vec![9]), ..to(2, Overlap::UntilUsed) };
    history.when(session(1), Action::Rotate(seen)).refused(Refusal::ChangedMeanwhile);
}

#[test]
fn a_disabled_token_stays_disabled_and_disabling_ends_the_earlier_plaintext_for_good() {
    let disabled = issued()
        .and(session(1), rotate(1, Overlap::UntilUsed))
        .and(session(1), Action::Disable { id: token(1), if_match: None, reason: None });
    let enabled = disabled.clone().and(session(1), Action::Enable { id: token(1), if_match: None });
    assert_eq!(working(&enabled), [20]);
    let rotated = disabled.when(session(1), rotate(2, Overlap::UntilUsed)).happens();
    assert!(rotated.token(1).disabled && working(&rotated).is_empty());
    let enabled = rotated.and(session(1), Action::Enable { id: token(1), if_match: None });
    assert_eq!(working(&enabled), [30]);
    let disabled = issued().and(session(1), Action::Disable { id: token(1), if_match: None, reason: None });
    disabled
        .when(session(1), rotate(1, Overlap::Seconds(LONGEST_OVERLAP + 1)))
        .refused(Refusal::OverlapTooLong(LONGEST_OVERLAP));
}

#[test]
fn a_token_rotates_itself_only_with_the_right_to_write() {
    let read_only =
        given([Action::IssuePersonal(IssuePersonal { scopes: Some(scopes(&["read"])), ..issue(1) })]);
    read_only.when(holder(1, 1), rotate(1, Overlap::UntilUsed)).refused(Refusal::InsufficientScope("write"));

    // Rotating itself is a use of the present plaintext, and of nothing else.
    let history = issued().and(holder(1, 1), rotate(1, Overlap::UntilUsed));
    let by_the_earlier = history.clone().when(holder(1, 1), rotate(2, Overlap::UntilUsed)).happens();
    assert_eq!(working(&by_the_earlier), [1, 30]);
    let before = history.state.head;
    let by_the_present = history.when(holder(1, 2), rotate(2, Overlap::UntilUsed)).happens();
    assert_eq!(by_the_present.names_after(before), ["token.previous_ended", "token.rotated"]);
    assert_eq!(working(&by_the_present), [20, 30]);
}

#[test]
fn a_token_cannot_rotate_a_stronger_one() {
    let history = given([
        Action::IssuePersonal(issue(1)),
        Action::IssuePersonal(IssuePersonal { scopes: Some(scopes(&["write"])), ..issue(2) }),
    ]);
    history.when(holder(2, 1), rotate(1, Overlap::UntilUsed)).refused(Refusal::Stronger);
}
