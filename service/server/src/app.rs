//! What handlers share. Made by the same constructor in production and in tests.

use crate::clock::Clock;
use crate::config::Config;
use crate::event_log::clocks::Watch;
use crate::event_log::session::{Session, SessionError};
use crate::event_log::steps::Faults;
use crate::event_log::sweeper::{Aside, Reached, Sweeper};
use crate::event_log::writer::{Parts, Writer};
use crate::ops::drain::Drain;
use crate::ops::feeds::Feeds;
use crate::ops::memory::Memory;
use crate::ops::metrics::{Metrics, Sampled};
use crate::ops::rates::Rates;
use crate::passwords::{PasswordError, Passwords};
use crate::postgres::connect::Database;
use crate::read_model::applier::{Applier, ApplyError};
use crate::read_model::digest_index::{DigestIndex, Use};
use crate::read_model::freshness::{FENCE, Freshness};
use crate::read_model::sessions::Known;
use crate::read_model::usage::{Usage, Used};
use crate::sign_in_limit::Failures;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Command};
use counterfoil_domain::decide::Limits;
use counterfoil_domain::ids::{GatewayId, TokenId};
use counterfoil_domain::plaintext::{Plaintext, Prefixes};
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::Kind;
use ipnet::IpNet;
use sqlx::PgPool;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// See the module.
#[derive(Clone)]
pub struct App {
    /// Answers every lookup of a presented token.
    pub index: Arc<DigestIndex>,
    /// Whether "active" may be answered.
    pub freshness: Arc<Freshness>,
    /// The last event that the index reflects.
    pub applied: Arc<AtomicU64>,
    /// Where commands go.
    pub writer: Writer,
    /// For reads of lists and the log.
    pub pool: PgPool,
    /// The node's clock.
    pub clock: Clock,
    /// The configured public URL: `iss`.
    pub issuer: Arc<str>,
    /// The prefixes of plaintexts.
    pub prefixes: Arc<Prefixes>,
    /// What Prometheus reads.
    pub metrics: Arc<Metrics>,
    /// Rate limits.
    pub rates: Arc<Rates>,
    /// Room for bodies.
    pub memory: Memory,
    /// Streams of events that are open.
    pub feeds: Arc<Feeds>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Whether the service is about to stop.
    pub drain: Drain,
    /// Uses of tokens, until they are written.
    pub usage: Arc<Usage>,
    /// Configured limits of the domain.
    pub limits: Limits,
    /// Sessions that have worked here.
    pub sessions: Arc<Known>,
    /// Where passwords are checked.
    pub passwords: Passwords,
    /// Failures to sign in.
    pub failures: Arc<Failures>,
}

