//! The applier: the one that changes the digest index, strictly in the order of the log.
//!
//! The writer hands it each batch that was committed, with the entities that the batch changed, and that takes no SQL:
//! what is committed is applied, whatever becomes of the database. What the applier has not seen, because another
//! process appended it, it reads before a batch is decided, in the batch's own transaction, or when freshness is
//! proved. Every answer waits for it: whoever is told of a success can introspect and see it.

use super::digest_index::DigestIndex;
use super::freshness::Doubt;
use super::tables::{LoadError, load, rows, standing};
use crate::event_log::append::{self, Head};
use crate::event_log::batch::{Changed, Committed};
use crate::event_log::failure::connection_is_gone;
use crate::event_log::read::{self, ReadError};
use counterfoil_domain::event::Event;
use counterfoil_domain::ids::Seq;
use counterfoil_domain::plaintext::Digest;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// Events that are read at a time: what another process appended is not bounded.
const STRETCH: Seq = 5_000;
/// How long the database may take over one stretch.
const ANSWER: Duration = Duration::from_secs(5);

/// See the module. The writer owns it; nobody else can change the index.
pub struct Applier {
    index: Arc<DigestIndex>,
    applied: Arc<AtomicU64>,
    /// The last event that was seen in the log, for the metrics: beside what is applied, it shows who lags.
    seen: Arc<AtomicU64>,
    /// The chain value of the last applied event: what a restored log of any length has not got there.
    chain: Digest,
}

/// Why the index could not be brought up to the log.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A row or the database.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The log.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log does not hold what was applied.
    #[error(
        "the log, which ends at event {head}, is not the one whose event {applied} was applied: was the database restored from a backup, or its log edited?"
    )]
    AnotherLog {
        /// The log's end.
        head: Seq,
        /// What was applied.
        applied: Seq,
    },
    /// A batch was committed after something that was not applied.
    #[error("a batch was committed after event {before}, but {applied} was applied")]
    OutOfOrder {
        /// The event before the batch.
        before: Seq,
        /// What was applied.
        applied: Seq,
    },
}

impl ApplyError {
    /// What it says of this node, where the connection is not gone.
    pub fn doubt(&self) -> Doubt {
        match self {
            Self::AnotherLog { .. } | Self::Read(ReadError::Chain { .. }) => Doubt::AnotherLog,
            _ => Doubt::Behind,
        }
    }

    /// The driver's error, if it means that the connection is gone.
    ///
    /// # Errors
    /// This error, if it means something else.
    pub fn into_lost(self) -> Result<sqlx::Error, Self> {
        match self {
            Self::Load(LoadError::Database(error)) | Self::Read(ReadError::Database(error))
                if connection_is_gone(&error) =>
            {
                Ok(error)
            }
            error => Err(error),
        }
    }
}

impl From<sqlx::Error> for ApplyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Load(error.into())
    }
}

impl Applier {
    /// Loads the index from one snapshot. The last event that is seen in the log goes to `seen`, from then on.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn load(
        connection: &mut PgConnection,
        index: Arc<DigestIndex>,
        seen: Arc<AtomicU64>,
    ) -> Result<Self, ApplyError> {
        let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let head = append::head(&mut snapshot).await?;
        load_all(&mut snapshot, &index).await?;
        snapshot.rollback().await?;
        seen.store(head.seq, Ordering::Relaxed);
        Ok(Self { index, applied: Arc::new(AtomicU64::new(head.seq)), seen, chain: head.chain })
    }

    /// The last event that the index reflects.
    pub fn applied(&self) -> Seq {
        self.applied.load(Ordering::Acquire)
    }

    /// The same, for whoever only reads it.
    pub fn applied_handle(&self) -> Arc<AtomicU64> {
        self.applied.clone()
    }

    /// Applies what a batch changed, unless that was read from the log meanwhile. Nothing of it can fail.
    ///
    /// # Errors
    /// [`ApplyError::OutOfOrder`]: the log was not followed before the batch was decided.
    pub fn batch(&mut self, committed: &Committed) -> Result<(), ApplyError> {
        let (applied, before) = (self.applied(), committed.before);
        if applied >= committed.last {
            return Ok(());
        }
        if applied != before {
            return Err(ApplyError::OutOfOrder { before, applied });
        }
        self.put(&committed.changed);
        self.reach(committed.last, committed.chain);
        Ok(())
    }

    fn reach(&mut self, last: Seq, chain: Digest) {
        self.chain = chain;
        self.seen.fetch_max(last, Ordering::Relaxed);
        self.applied.store(last, Ordering::Release);
    }

    fn put(&self, changed: &Changed) {
        let (state, from) = (&changed.state, changed.from);
        for organization in state.organizations.values().filter(|o| o.seq >= from) {
            self.index.put_organization(organization);
        }
        for user in state.users.values().filter(|u| u.seq >= from) {
            let email = changed.emails.get(&user.email.id.0);
            self.index.put_user(user, email.map_or("", String::as_str));
        }
        state.gateways.values().filter(|g| g.seq >= from).for_each(|gateway| self.index.put_gateway(gateway));
        state.tokens.values().filter(|t| t.seq >= from).for_each(|token| self.index.put_token(token));
    }

    /// Follows the log up to its end, which was just read on the same connection, and sees that it is the log that was
    /// applied. Entities are read as they are now, so some may be newer than the event that the index is then said to
    /// reflect; what has ended stays so.
    ///
    /// # Errors
    /// See [`ApplyError`]. The index is then behind, and nothing may be answered from it until this succeeds.
    pub async fn follow(&mut self, connection: &mut PgConnection, head: &Head) -> Result<(), ApplyError> {
        // At once: whatever cannot be applied lies between this and what is.
        self.seen.store(head.seq, Ordering::Relaxed);
        while self.applied() < head.seq {
            let until = head.seq.min(self.applied() + STRETCH);
            let read = tokio::time::timeout(ANSWER, self.stretch(connection, until)).await;
            let chain =
                read.unwrap_or_else(|_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()).into()))?;
            self.reach(until, chain);
        }
        let applied = self.applied();
        if head.seq < applied || head.chain != self.chain {
            return Err(ApplyError::AnotherLog { head: head.seq, applied });
        }
        Ok(())
    }

    /// Puts what the next events touched, and says what the last one's chain value is.
    async fn stretch(&self, connection: &mut PgConnection, until: Seq) -> Result<Digest, ApplyError> {
        let (events, chain) = read::range(connection, self.applied(), self.chain, until).await?;
        let touched = Touched::by(events.iter().map(|event| &event.event));
        touched.load(connection, &self.index, self.applied()).await?;
        Ok(chain)
    }
}

