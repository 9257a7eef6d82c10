//! A log in memory, with one organization in it: `given`, `when`, `then`.

use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Answer, Command, Decision, Effects, SecretText};
use counterfoil_domain::decide::{Context, Limits, decide, due};
use counterfoil_domain::event::{Event, Recorded};
use counterfoil_domain::fold::fold;
use counterfoil_domain::gateway_commands::NewGatewayToken;
use counterfoil_domain::ids::{
    EnvironmentId, GatewayId, OrganizationId, SessionId, TokenId, UserId, ValueId,
};
use counterfoil_domain::organization::MemberAdded;
use counterfoil_domain::people::Bootstrap;
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::role::Role;
use counterfoil_domain::scope::Scopes;
use counterfoil_domain::state::{Clock, Session, State};
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::Token;
use counterfoil_domain::token::issue::IssuePersonal;
use counterfoil_domain::user::UserCreated;
use counterfoil_domain::value::Value;
use uuid::Uuid;

pub(crate) fn organization() -> OrganizationId {
    OrganizationId(Uuid::from_u128(0xA))
}

/// The owner is user 1.
pub(crate) fn user(number: u128) -> UserId {
    UserId(Uuid::from_u128(0xB00 + number))
}

/// The owner's first token is 0; those that tests issue start at 1.
pub(crate) fn token(number: u128) -> TokenId {
    TokenId(Uuid::from_u128(0xC0000 + number))
}

/// The first gateway is 1, and its first token is `token(0xFFFF)`.
pub(crate) fn gateway(number: u128) -> GatewayId {
    GatewayId(Uuid::from_u128(0xD00 + number))
}

/// The digest of the `number`th plaintext.
pub(crate) fn digest(number: u128) -> Digest {
    Digest::of(&number.to_be_bytes())
}

pub(crate) fn value(number: u128, text: &str) -> Value {
    Value { id: ValueId(Uuid::from_u128(0xE00 + number)), salt: [7; 16], text: text.into() }
}

pub(crate) fn scopes(names: &[&str]) -> Scopes {
    Scopes::new(names.iter().copied()).unwrap()
}

/// So many seconds after the log began.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::parse("2027-01-01T00:00:00Z").unwrap().plus_seconds(seconds)
}

/// A user's session, which never ends in these tests unless a command ends it.
pub(crate) fn session(number: u128) -> Actor {
    Actor::Session { session_id: session_id(number), user_id: user(number) }
}

pub(crate) fn session_id(number: u128) -> SessionId {
    SessionId(Uuid::from_u128(0xF00 + number))
}

/// The holder of a token's plaintext of a generation, a token of the owner.
pub(crate) fn holder(number: u128, generation: u32) -> Actor {
    Actor::Token { token_id: token(number), generation, user_id: user(1) }
}

pub(crate) fn operator() -> Actor {
    Actor::Operator { command: "test".into() }
}

pub(crate) fn issue(number: u128) -> IssuePersonal {
    IssuePersonal {
        id: token(number),
        digest: digest(number),
        hint: format!("cf_pat_{number}"),
        scopes: None,
        expires_at: None,
        note: None,
    }
}

pub(crate) fn gateway_token(number: u128) -> NewGatewayToken {
    NewGatewayToken { id: token(number), digest: digest(number), hint: "cf_gw_x".into(), expires_at: None }
}

pub(crate) fn bootstrap() -> Bootstrap {
    Bootstrap {
        organization: organization(),
        numbers: [1, 2, 3],
        organization_name: value(1, "acme"),
        owner: user(1),
        email: value(2, "owner@example.com"),
        email_key: "owner@example.com".into(),
        password_hash: SecretText("hash".into()),
        token: issue(0),
        environment: EnvironmentId(Uuid::from_u128(0x10)),
        environment_name: value(3, "default"),
        gateway: gateway(1),
        gateway_name: value(4, "first"),
        gateway_token: gateway_token(0xFFFF),
    }
}

/// What a command came to.
#[derive(Debug)]
pub(crate) enum Came {
    To(Vec<Event>, Answer),
    AlreadySo(Answer),
    Refused(Refusal),
}

/// What happened so far. The state holds everything, as in a replay.
#[derive(Clone)]
pub(crate) struct History {
    pub(crate) state: State,
    pub(crate) log: Vec<Recorded>,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
}

/// An empty log.
pub(crate) fn nothing() -> History {
    let clock = Clock { database: at(0), node: at(0), trusted: true, ends_after: 0 };
    History { state: State::default(), log: Vec::new(), clock, limits: Limits::default() }
}

/// An organization with its owner (signed in), the owner's first token, and a gateway.
pub(crate) fn begun() -> History {
    let mut history = nothing();
    let came = history.run(operator(), Action::Bootstrap(Box::new(bootstrap())));
    assert!(matches!(came, Came::To(..)), "{came:?}");
    history.sign_in(1);
    history
}

/// What `begun` has, and then commands of the owner's session, each of which happens.
pub(crate) fn given(actions: impl IntoIterator<Item = Action>) -> History {
    actions.into_iter().fold(begun(), |history, action| history.and(session(1), action))
}