/// The instant that a request is judged at.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// By the wall clock.
    pub now: Timestamp,
    /// Whether "active" may be answered at it.
    pub fresh: bool,
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No session with the serving lock.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The index could not be loaded.
    #[error("the index cannot be loaded: {0}")]
    Load(#[from] ApplyError),
    /// Passwords cannot be checked.
    #[error("passwords cannot be checked: {0}")]
    Passwords(#[from] PasswordError),
}

/// How long a second `serve` waits for the first to stop.
const PATIENCE: Duration = Duration::from_secs(15);

impl App {
    /// Takes the serving lock, loads the index, and starts the writer with what goes on beside it. The task ends when
    /// every clone of this is gone, and the uses of tokens are written by then. Whoever had the lock before may answer by its
    /// last proof for a moment, so this takes at least [`FENCE`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        config: &Config,
        database: &Database,
        clock: Clock,
        faults: Option<Faults>,
        say: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<(Self, JoinHandle<()>), StartError> {
        let passwords = Passwords::new()?;
        let mut session = Session::take(&database.options, PATIENCE, say).await?;
        let fenced_until = clock.boottime() + FENCE;
        let seed: [u8; 16] = crate::clock::random();
        let (low, high) = seed.split_at(8);
        let half = |bytes: &[u8]| bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let index = Arc::new(DigestIndex::new([half(low), half(high)]));
        let metrics = Arc::new(Metrics::default());
        let applier = Applier::load(&mut session.connection, index.clone(), metrics.head.clone()).await?;
        // On an empty log, too: an earlier holder of the lock would call inactive what is issued from now on.
        tokio::time::sleep(fenced_until.saturating_sub(clock.boottime())).await;
        let watch = Watch { since: clock.boottime(), head: applier.applied() };
        let freshness = Arc::new(Freshness::default());
        let applied = applier.applied_handle();
        let parts = Parts {
            metrics: metrics.writer(),
            connect: database.options.clone(),
            applier,
            freshness: freshness.clone(),
            clock: clock.clone(),
            watch,
            limits: Limits { tokens_per_user: config.limits.tokens_per_user },
            faults,
        };
        let limits = parts.limits;
        let (writer, task) = Writer::start(parts, session);
        let usage = Arc::new(Usage::default());
        let (weak, pool) = (writer.downgrade(), database.pool.clone());
        let aside = Aside::new(metrics.expiries_aside.clone());
        let reached = Reached::default();
        let sweeper = Sweeper { writer: weak, pool, clock: clock.clone(), watch, aside, reached };
        let task = tokio::spawn(beside(task, sweeper, usage.clone(), index.clone(), database.pool.clone()));
        let app = Self {
            index,
            freshness,
            applied,
            writer,
            pool: database.pool.clone(),
            clock,
            issuer: Arc::from(config.issuer()),
            prefixes: Arc::new(config.prefixes.clone()),
            memory: Memory::new(&metrics.shed),
            feeds: Arc::new(Feeds::new(&database.pool, metrics.shed.clone())),
            metrics,
            rates: Arc::new(Rates::new(&config.limits)),
            trusted_proxies: Arc::from(config.trusted_proxies.as_slice()),
            drain: Drain::default(),
            usage,
            limits,
            sessions: Arc::default(),
            passwords,
            failures: Arc::new(Failures::new(config.limits.sign_in_failures)),
        };
        Ok((app, task))
    }

    /// Notes that a plaintext was used: through a gateway, or for a call to this service itself. The first use of a
    /// rotated token's new one asks for the end of the earlier one; the index changes when that is applied.
    pub fn note_use(&self, used: Use, by: Option<GatewayId>, at: Timestamp) {
        if !used.noted {
            self.count_use(Used::Working, used.token, by, at);
        }
        if used.ends_earlier && self.usage.is_first(used.token, used.generation) {
            self.end_earlier(used);
        }
    }

    /// Notes that a plaintext was tried after its end, when its token had another one.
    pub fn note_ended_use(&self, token: TokenId, by: Option<GatewayId>, at: Timestamp) {
        self.metrics.ended_plaintexts.increment(1);
        self.count_use(Used::Ended, token, by, at);
    }

    fn count_use(&self, used: Used, token: TokenId, by: Option<GatewayId>, at: Timestamp) {
        if !self.usage.note(used, token, by, at) {
            self.metrics.uses_not_counted.increment(1);
        }
    }

    fn end_earlier(&self, used: Use) {
        let action = Action::EndPrevious { id: used.token, generation: used.generation };
        let request_id = self.clock.uuid();
        let command = Command { actor: Actor::System, request_id, organization: used.home, action };
        let (writer, usage) = (self.writer.clone(), self.usage.clone());
        tokio::spawn(async move {
            // If it fails, the next use asks again.
            let _ = writer.write(command, None).await;
            usage.asked(used.token, used.generation);
        });
    }

    /// Mints a plaintext of a kind, with its hint.
    pub fn mint(&self, kind: Kind) -> (Plaintext, String) {
        let prefix = self.prefixes.of(kind);
        let plaintext = Plaintext::mint(prefix, &crate::clock::random());
        let hint = plaintext.hint(prefix);
        (plaintext, hint)
    }

    /// What the metrics show of this moment.
    pub fn sample(&self) -> Sampled {
        Sampled {
            index: self.index.len(),
            index_bytes: self.index.memory_bytes(),
            applied: self.applied.load(Ordering::Acquire),
            queue: self.writer.waiting(),
            fresh: self.is_fresh(),
            rate_keys: self.rates.keys(),
        }
    }

    /// The instant that a request is judged at: once it has been read completely, and for all of it.
    pub fn at(&self) -> At {
        At { now: self.clock.now(), fresh: self.is_fresh() }
    }

    /// Whether "active" may be answered now.
    pub fn is_fresh(&self) -> bool {
        self.freshness.holds(self.clock.boottime())
    }
}

/// What goes on beside the writer, until the writer ends: expiries are recorded, uses of tokens are written. Neither is
/// cancelled in the middle of a statement.
async fn beside(
    writer: JoinHandle<()>,
    sweeper: Sweeper,
    usage: Arc<Usage>,
    index: Arc<DigestIndex>,
    pool: PgPool,
) {
    let (stop, stopped) = watch::channel(());
    let swept = tokio::spawn(sweeper.run(stopped.clone()));
    let written = tokio::spawn(usage.keep_written(index, pool, stopped));
    let ended = writer.await;
    drop(stop);
    for failed in [ended, swept.await, written.await].into_iter().filter_map(Result::err) {
        if failed.is_panic() {
            std::panic::resume_unwind(failed.into_panic());
        }
    }
}
