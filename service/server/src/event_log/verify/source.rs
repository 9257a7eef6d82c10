//! Where events come from: the table, in COPY's binary form, or a download of the feed. Both arrive in chunks that
//! another thread decodes, so that reading, decoding and folding go on at the same time.

use super::VerifyError;
use super::decode::{Follows, Links, chained};
use crate::postgres::copy::copy;
use counterfoil_domain::ids::Seq;
use futures_util::TryStreamExt;
use sqlx::PgConnection;
use std::io::BufRead;
use std::path::Path;
use tokio::sync::mpsc::{Receiver, Sender};

/// Some events as they are stored.
pub(crate) enum Chunk {
    /// Rows of the table.
    Rows(Rows),
    /// Lines of a download, from the line of this number on.
    Lines(u64, Vec<String>),
}

/// Rows in COPY's binary form, one after the other. They are copied out of the driver's buffer, which it can use
/// again then; kept, they would make it ask for fresh memory for the whole log.
#[derive(Default)]
pub(crate) struct Rows {
    bytes: Vec<u8>,
    /// Where each row ends, and whether its chain value follows.
    ends: Vec<(usize, Follows)>,
}

impl Rows {
    fn push(&mut self, row: &[u8], follows: Follows) {
        self.bytes.extend_from_slice(row);
        self.ends.push((self.bytes.len(), follows));
    }

    /// Each row, and whether its chain value follows.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], Follows)> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
        starts.zip(&self.ends).map(|(start, (end, follows))| (&self.bytes[start..*end], *follows))
    }

    /// Makes place for other rows.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Events of a chunk: enough that handing it over costs nothing, few enough that little is under way.
const CHUNK: usize = 1024;
/// Streams the events up to `until` out of the table. What was walked comes back in `used`, to be filled again.
pub(crate) async fn rows(
    connection: &mut PgConnection,
    until: Option<Seq>,
    chunks: Sender<Chunk>,
    mut used: Receiver<Rows>,
) -> Result<(), VerifyError> {
    // COPY takes no parameters; the position is a number.
    let until = until.map_or_else(String::new, |seq| format!("WHERE seq <= {seq}"));
    let sql = format!(
        "COPY (SELECT seq, record, chain, type, organization_id, subject_id, user_id, decided_at FROM events {until}
         ORDER BY seq) TO STDOUT (FORMAT binary)"
    );
    let mut chunk = Rows::default();
    let mut rows = copy(connection, &sql).await?;
    // The chain needs nothing that is folded, so it is computed here: the thread that folds is the busier one.
    let mut links = Links::default();
    while let Some(row) = rows.try_next().await? {
        let follows = chained(&row)?.and_then(|(seq, record, chain)| links.follows(seq, record, chain));
        chunk.push(&row, follows);
        if chunk.ends.len() == CHUNK {
            let next = used.try_recv().unwrap_or_default();
            // Nobody listens any more if the walk failed; it says so itself.
            if chunks.send(Chunk::Rows(std::mem::replace(&mut chunk, next))).await.is_err() {
                return Ok(());
            }
        }
    }
    let _ = chunks.send(Chunk::Rows(chunk)).await;
    Ok(())
}

/// About how many tokens there are.
pub(crate) async fn tokens(connection: &mut PgConnection) -> Result<u64, VerifyError> {
    let sql = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'tokens'::regclass";
    Ok(sqlx::query_scalar::<_, i64>(sql).fetch_one(connection).await? as u64)
}

/// Reads the lines of a download. Blocks; it is for a thread of its own.
pub(crate) fn lines(path: &Path, chunks: &Sender<Chunk>) -> Result<(), VerifyError> {
    let mut file = std::io::BufReader::with_capacity(1 << 20, std::fs::File::open(path)?);
    let (mut chunk, mut number) = (Vec::with_capacity(CHUNK), 1);
    loop {
        let mut line = String::new();
        let read = file.read_line(&mut line)?;
        if read > 0 {
            chunk.push(line);
        }
        if chunk.len() == CHUNK || read == 0 {
            let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK));
            let count = full.len() as u64;
            if chunks.blocking_send(Chunk::Lines(number, full)).is_err() || read == 0 {
                return Ok(());
            }
            number += count;
        }
    }
}
