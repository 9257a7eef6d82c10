//! One batch: one transaction that decides many commands, appends what happens and stores the result.

use super::append::{self, Entry, Head};
use super::clocks::{Steady, SteadyClock, clocks, decided_at};
use super::failure::BatchError;
use super::session::refuse_unfit;
use super::steps::{Faults, Step, in_time, step};
use super::{APPEND_LOCK, writer::Idempotency};
use crate::clock::Clock;
use crate::read_model::applier::Applier;
use crate::read_model::tables::{LoadError, beside, changed, load};
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Answer, Command, Decision, Effects, Write};
use counterfoil_domain::decide::{Context, Limits, decide, due};
use counterfoil_domain::event::{Event, Recorded};
use counterfoil_domain::fold::fold;
use counterfoil_domain::gateway::Gateway;
use counterfoil_domain::ids::{OrganizationId, Seq, TokenId};
use counterfoil_domain::names::Names;
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::state::{self, State};
use counterfoil_domain::token::Token;
use sqlx::PgConnection;
use std::collections::HashMap;
use uuid::Uuid;

/// What the writer hands to a batch.
pub struct Input<'a> {
    /// The commands, in the order in which they are decided.
    pub commands: &'a [(&'a Command, Option<&'a Idempotency>)],
    /// The node's clock.
    pub clock: &'a Clock,
    /// Configured limits.
    pub limits: Limits,
    /// Tests' way to break a step.
    pub faults: Option<&'a Faults>,
}

/// What a node that serves brings to its batches. Whoever decides one batch only has none of it.
pub struct Serving<'a> {
    /// Follows the log before anything is decided: then what is committed needs no SQL to be applied.
    pub applier: &'a mut Applier,
    /// Whether the node's clock has behaved; the database's is compared with it here.
    pub steady: &'a mut SteadyClock,
}

/// What a batch came to, committed.
#[derive(Debug)]
pub struct Committed {
    /// The head before.
    pub before: Seq,
    /// The head now.
    pub last: Seq,
    /// Its chain value.
    pub chain: Digest,
    /// The entities that changed, in their last state.
    pub changed: Changed,
    /// One answer a command, in order.
    pub replies: Vec<Result<Reply, Refused>>,
    /// Whether the clocks agreed.
    pub clock_trusted: bool,
    /// The records that were appended, for finding them again.
    pub records: Vec<String>,
}

/// The entities that a batch changed.
#[derive(Debug, Default)]
pub struct Changed {
    /// Whole states, of which those that changed are to be taken.
    pub state: State,
    /// The first position of the batch: what has a `seq` from there on changed.
    pub from: Seq,
    /// The e-mail addresses of the users that changed, by the ids of the values.
    pub emails: HashMap<Uuid, String>,
}

/// A success.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Whether something happened now.
    pub outcome: Outcome,
    /// What the answer is about.
    pub answer: Answer,
    /// The token that the answer is about, as it is now; absent from a repeated answer, which has its id only.
    pub token: Option<Token>,
    /// The gateway that the answer is about, as it is now.
    pub gateway: Option<Gateway>,
}

/// Whether something happened now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did.
    Happened,
    /// It was so before.
    AlreadySo,
    /// It happened before, under the same idempotency key.
    Repeated,
}

/// A command that did not happen, with the batch committed all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The domain's refusal.
    Refusal(Refusal),
    /// The idempotency key was used for another request.
    KeyReused,
}

/// Runs one batch.
///
/// # Errors
/// See [`BatchError`]. After a definite error, or one of the applier's, the transaction is rolled back; after the
/// others the connection is of no use any more.
pub async fn run(
    connection: &mut PgConnection,
    input: &Input<'_>,
    serving: Option<Serving<'_>>,
) -> Result<Committed, BatchError> {
    match attempt(connection, input, serving).await {
        Err(error @ (BatchError::Definite(_) | BatchError::Behind(_) | BatchError::Unfit(_))) => {
            rolled_back(connection).await?;
            Err(error)
        }
        other => other,
    }
}

/// A log whose end makes no sense is no command's fault.
fn of_head(error: LoadError) -> BatchError {
    match error {
        LoadError::Database(error) => error.into(),
        unreadable => BatchError::Behind(unreadable.into()),
    }
}

async fn rolled_back(connection: &mut PgConnection) -> Result<(), BatchError> {
    in_time(async { Ok(sqlx::query("ROLLBACK").execute(connection).await?) }).await.map(drop)
}

