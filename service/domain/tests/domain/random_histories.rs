//! Random commands against the naive model: after every one the two agree on who is live, with which scopes, and which
//! plaintext works; and what was recorded, read back from its bytes, folds to the same state.

mod gateway_steps;
mod token_steps;

use crate::history::{Came, History, at, begun, digest, operator, session, session_id, token, user};
use crate::model::{Model, Owner, READ, Verdict, WRITE, Who};
use crate::random_steps::{By, Step, step};
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Answer, SecretText};
use counterfoil_domain::event::{Event, Recorded};
use counterfoil_domain::fold::fold;
use counterfoil_domain::ids::{TokenId, UserId};
use counterfoil_domain::people::{OpenSession, SetPassword};
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::role::Role;
use counterfoil_domain::scope::Scopes;
use counterfoil_domain::state::State;
use counterfoil_domain::token;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

/// The domain and the model side by side. Model's numbers are ours plus an offset: the `n`th token is `token(n)`, the
/// `n`th user is `user(n + 1)`, the `n`th gateway is `gateway(n + 10)`.
struct Both {
    real: History,
    model: Model,
    /// The state folded from the bytes that were recorded.
    replayed: State,
    ended: HashSet<TokenId>,
    plaintexts: u128,
}

impl Both {
    fn new() -> Self {
        let set = |n| {
            Action::SetPassword(SetPassword { user: user(n), hash: SecretText("hash".into()), checked: None })
        };
        let end_first = Action::RevokeAll { reason: None, sessions: false };
        let mut real = begun().and(session(1), end_first).member(2, Role::Member).member(3, Role::Auditor);
        real.state.tokens.clear();
        let log = std::mem::take(&mut real.log);
        // From nothing, so that the replay has the beginning too; the first token is not the model's.
        let mut replayed = State::default();
        log.iter().for_each(|recorded| fold(&mut replayed, recorded).unwrap());
        (real.state.tokens, real.log) = (replayed.tokens.clone(), log);
        let mut both = Self {
            real: [1, 2, 3].into_iter().fold(real, |real, n| real.and(operator(), set(n))),
            model: Model { trusted: true, signed_in: vec![false; 3], ..Model::default() },
            replayed,
            ended: HashSet::new(),
            plaintexts: 0x1_0000,
        };
        (0..3).for_each(|n| both.sign_in(n));
        both
    }

    fn sign_in(&mut self, number: usize) {
        let user = user(number as u128 + 1);
        let open = OpenSession {
            id: session_id(number as u128 + 1),
            user,
            organization: crate::history::organization(),
            digest: digest(0),
            expires_at: at(1 << 32),
            password_set: self.real.state.users[&user].password_set,
        };
        self.model.bury();
        let came = self.real.run(Actor::System, Action::OpenSession(open));
        self.model.signed_in[number] |= matches!(came, Came::To(..));
        assert_eq!(matches!(came, Came::To(..)), self.model.trusted);
    }

    /// A token's place: mostly one of the latest that stand, so that what happens to one token adds up; else any that
    /// was asked for, or one beyond them.
    fn place(&self, number: u8) -> usize {
        let tokens = self.model.tokens.iter().enumerate().rev();
        let standing = tokens.filter(|(_, token)| token.as_ref().is_some_and(|token| !token.gone));
        let latest: Vec<usize> = standing.map(|(place, _)| place).take(4).collect();
        match latest.get(usize::from(number) % latest.len().max(1)) {
            Some(place) if number < 224 => *place,
            _ => usize::from(number) % (self.model.tokens.len() + 1),
        }
    }

    fn secrets(&self, token: usize) -> usize {
        self.model.tokens.get(token).and_then(Option::as_ref).map_or(1, |token| token.secrets.len())
    }

    /// The place of a token's plaintext: mostly the present one or the one before.
    fn secret(&self, token: usize, number: u8) -> usize {
        let secrets = self.secrets(token);
        match number {
            0..128 => secrets - 1,
            128..224 => secrets.saturating_sub(2),
            _ => usize::from(number) % (secrets + 1),
        }
    }

    fn who(&self, by: &By) -> (Who, Actor) {
        match *by {
            By::User(n) => (Who::User(n.into()), session(u128::from(n) + 1)),
            By::Holder { token: number, secret } => {
                let place = self.place(number);
                let secret = self.secret(place, secret);
                let owner = self.real.state.tokens.get(&token(base(place))).and_then(|token| token.user());
                let user_id = owner.unwrap_or(user(1));
                let generation = secret as u32 + 1;
                (
                    Who::Holder(place, secret),
                    Actor::Token { token_id: token(base(place)), generation, user_id },
                )
            }
        }
    }

    fn dies(&self, lives: Option<i16>) -> Option<i64> {
        lives.map(|lives| self.model.now + i64::from(lives))
    }

    fn next_plaintext(&mut self) -> u128 {
        self.plaintexts += 1;
        self.plaintexts
    }

