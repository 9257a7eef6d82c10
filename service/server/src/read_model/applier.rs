//! The applier: the one that changes the digest index, strictly in the order of the log.
//!
//! The writer hands it each batch with the entities that the batch changed. What it has not seen, because another
//! process appended it, it reads from the database first. Every answer waits for it: whoever is told of a success
//! can introspect and see it.

use super::digest_index::DigestIndex;
use super::tables::{LoadError, load, rows, standing};
use crate::event_log::batch::Changed;
use crate::event_log::read::{self, ReadError};
use counterfoil_domain::event::Event;
use counterfoil_domain::ids::Seq;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// See the module. The writer owns it; nobody else can change the index.
pub struct Applier {
    index: Arc<DigestIndex>,
    applied: Arc<AtomicU64>,
    pool: PgPool,
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
    /// The log ends before what was applied: it was restored from an older copy.
    #[error(
        "the log ends at {head}, but {applied} was applied: was the database restored from an older backup?"
    )]
    Behind {
        /// The log's end.
        head: Seq,
        /// What was applied.
        applied: Seq,
    },
}

impl From<sqlx::Error> for ApplyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Load(error.into())
    }
}

impl Applier {
    /// Loads the index from one snapshot.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn load(pool: PgPool, index: Arc<DigestIndex>) -> Result<Self, ApplyError> {
        let mut connection = pool.acquire().await?;
        let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let head = read::head(&mut snapshot).await?;
        load_all(&mut snapshot, &index).await?;
        snapshot.rollback().await?;
        drop(connection);
        Ok(Self { index, applied: Arc::new(AtomicU64::new(head)), pool })
    }

    /// The last event that the index reflects.
    pub fn applied(&self) -> Seq {
        self.applied.load(Ordering::Acquire)
    }

    /// The same, for whoever only reads it.
    pub fn applied_handle(&self) -> Arc<AtomicU64> {
        self.applied.clone()
    }

    /// Applies a batch that was committed after event `before`.
    ///
    /// # Errors
    /// See [`ApplyError`]. The index is then behind, and nothing may be answered from it until this succeeds.
    pub async fn batch(&mut self, before: Seq, last: Seq, changed: &Changed) -> Result<(), ApplyError> {
        if self.applied() != before {
            return self.catch_up(last).await;
        }
        self.put_changed(changed).await?;
        self.applied.store(last, Ordering::Release);
        Ok(())
    }

    async fn put_changed(&self, changed: &Changed) -> Result<(), ApplyError> {
        let (state, from) = (&changed.state, changed.from);
        for organization in state.organizations.values().filter(|o| o.seq >= from) {
            self.index.put_organization(organization);
        }
        let users: Vec<_> = state.users.values().filter(|u| u.seq >= from).collect();
        if !users.is_empty() {
            let mut connection = self.pool.acquire().await?;
            let ids: Vec<Uuid> = users.iter().map(|user| user.email.id.0).collect();
            let texts = load::texts(&mut connection, &ids).await?;
            for user in users {
                self.index.put_user(user, texts.get(&user.email.id.0).map_or("", String::as_str));
            }
        }
        state.gateways.values().filter(|g| g.seq >= from).for_each(|gateway| self.index.put_gateway(gateway));
        state.tokens.values().filter(|t| t.seq >= from).for_each(|token| self.index.put_token(token));
        Ok(())
    }

    /// Reads from the log what was not applied yet, up to its end, which must be `at_least`.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn catch_up(&mut self, at_least: Seq) -> Result<(), ApplyError> {
        let mut connection = self.pool.acquire().await?;
        let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let (head, applied) = (read::head(&mut snapshot).await?, self.applied());
        if head < applied || head < at_least {
            return Err(ApplyError::Behind { head, applied: applied.max(at_least) });
        }
        let events = read::range(&mut snapshot, applied, head).await?;
        let touched = Touched::by(events.iter().map(|event| &event.event));
        touched.load(&mut snapshot, &self.index).await?;
        snapshot.rollback().await?;
        self.applied.store(head, Ordering::Release);
        Ok(())
    }
}

/// What events touched, to be read as it is now.
#[derive(Default)]
struct Touched {
    tokens: BTreeSet<Uuid>,
    /// Owners all of whose tokens were touched.
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

    async fn load(&self, connection: &mut PgConnection, index: &DigestIndex) -> Result<(), ApplyError> {
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
        for token in
            load::tokens_where(connection, "user_id = ANY($1) OR gateway_id = ANY($1)", &ids(&self.all_of))
                .await?
        {
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
    standing::standing(connection, |token| index.put_token(token)).await?;
    Ok(())
}