impl History {
    /// Goes on with a command that happens.
    pub(crate) fn and(mut self, actor: Actor, action: Action) -> Self {
        let came = self.run(actor, action);
        assert!(matches!(came, Came::To(..)), "given: {came:?}");
        self
    }

    /// Moves both clocks to so many seconds after the beginning.
    pub(crate) fn at(mut self, seconds: i64) -> Self {
        (self.clock.database, self.clock.node) = (at(seconds), at(seconds));
        self
    }

    /// Another user, signed in.
    pub(crate) fn member(mut self, number: u128, role: Role) -> Self {
        let created = UserCreated { id: user(number), email: value(0x10 + number, "m").reference() };
        let added = MemberAdded { user_id: user(number), number: number as i64, role };
        self.record(operator(), None, Event::UserCreated(created));
        self.record(operator(), Some(organization()), Event::MemberAdded(added));
        self.sign_in(number);
        self
    }

    fn sign_in(&mut self, number: u128) {
        self.state
            .sessions
            .insert(session_id(number), Session { user: user(number), expires_at: at(1 << 32) });
    }

    pub(crate) fn when(mut self, actor: Actor, action: Action) -> When {
        let came = self.run(actor, action);
        When { history: self, came }
    }

    /// Decides a command as the writer does: what is due first, then the command, folded as it happens.
    pub(crate) fn run(&mut self, actor: Actor, action: Action) -> Came {
        for (organization, event) in due(&self.state, &self.clock) {
            self.record(Actor::System, organization, event);
        }
        let command = Command { actor, request_id: Uuid::nil(), organization: organization(), action };
        let context =
            Context { state: &self.state, clock: &self.clock, command: &command, limits: self.limits };
        match decide(&context) {
            Err(refusal) => Came::Refused(refusal),
            Ok(Decision::AlreadySo(answer)) => Came::AlreadySo(answer),
            Ok(Decision::Happened(Effects { events, writes }, answer)) => {
                writes.iter().for_each(|write| self.state.write(write));
                for (organization, event) in &events {
                    self.record(command.actor.clone(), *organization, event.clone());
                }
                Came::To(events.into_iter().map(|(_, event)| event).collect(), answer)
            }
        }
    }

    /// Appends and folds one event.
    pub(crate) fn record(&mut self, actor: Actor, organization: Option<OrganizationId>, event: Event) {
        let decided_at =
            self.log.last().map_or(self.clock.database, |e| e.decided_at.max(self.clock.database));
        let seq = self.state.head + 1;
        let recorded = Recorded { seq, organization, actor, request_id: Uuid::nil(), decided_at, event };
        fold(&mut self.state, &recorded).unwrap();
        self.log.push(recorded);
    }

    pub(crate) fn token(&self, number: u128) -> &Token {
        &self.state.tokens[&token(number)]
    }

    /// The token whose present or earlier plaintext a digest is, if that works now.
    pub(crate) fn works(&self, digest: &Digest) -> Option<TokenId> {
        let now = self.clock.latest();
        let live = |t: &&Token| t.stands() && !t.disabled && !t.is_due(now);
        let has = |t: &&Token| {
            t.digest == *digest || t.previous.as_ref().is_some_and(|p| p.digest == *digest && p.works(now))
        };
        self.state.tokens.values().map(Box::as_ref).filter(live).find(has).map(|t| t.id)
    }

    /// The types of the events after a position.
    pub(crate) fn names_after(&self, seq: u64) -> Vec<&'static str> {
        self.log.iter().filter(|e| e.seq > seq).map(|e| e.event.name()).collect()
    }
}

/// A command's outcome, to be compared.
pub(crate) struct When {
    history: History,
    came: Came,
}

impl When {
    /// Exactly these events.
    #[track_caller]
    pub(crate) fn then(self, events: impl Into<Vec<Event>>) -> History {
        match self.came {
            Came::To(came, _) => assert_eq!(came, events.into()),
            other => panic!("{other:?}"),
        }
        self.history
    }

    /// It happens; what the events say is compared elsewhere.
    #[track_caller]
    pub(crate) fn happens(self) -> History {
        assert!(matches!(self.came, Came::To(..)), "{:?}", self.came);
        self.history
    }

    /// The answer, and nothing new.
    #[track_caller]
    pub(crate) fn already_so(self, expected: Answer) -> History {
        assert!(matches!(self.came, Came::AlreadySo(answer) if answer == expected), "{:?}", self.came);
        self.history
    }

    /// What the caller is told of a success.
    #[track_caller]
    pub(crate) fn answers(self, expected: Answer) -> History {
        assert!(matches!(self.came, Came::To(_, answer) if answer == expected), "{:?}", self.came);
        self.history
    }

    #[track_caller]
    pub(crate) fn refused(self, expected: Refusal) -> History {
        assert!(matches!(&self.came, Came::Refused(refusal) if *refusal == expected), "{:?}", self.came);
        self.history
    }
}