/// Whoever decides one batch beside a service may be suspended in the middle, as a terminal's Ctrl-Z does, and would hold
/// up everybody by its lock for as long. The server ends such a session, and nothing of the batch happened.
const SUSPENDED: &str = "SET LOCAL idle_in_transaction_session_timeout = '5s'";

async fn attempt(
    connection: &mut PgConnection,
    input: &Input<'_>,
    serving: Option<Serving<'_>>,
) -> Result<Committed, BatchError> {
    step(input.faults, Step::Lock, async {
        sqlx::query("BEGIN ISOLATION LEVEL READ COMMITTED").execute(&mut *connection).await?;
        if serving.is_none() {
            sqlx::query(SUSPENDED).execute(&mut *connection).await?;
        }
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(APPEND_LOCK).execute(&mut *connection).await?;
        Ok(())
    })
    .await?;
    let asked = input.clock.now();
    let head = in_time(async { Ok(append::head(connection).await) }).await?.map_err(of_head)?;
    if !head.is_fit {
        in_time(async { Ok(refuse_unfit(connection).await) }).await?.map_err(BatchError::Unfit)?;
    }
    // At once, beside the database's: what follows may take long.
    let node = input.clock.now();
    let (applier, steady) = match serving {
        // After all that was read of clocks, and after the lock was waited for: they may have jumped in that time.
        Some(Serving { applier, steady }) => (Some(applier), steady.check(input.clock)),
        None => (None, Steady::UNWATCHED),
    };
    let clock = clocks((asked, node), steady, &head);
    if let Some(applier) = applier {
        applier.follow(connection, &head).await?;
    }
    let mut names = Names::default();
    input.commands.iter().for_each(|(command, _)| names.add(command));
    let mut state =
        step(input.faults, Step::Load, load::named(connection, &names, head.seq, clock.latest())).await?;
    let known = in_time(beside::idempotency(connection, input.commands)).await?;
    let mut batch = Batch {
        head,
        clock: &clock,
        steady,
        entries: Vec::new(),
        writes: Vec::new(),
        known,
        limits: input.limits,
        input,
    };
    // As they are before anything is folded: what changed tokens hold no more is deleted.
    let held: HashMap<TokenId, Box<Token>> = state.tokens.clone();
    batch.expire(&mut state)?;
    let mut replies = Vec::with_capacity(input.commands.len());
    for (command, key) in input.commands {
        replies.push(batch.one(&mut state, command, *key)?);
    }
    let replies = replies.into_iter().map(|reply| reply.map(|r| r.resolve(&state))).collect();
    batch.store(connection, &state, &held).await?;
    let (last, chain, from) = (state.head, batch.head.chain, head.seq + 1);
    let records = batch.entries.into_iter().map(|entry| entry.record).collect();
    let users = state.users.values().filter(|user| user.seq >= from);
    let emails: Vec<Uuid> = users.map(|user| user.email.id.0).collect();
    let emails = in_time(load::texts(connection, &emails)).await?;
    let changed = Changed { state, from, emails };
    let (before, clock_trusted) = (head.seq, clock.trusted);
    let committed = Committed { before, last, chain, changed, replies, clock_trusted, records };
    commit(connection, input, committed).await
}

/// COMMIT. From the moment it is sent, a lost connection leaves the outcome unknown, and so does an error after which the
/// session does not go on: a server that cannot write its log says so, dies, and may find the commit there all the same.
async fn commit(
    connection: &mut PgConnection,
    input: &Input<'_>,
    committed: Committed,
) -> Result<Committed, BatchError> {
    let result = step(input.faults, Step::Commit, async {
        sqlx::query("COMMIT").execute(&mut *connection).await.map_err(LoadError::from)?;
        Ok(())
    })
    .await;
    match result {
        Ok(()) => Ok(committed),
        Err(BatchError::Lost(source)) => Err(BatchError::Unknown { source, committed: Box::new(committed) }),
        Err(error) => match rolled_back(connection).await {
            Ok(()) => Err(error),
            Err(BatchError::Lost(source)) => {
                Err(BatchError::Unknown { source, committed: Box::new(committed) })
            }
            Err(other) => Err(other),
        },
    }
}

struct Batch<'a> {
    head: Head,
    clock: &'a state::Clock,
    steady: Steady,
    entries: Vec<Entry>,
    writes: Vec<Write>,
    known: HashMap<[u8; 32], beside::Remembered>,
    limits: Limits,
    input: &'a Input<'a>,
}

/// A reply before the entities of its answer are taken from the state.
struct Pending(Outcome, Answer);