    fn compare(&mut self, expected: Verdict, actor: Actor, action: Action) -> Option<Answer> {
        let said = format!("{actor:?}: {action:?}");
        let (verdict, answer) = match self.real.run(actor, action) {
            Came::To(_, answer) => (Verdict::Happened, Some(answer)),
            Came::AlreadySo(answer) => (Verdict::AlreadySo, Some(answer)),
            Came::Refused(refusal) => (Verdict::Refused(word(&refusal)), None),
        };
        assert_eq!(verdict, expected, "{said}");
        answer
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Wait(seconds) => self.model.now += i64::from(*seconds),
            Step::Clocks(trusted) => self.model.trusted = *trusted,
            _ => {}
        }
        (self.real.clock.database, self.real.clock.node) = (at(self.model.now), at(self.model.now));
        self.real.clock.trusted = self.model.trusted;
        match step {
            Step::Wait(_) | Step::Clocks(_) => {}
            Step::SignIn(number) => self.sign_in((*number).into()),
            Step::Issue { by, scopes, lives } => self.issue(by, *scopes, *lives),
            Step::IssueMany { by, count } => (0..*count).for_each(|_| self.issue(by, 0, None)),
            Step::Register { .. }
            | Step::GatewayToken { .. }
            | Step::RemoveGateway { .. }
            | Step::EndGatewayToken { .. } => self.take_gateway_step(step),
            _ => self.take_token_step(step),
        }
    }

    /// Everything that the two can be compared in.
    fn agree(&mut self) {
        for (place, expected) in self.model.tokens.iter().enumerate() {
            let real = self.real.state.tokens.get(&token(base(place)));
            assert_eq!(real.is_some(), expected.is_some(), "token {place}");
            let (Some(real), Some(expected)) = (real, expected) else { continue };
            assert_eq!((real.stands(), real.disabled), (!expected.gone, expected.off), "token {place}");
            assert_eq!(real.expires_at, expected.dies.map(at), "token {place}");
            if matches!(expected.owner, Owner::User(_)) {
                assert_eq!(Some(&real.scopes), named(expected.scopes).as_ref(), "token {place}");
            }
            for (number, secret) in expected.secrets.iter().enumerate() {
                let works = self.model.works(place, number).then_some(real.id);
                assert_eq!(
                    self.real.works(&digest(secret.number)),
                    works,
                    "plaintext {number} of token {place}"
                );
            }
        }
        for recorded in self.real.log.iter().skip(self.replayed.head as usize) {
            let record = recorded.encode().unwrap();
            let read = Recorded::decode(&record).unwrap();
            assert_eq!((&read, &record), (recorded, &read.encode().unwrap()));
            fold(&mut self.replayed, &read).unwrap();
        }
        let (live, replayed) = (&self.real.state, &self.replayed);
        assert_eq!(
            (&live.tokens, &live.users, &live.gateways),
            (&replayed.tokens, &replayed.users, &replayed.gateways)
        );
        for token in live.tokens.values() {
            assert!(!(token.stands() && self.ended.contains(&token.id)), "{} came back", token.id);
            if !token.stands() {
                self.ended.insert(token.id);
            }
        }
    }
}

/// The number in ids of the model's `place`th token; number 0 is the owner's first, which has ended.
fn base(place: usize) -> u128 {
    place as u128 + 1
}

fn named(scopes: u8) -> Option<Scopes> {
    let names = [(READ, "read"), (WRITE, "write")];
    Scopes::new(names.into_iter().filter(|(bit, _)| scopes & bit != 0).map(|(_, name)| name)).ok()
}

fn word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Unauthenticated => "unauthenticated",
        Refusal::InsufficientScope(_) => "scope",
        Refusal::Forbidden => "forbidden",
        Refusal::NotFound => "not found",
        Refusal::LimitReached { .. } => "limit",
        Refusal::Stronger => "stronger",
        Refusal::Widens(_) => "widens",
        Refusal::ExpiryInPast { .. } => "past",
        Refusal::Ended => "ended",
        Refusal::RotatedMeanwhile => "rotated meanwhile",
        Refusal::ClockUntrusted => "clocks",
        other => panic!("{other:?} is not expected here"),
    }
}

/// "Never more than fifty" by counting events and nothing else.
fn most_at_any_position(log: &[Recorded]) -> usize {
    let (mut owner, mut standing) =
        (HashMap::<TokenId, UserId>::new(), HashMap::<UserId, HashSet<TokenId>>::new());
    let mut most = 0;
    for recorded in log {
        match &recorded.event {
            Event::TokenIssued(body) => {
                if let token::Owner::User(user) = body.owner {
                    owner.insert(body.id, user);
                    standing.entry(user).or_default().insert(body.id);
                }
            }
            Event::TokenRevoked(token::TokenRevoked { id, .. })
            | Event::TokenExpired(token::TokenExpired { id }) => {
                if let Some(user) = owner.get(id) {
                    assert!(standing.entry(*user).or_default().remove(id), "{id} ended twice");
                }
            }
            Event::TokensRevokedAll(body) => drop(standing.remove(&body.user_id)),
            _ => {}
        }
        most = most.max(standing.values().map(HashSet::len).max().unwrap_or(0));
    }
    most
}

fn cases() -> u32 {
    if std::env::var_os("COUNTERFOIL_SOAK").is_some() { 50_000 } else { 512 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_domain_does_what_the_model_does(steps in prop::collection::vec(step(), 1..80)) {
        let mut both = Both::new();
        both.agree();
        for step in &steps {
            both.take(step);
            both.agree();
        }
        prop_assert!(most_at_any_position(&both.real.log) <= 50);
    }
}