/// What events touched, to be read as it is now.
#[derive(Default)]
struct Touched {
    tokens: BTreeSet<Uuid>,
    /// Owners all of whose standing tokens ended.
    all_of: BTreeSet<Uuid>,
    users: BTreeSet<Uuid>,
    organizations: BTreeSet<Uuid>,
    gateways: BTreeSet<Uuid>,
}

impl Touched {
    fn by<'a>(events: impl Iterator<Item = &'a Event>) -> Self {
        let mut t = Self::default();
        for event in events {
            match event {
                Event::OrganizationCreated(body) => drop(t.organizations.insert(body.id.0)),
                Event::EnvironmentCreated(_) => {}
                Event::UserCreated(body) => drop(t.users.insert(body.id.0)),
                Event::PasswordSet(body) => drop(t.users.insert(body.user_id.0)),
                Event::MemberAdded(body) => drop(t.users.insert(body.user_id.0)),
                Event::GatewayRegistered(body) => drop(t.gateways.insert(body.id.0)),
                Event::GatewayChanged(body) => drop(t.gateways.insert(body.id.0)),
                Event::GatewayRemoved(body) => {
                    t.gateways.insert(body.id.0);
                    t.all_of.insert(body.id.0);
                }
                Event::TokensRevokedAll(body) => drop(t.all_of.insert(body.user_id.0)),
                Event::TokenIssued(body) => drop(t.tokens.insert(body.id.0)),
                Event::TokenScoped(body) => drop(t.tokens.insert(body.id.0)),
                Event::TokenRenamed(_) => {}
                Event::TokenRotated(body) => drop(t.tokens.insert(body.id.0)),
                Event::TokenDisabled(body) => drop(t.tokens.insert(body.id.0)),
                Event::TokenEnabled(body) => drop(t.tokens.insert(body.id.0)),
                Event::TokenExpired(body) => drop(t.tokens.insert(body.id.0)),
                Event::TokenRevoked(body) => drop(t.tokens.insert(body.id.0)),
                Event::PreviousEnded(body) => drop(t.tokens.insert(body.id.0)),
            }
        }
        t
    }

    /// Puts them into an index that has everything up to `applied`.
    async fn load(
        &self,
        connection: &mut PgConnection,
        index: &DigestIndex,
        applied: Seq,
    ) -> Result<(), ApplyError> {
        let ids = |set: &BTreeSet<Uuid>| set.iter().copied().collect::<Vec<Uuid>>();
        shared(
            connection,
            index,
            "WHERE id = ANY($1)",
            &ids(&self.organizations),
            &ids(&self.users),
            &ids(&self.gateways),
        )
        .await?;
        for token in load::tokens_where(connection, "id = ANY($1)", &ids(&self.tokens)).await? {
            index.put_token(&token);
        }
        for token in load::ended_after(connection, &ids(&self.all_of), applied).await? {
            index.put_token(&token);
        }
        Ok(())
    }
}

/// Organizations, users and gateways under a condition.
async fn shared(
    connection: &mut PgConnection,
    index: &DigestIndex,
    condition: &'static str,
    organizations: &[Uuid],
    users: &[Uuid],
    gateways: &[Uuid],
) -> Result<(), ApplyError> {
    let select = |columns, table| AssertSqlSafe(format!("SELECT {columns} FROM {table} {condition}"));
    for row in sqlx::query(select(rows::ORGANIZATION, "organizations"))
        .bind(organizations)
        .fetch_all(&mut *connection)
        .await?
    {
        index.put_organization(&rows::organization(&row)?);
    }
    let found = sqlx::query(select(rows::USER, "users")).bind(users).fetch_all(&mut *connection).await?;
    let found: Vec<_> = found.iter().map(rows::user).collect::<Result<_, _>>()?;
    let emails: Vec<Uuid> = found.iter().map(|user| user.email.id.0).collect();
    let texts: HashMap<Uuid, String> = load::texts(connection, &emails).await?;
    for user in &found {
        index.put_user(user, texts.get(&user.email.id.0).map_or("", String::as_str));
    }
    for row in
        sqlx::query(select(rows::GATEWAY, "gateways")).bind(gateways).fetch_all(&mut *connection).await?
    {
        index.put_gateway(&rows::gateway(&row)?);
    }
    Ok(())
}

async fn load_all(connection: &mut PgConnection, index: &DigestIndex) -> Result<(), ApplyError> {
    shared(connection, index, "WHERE true OR id = ANY($1)", &[], &[], &[]).await?;
    index.reserve(standing::about(connection).await?);
    standing::standing(connection, |token| index.put_token(token)).await?;
    Ok(())
}