impl Pending {
    fn resolve(self, state: &State) -> Reply {
        let (token, gateway) = match self.1 {
            Answer::Token(id) => (state.tokens.get(&id).map(|token| Token::clone(token)), None),
            Answer::Gateway(gateway, token) => (
                token.and_then(|id| state.tokens.get(&id).map(|token| Token::clone(token))),
                state.gateways.get(&gateway).cloned(),
            ),
            Answer::Done | Answer::Count(_) => (None, None),
        };
        Reply { outcome: self.0, answer: self.1, token, gateway }
    }
}

impl Batch<'_> {
    /// Records the expiry of every loaded token that is due.
    fn expire(&mut self, state: &mut State) -> Result<(), BatchError> {
        let events = due(state, self.clock);
        self.append(state, &Actor::System, self.input.clock.uuid(), events)
    }

    /// Decides one command and folds what happens.
    fn one(
        &mut self,
        state: &mut State,
        command: &Command,
        key: Option<&Idempotency>,
    ) -> Result<Result<Pending, Refused>, BatchError> {
        let context = Context { state, clock: self.clock, command, limits: self.limits };
        if let Some((key, known)) = key.and_then(|key| self.known.get(&key.key).map(|known| (key, known))) {
            // A repetition is an answer like any other: an ended credential does not get it. An operator has none.
            let counts = match command.actor {
                Actor::Operator { .. } => Ok(()),
                _ => context.authority().map(drop),
            };
            return Ok(match counts {
                Err(refusal) => Err(Refused::Refusal(refusal)),
                Ok(()) if known.body == key.body => Ok(Pending(Outcome::Repeated, known.answer())),
                Ok(()) => Err(Refused::KeyReused),
            });
        }
        let (effects, answer) = match decide(&context) {
            Err(refusal) => return Ok(Err(Refused::Refusal(refusal))),
            Ok(Decision::AlreadySo(answer)) => {
                // What was so already may be so no more when it is asked for again: it is to be no other request then.
                self.remember(key, answer);
                return Ok(Ok(Pending(Outcome::AlreadySo, answer)));
            }
            Ok(Decision::Happened(effects, answer)) => (effects, answer),
        };
        let Effects { events, writes } = effects;
        self.append(state, &command.actor, command.request_id, events)?;
        writes.iter().for_each(|write| state.write(write));
        self.writes.extend(writes);
        self.remember(key, answer);
        Ok(Ok(Pending(Outcome::Happened, answer)))
    }

    fn remember(&mut self, key: Option<&Idempotency>, answer: Answer) {
        if let Some(key) = key {
            self.known.insert(key.key, beside::Remembered::new(key.body, answer));
        }
    }

    fn append(
        &mut self,
        state: &mut State,
        actor: &Actor,
        request_id: Uuid,
        events: Vec<(Option<OrganizationId>, Event)>,
    ) -> Result<(), BatchError> {
        for (organization, event) in events {
            let decided_at = decided_at(self.clock, self.steady, &self.head);
            let recorded = Recorded {
                seq: state.head + 1,
                organization,
                actor: actor.clone(),
                request_id,
                decided_at,
                event,
            };
            fold(state, &recorded)?;
            let entry = append::row(state, &self.head.chain, recorded)?;
            self.head = Head { seq: state.head, chain: entry.chain, decided_at, ..self.head };
            self.entries.push(entry);
        }
        Ok(())
    }

    async fn store(
        &mut self,
        connection: &mut PgConnection,
        state: &State,
        held: &HashMap<TokenId, Box<Token>>,
    ) -> Result<(), BatchError> {
        if !self.entries.is_empty() {
            let entries = &self.entries;
            step(self.input.faults, Step::Events, async {
                Ok(append::insert(&mut *connection, entries).await?)
            })
            .await?;
        }
        let from = self.entries.first().map_or(Seq::MAX, |entry| entry.recorded.seq);
        step(self.input.faults, Step::Entities, async {
            Ok(changed::store(&mut *connection, state, from, held).await?)
        })
        .await?;
        let instants = (self.clock.database, decided_at(self.clock, self.steady, &self.head));
        let remembered: Vec<_> = self
            .input
            .commands
            .iter()
            .filter_map(|(_, key)| key.map(|key| key.key))
            .filter_map(|key| self.known.get_key_value(&key))
            .filter(|(_, r)| r.is_new())
            .collect();
        step(self.input.faults, Step::Beside, beside::write(connection, &self.writes, &remembered, instants))
            .await
    }
}
