//! Rebuilding: the derived tables are emptied and written anew, as the events fold.
//!
//! **Alone.** Under the serving lock, for the index of a running service would go on from what the tables said before; and
//! under the append lock, in one transaction: nobody sees tables that are half written, and who stops it has changed nothing.
//!
//! **From a whole log only.** Where the walk finds anything wrong with the log, nothing follows from it, and no table is
//! touched. What is not derived from events (personal values, passwords, sessions, uses, in which era a user's claims
//! are) stays as it is.
//!
//! It empties by DELETE: the service's role may do that and no more, in whichever arrangement of roles.

use super::APPEND_LOCK;
use super::failure::connection_is_gone;
use super::session::{Session, SessionError};
use super::verify::{Findings, Progress, VerifyError, Walk, walk_table};
use crate::read_model::tables::beside::folded;
use crate::read_model::tables::claims::{self, Claims};
use crate::read_model::tables::{LoadError, load, store};
use counterfoil_domain::ids::Seq;
use counterfoil_domain::state::State;
use counterfoil_domain::token::Token;
use counterfoil_domain::user::User;
use futures_util::TryStreamExt;
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The tables that are derived from events, claims and ways in included.
const TABLES: [&str; 8] = [
    "organizations",
    "environments",
    "users",
    "gateways",
    "tokens",
    "claimed_slots",
    "claimed_digests",
    "sign_in_names",
];

/// Rows that are written at a time.
const ROWS: usize = 5_000;

/// What became of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Its name.
    pub table: &'static str,
    /// Rows that it has now.
    pub rows: u64,
    /// Rows that were other ones, missing or too many.
    pub changed: u64,
}

/// What rebuilding came to.
#[derive(Debug)]
pub struct Rebuilt {
    /// How many events were folded.
    pub events: u64,
    /// The last one's position.
    pub head: Seq,
    /// Its chain value, in hexadecimal digits.
    pub chain: String,
    /// Each table.
    pub tables: Vec<Table>,
}

