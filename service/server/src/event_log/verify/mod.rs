//! Verification: the log proves the tables, and the chain proves the log.
//!
//! One snapshot of the database is read whole, without a lock. Every event must follow from the one before (position,
//! chain, instant), be readable, agree with its copies in columns, and be able to happen; folded from nothing, the
//! events must give exactly the rows that are there, with every claim, and commit to exactly the personal values that
//! are there. No event of this version erases a value, so one that is missing is a difference; an event that does will
//! take what it erases from what is expected (`walk::Walk::values`).
//!
//! What cannot be found: a rewriting of the whole rest of the log with all that follows from it, which needs a proof
//! kept outside (the head's chain value is printed for that); and changes to what is not derived from events, such
//! as sessions, or one password's hash in another's place.
//!
//! A download of the feed is walked by the same code, with what it has: see [`download`]. One that was cut, or that is
//! none, is a finding: whoever asks about a file must not be told that half of it is whole.

pub mod extent;
pub mod findings;
pub mod walk;

mod claims;
mod decode;
mod seen;
mod source;
mod tables;
mod tokens;
mod values;

pub use extent::{End, Extent};
pub use findings::{Difference, Findings};
pub use walk::{Until, Walk};

use crate::postgres::copy::CopyError;
use counterfoil_domain::ids::Seq;
use decode::Decoder;
use source::{Chunk, Rows};
use sqlx::{Connection, PgConnection, PgPool};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinHandle, spawn_blocking};

/// Why verification could not be done. What was found is no error.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The database.
    #[error("the database cannot be read: {0}")]
    Database(#[from] sqlx::Error),
    /// The file.
    #[error("the file cannot be read: {0}")]
    File(#[from] std::io::Error),
    /// The server's binary form is not the one that this program knows.
    #[error("the events did not arrive in the form that was asked for")]
    Copy,
    /// There is no such moment.
    #[error("the log ends at event {0}")]
    Beyond(Seq),
    /// A download says nothing of such a moment.
    #[error("the download ends at event {0}")]
    BeyondDownload(Seq),
    /// A thread ended early.
    #[error("the walk was interrupted")]
    Interrupted,
}

impl From<CopyError> for VerifyError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Database(error) => Self::Database(error),
            CopyError::Form => Self::Copy,
        }
    }
}

/// How far it has come. Whoever started it looks now and then.
#[derive(Debug, Default)]
pub struct Progress {
    /// Events walked.
    pub events: AtomicU64,
    /// Events there are; 0 while that is not known.
    pub all: AtomicU64,
    /// Rows compared.
    pub rows: AtomicU64,
}

/// What verification came to.
#[derive(Debug)]
pub struct Verified {
    /// How many events there are.
    pub events: u64,
    /// The last one's position.
    pub head: Seq,
    /// Its chain value, in hexadecimal digits: kept elsewhere, it proves the log up to here for ever.
    pub chain: String,
    /// Rows that were compared.
    pub rows: u64,
    /// All that differs.
    pub findings: Findings,
    /// What a download lacks.
    pub extent: Extent,
}

/// Begins a transaction that reads one snapshot, for as long as that takes: the pool's connections have a limit for what
/// clients ask.
pub(crate) const SNAPSHOT: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0";

/// Verifies the database, on two connections.
///
/// # Errors
/// See [`VerifyError`]. What is wrong with the data is no error, but found.
pub async fn verify(pool: &PgPool, progress: &Arc<Progress>) -> Result<Verified, VerifyError> {
    // Both at once: what is found at the end of a long walk is not given up for want of a connection.
    let (mut connection, mut beside) = (pool.acquire().await?, pool.acquire().await?);
    // A connection on which a stream was left in the middle is of no use to the pool.
    connection.close_on_drop();
    beside.close_on_drop();
    let mut snapshot = connection.begin_with(SNAPSHOT).await?;
    let mut walk = walk_table(&mut snapshot, None, progress).await?;
    let name: String = sqlx::query_scalar("SELECT pg_export_snapshot()").fetch_one(&mut *snapshot).await?;
    let rows = tables::compare(&mut snapshot, (beside, name), &mut walk, progress).await?;
    snapshot.rollback().await?;
    Ok(verified(walk, rows))
}

