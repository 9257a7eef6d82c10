//! Steps that are about tokens.

use super::{Both, base, named};
use crate::history::{at, digest, gateway, issue, token};
use crate::model::Keep;
use crate::random_steps::{By, Step};
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Answer};
use counterfoil_domain::token::Owner;
use counterfoil_domain::token::change::ChangeToken;
use counterfoil_domain::token::issue::IssuePersonal;
use counterfoil_domain::token::rotate::{Overlap, Rotate};

impl Both {
    pub(super) fn issue(&mut self, by: &By, scopes: u8, lives: Option<i16>) {
        let (number, dies, (who, actor)) = (self.next_plaintext(), self.dies(lives), self.who(by));
        let id = token(base(self.model.tokens.len()));
        let asked = IssuePersonal {
            id,
            digest: digest(number),
            scopes: named(scopes),
            expires_at: dies.map(at),
            ..issue(0)
        };
        let expected = self.model.issue(who, scopes, dies, number);
        self.compare(expected, actor, Action::IssuePersonal(asked));
    }

    pub(super) fn take_token_step(&mut self, step: &Step) {
        match step {
            Step::Narrow { by, token: number, scopes, lives } => {
                let ((who, actor), place, dies) = (self.who(by), self.place(*number), self.dies(*lives));
                let expected = self.model.narrow(who, place, *scopes, dies);
                let (id, expires_at) = (token(base(place)), dies.map(|dies| Some(at(dies))));
                let scopes = named(*scopes);
                let change = ChangeToken { id, if_match: None, note: None, scopes, expires_at };
                self.compare(expected, actor, Action::ChangeToken(change));
            }
            Step::Rotate { by, token: number, stale, lives, keep } => {
                self.rotate(by, *number, *stale, *lives, *keep);
            }
            Step::Switch { by, token: number, off } => {
                let ((who, actor), place) = (self.who(by), self.place(*number));
                let (expected, id) = (self.model.switch(who, place, *off), token(base(place)));
                let action = if *off {
                    Action::Disable { id, if_match: None, reason: None }
                } else {
                    Action::Enable { id, if_match: None }
                };
                self.compare(expected, actor, action);
            }
            Step::Revoke { by, token: number } => {
                let ((who, actor), place) = (self.who(by), self.place(*number));
                let expected = self.model.revoke(who, place);
                self.compare(
                    expected,
                    actor,
                    Action::Revoke { id: token(base(place)), if_match: None, reason: None },
                );
            }
            Step::RevokeAll { by, sessions } => {
                let (who, actor) = self.who(by);
                let (count, expected) = self.model.revoke_all(who, *sessions);
                let action = Action::RevokeAll { reason: None, sessions: *sessions };
                if let Some(answer) = self.compare(expected, actor, action) {
                    assert_eq!(answer, Answer::Count(count));
                }
            }
            Step::Held { through, token: number, secret } => self.revoke_held(*through, *number, *secret),
            Step::Used { token: number } => {
                let place = self.place(*number);
                let generation = self.secrets(place) as u32;
                let expected = self.model.used(place);
                self.compare(
                    expected,
                    Actor::System,
                    Action::EndPrevious { id: token(base(place)), generation },
                );
            }
            other => unreachable!("{other:?}"),
        }
    }

    fn rotate(&mut self, by: &By, number: u8, stale: bool, lives: Option<Option<i16>>, keep: u8) {
        let ((who, actor), place, plaintext) = (self.who(by), self.place(number), self.next_plaintext());
        let dies = lives.map(|lives| self.dies(lives));
        let seen = self.secrets(place) - usize::from(stale);
        let (keep, overlap) = match keep {
            0 => (Keep::Seconds(0), Overlap::Seconds(0)),
            1 => (Keep::Seconds(100), Overlap::Seconds(100)),
            _ => (Keep::UntilUsed, Overlap::UntilUsed),
        };
        let expected = self.model.rotate(who, place, seen, dies, keep, plaintext);
        let rotate = Rotate {
            id: token(base(place)),
            generation: seen as u32,
            if_match: None,
            digest: digest(plaintext),
            hint: String::new(),
            expires_at: dies.map(|dies| dies.map(at)),
            overlap,
        };
        self.compare(expected, actor, Action::Rotate(rotate));
    }

    fn revoke_held(&mut self, through: Option<u8>, number: u8, secret: u8) {
        let place = self.place(number);
        let secret = self.secret(place, secret);
        let known = self.model.tokens.get(place).and_then(Option::as_ref).and_then(|t| t.secrets.get(secret));
        let (id, digest) = (token(base(place)), digest(known.map_or(0, |secret| secret.number)));
        let through = through.map(|number| self.place(number));
        let actor = match through {
            None => Actor::Holder { token_id: id },
            Some(shown) => {
                let token_id = token(base(shown));
                let owner = self.real.state.tokens.get(&token_id).map(|token| token.owner);
                let gateway_id = match owner {
                    Some(Owner::Gateway(id)) => id,
                    _ => gateway(10),
                };
                Actor::Gateway { gateway_id, token_id }
            }
        };
        let expected = self.model.revoke_held(through, place, secret);
        self.compare(expected, actor, Action::RevokeHeld { id, digest });
    }
}