/// Why it is not done, or may not be.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// There is no session with the serving lock.
    #[error("nothing was changed: {0}")]
    Session(#[from] SessionError),
    /// The log could not be walked.
    #[error("nothing was changed: {0}")]
    Walk(#[from] VerifyError),
    /// The log is damaged.
    #[error("nothing was changed, for nothing follows from a log that is damaged ({} found)", .0.count)]
    Damaged(Findings),
    /// A table could not be written.
    #[error("nothing was changed: {0}")]
    Database(#[from] sqlx::Error),
    /// The connection was lost at COMMIT.
    #[error(
        "the connection was lost at the commit, so it is not known whether the tables were written anew ({0}): all of them were, or none; `counterfoil verify` says whether they are right"
    )]
    Unknown(#[source] sqlx::Error),
    /// A personal value could not be read.
    #[error("nothing was changed: {0}")]
    Load(#[from] LoadError),
}

/// Folds the log and writes every derived table anew.
///
/// # Errors
/// See [`RebuildError`]. Nothing was changed then, unless it says otherwise.
pub async fn rebuild(options: &PgConnectOptions, progress: &Arc<Progress>) -> Result<Rebuilt, RebuildError> {
    let mut session = Session::try_take(options).await?;
    let rebuilt = under_the_lock(&mut session.connection, progress).await;
    session.close().await;
    rebuilt
}

async fn under_the_lock(
    connection: &mut PgConnection,
    progress: &Arc<Progress>,
) -> Result<Rebuilt, RebuildError> {
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(APPEND_LOCK).execute(&mut *transaction).await?;
    let walk = walk_table(&mut transaction, None, progress).await?;
    if walk.findings.count > 0 {
        return Err(RebuildError::Damaged(walk.findings));
    }
    let mut before = Vec::new();
    for table in TABLES {
        let sql = format!("DELETE FROM {table} t RETURNING {FINGERPRINT}");
        before.push(fingerprints(&mut transaction, sql).await?);
    }
    sqlx::query(ERAS).execute(&mut *transaction).await?;
    write(&mut transaction, &walk.state, progress).await?;
    let mut tables = Vec::new();
    for (table, before) in TABLES.into_iter().zip(before) {
        let sql = format!("SELECT {FINGERPRINT} FROM {table} t");
        let after = fingerprints(&mut transaction, sql).await?;
        tables.push(Table { table, rows: after.values().sum(), changed: differing(&before, &after) });
    }
    transaction.commit().await.map_err(of_commit)?;
    let Walk { events, .. } = walk;
    Ok(Rebuilt { events, head: walk.head(), chain: walk.chain().hex(), tables })
}

/// One era of each user stays, where the keys of the table were dropped: claims can be of one only.
const ERAS: &str = "DELETE FROM slot_eras e WHERE user_id IS NULL OR era IS NULL OR EXISTS (
    SELECT 1 FROM slot_eras f WHERE f.user_id = e.user_id AND (f.era, f.ctid) > (e.era, e.ctid))";

/// What a COMMIT that failed means: one whose answer was lost may have been done.
fn of_commit(error: sqlx::Error) -> RebuildError {
    if connection_is_gone(&error) { RebuildError::Unknown(error) } else { error.into() }
}

/// A whole row as one number: the rows from before need not be kept to say how many are other ones.
const FINGERPRINT: &str = "hashtextextended(t::text, 0)";

/// How often each fingerprint is there: where a key was dropped, a row may be there twice.
type Fingerprints = HashMap<i64, u64>;

async fn fingerprints(connection: &mut PgConnection, sql: String) -> Result<Fingerprints, sqlx::Error> {
    let mut found = Fingerprints::new();
    // The text is made of constants only.
    let mut rows = sqlx::query_scalar(AssertSqlSafe(sql)).fetch(connection);
    while let Some(fingerprint) = rows.try_next().await? {
        *found.entry(fingerprint).or_default() += 1;
    }
    Ok(found)
}

/// How many rows differ. One that was changed is gone, and there anew.
fn differing(before: &Fingerprints, after: &Fingerprints) -> u64 {
    let lacking = |of: &Fingerprints, other: &Fingerprints| -> u64 {
        of.iter().map(|(row, count)| count.saturating_sub(*other.get(row).unwrap_or(&0))).sum()
    };
    lacking(before, after).max(lacking(after, before))
}

/// Writes a folded state into tables that are empty.
async fn write(
    connection: &mut PgConnection,
    state: &State,
    progress: &Progress,
) -> Result<(), RebuildError> {
    let mut written = 0;
    let mut count = |rows: usize| {
        written += rows as u64;
        progress.rows.store(written, Ordering::Relaxed);
    };
    let organizations: Vec<_> = state.organizations.values().collect();
    store::organizations(connection, &organizations).await?;
    let environments: Vec<_> = state.environments.values().collect();
    store::environments(connection, &environments).await?;
    count(organizations.len() + environments.len());
    for gateways in state.gateways.values().collect::<Vec<_>>().chunks(ROWS) {
        store::gateways(connection, gateways).await?;
        count(gateways.len());
    }
    for users in state.users.values().collect::<Vec<_>>().chunks(ROWS) {
        store::users(connection, users).await?;
        sign_in_names(connection, users).await?;
        count(users.len());
    }
    for tokens in state.tokens.values().map(Box::as_ref).collect::<Vec<&Token>>().chunks(ROWS) {
        store::tokens(connection, tokens).await?;
        let mut held = Claims::default();
        tokens.iter().for_each(|token| held.add(token));
        claims::insert(connection, &held).await?;
        count(tokens.len());
    }
    Ok(())
}

/// An address leads to the user whose it is. A value that is not the one that an event commits to leads nowhere: that
/// would let in whoever wrote it there.
async fn sign_in_names(connection: &mut PgConnection, users: &[&User]) -> Result<(), RebuildError> {
    let mut read = State::default();
    load::load_values(connection, &mut read, users.iter().map(|user| user.email.id).collect()).await?;
    let addresses = users.iter().filter_map(|user| {
        let value = read.values.get(&user.email.id)?;
        (value.reference() == user.email).then(|| (folded(&value.text), user.id.0))
    });
    let (keys, ids): (Vec<String>, Vec<_>) = addresses.unzip();
    sqlx::query("INSERT INTO sign_in_names (key, user_id) SELECT * FROM UNNEST($1::text[], $2::uuid[])")
        .bind(keys)
        .bind(ids)
        .execute(connection)
        .await?;
    Ok(())
}