/// Verifies a download of the feed: order, chain, and that what is there can have happened. Where events are missing,
/// the chain has no hold on the event after the gap, and what depends on them cannot be judged; [`Extent`] says so.
///
/// # Errors
/// See [`VerifyError`].
pub async fn download(path: &Path, progress: &Arc<Progress>) -> Result<Verified, VerifyError> {
    Ok(verified(walk_file(path, None, progress).await?, 0))
}

fn verified(walk: Walk, rows: u64) -> Verified {
    let (events, head, chain, extent) = (walk.events, walk.head(), walk.chain().hex(), walk.extent);
    Verified { events, head, chain, rows, findings: walk.into_findings(), extent }
}

/// Walks the table's events, in a snapshot.
pub(crate) async fn walk_table(
    snapshot: &mut PgConnection,
    until: Option<Until>,
    progress: &Arc<Progress>,
) -> Result<Walk, VerifyError> {
    let head = super::read::head(snapshot).await?;
    progress.all.store(head, Ordering::Relaxed);
    let last = match until {
        Some(Until::Seq(seq)) if seq > head => return Err(VerifyError::Beyond(head)),
        Some(Until::Seq(seq)) => Some(seq),
        _ => None,
    };
    let mut walk = Walk { until, ..Walk::default() };
    // A map that grows while it is filled is copied time and again. The estimate costs nothing and may be wrong.
    walk.state.tokens.reserve(source::tokens(snapshot).await?.min(head) as usize);
    let (chunks, used, walk) = start(walk, progress);
    source::rows(snapshot, last, chunks, used).await?;
    let mut walk = walk.await.map_err(|_| VerifyError::Interrupted)??;
    // Nothing comes after these that would show it.
    walk.gap(walk.head(), last.map_or(0, |last| last + 1));
    Ok(walk)
}

/// Walks a download's events.
pub(crate) async fn walk_file(
    path: &Path,
    until: Option<Until>,
    progress: &Arc<Progress>,
) -> Result<Walk, VerifyError> {
    let (chunks, _, walk) = start(Walk { until, is_download: true, ..Walk::default() }, progress);
    let path = path.to_owned();
    let read = spawn_blocking(move || source::lines(&path, &chunks));
    read.await.map_err(|_| VerifyError::Interrupted)??;
    let mut walk = walk.await.map_err(|_| VerifyError::Interrupted)??;
    walk.conclude();
    match until {
        Some(Until::Seq(seq)) if seq > walk.reached() && walk.findings.count == 0 => {
            Err(VerifyError::BeyondDownload(walk.reached()))
        }
        _ => Ok(walk),
    }
}

/// A walk under way.
type Walking = JoinHandle<Result<Walk, VerifyError>>;

/// Chunks that wait for being folded.
const UNDER_WAY: usize = 4;

/// Starts the thread that decodes and folds, while what comes next is read.
fn start(mut walk: Walk, progress: &Arc<Progress>) -> (Sender<Chunk>, Receiver<Rows>, Walking) {
    let (chunks, mut read) = channel::<Chunk>(UNDER_WAY);
    let (done, used) = channel(UNDER_WAY);
    let progress = progress.clone();
    let walking = spawn_blocking(move || {
        let mut decoder = Decoder::default();
        while let Some(chunk) = read.blocking_recv() {
            decoder.decode(&chunk, |read| walk.take(read))?;
            progress.events.store(walk.events, Ordering::Relaxed);
            if let Chunk::Rows(mut rows) = chunk {
                rows.clear();
                // Whoever reads may have enough.
                let _ = done.try_send(rows);
            }
        }
        Ok(walk)
    });
    (chunks, used, walking)
}
