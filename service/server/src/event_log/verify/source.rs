//! Where events come from: the table, in COPY's binary form, or a download of the feed. Both arrive in chunks that
//! another thread decodes, so that reading, decoding and folding go on at the same time.

use super::VerifyError;
use bytes::{Buf, Bytes};
use counterfoil_domain::ids::Seq;
use futures_util::TryStreamExt;
use sqlx::PgConnection;
use std::io::BufRead;
use std::path::Path;
use tokio::sync::mpsc::{Receiver, Sender};
use uuid::Uuid;

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
    ends: Vec<usize>,
}

impl Rows {
    fn push(&mut self, row: &[u8]) {
        self.bytes.extend_from_slice(row);
        self.ends.push(self.bytes.len());
    }

    /// Each row.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    /// Makes place for other rows.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Events of a chunk: enough that handing it over costs nothing, few enough that little is under way.
const CHUNK: usize = 1024;
/// What COPY's binary form begins with; flags and the length of an extension follow.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

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
    while let Some(row) = rows.try_next().await? {
        chunk.push(&row);
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

/// The rows that a COPY in binary form gives, without the header. The last is the mark at the end.
pub(crate) async fn copy<'a>(
    connection: &'a mut PgConnection,
    sql: &str,
) -> Result<impl futures_util::Stream<Item = Result<Bytes, VerifyError>> + Unpin + use<'a>, VerifyError> {
    let rows = connection.copy_out_raw(sql).await?.map_err(VerifyError::from);
    let mut begun = false;
    Ok(rows.and_then(move |row| {
        let row = if begun { Some(row) } else { body(row) };
        begun = true;
        std::future::ready(row.ok_or(VerifyError::Copy))
    }))
}

/// What comes after the header.
fn body(mut first: Bytes) -> Option<Bytes> {
    if !first.starts_with(SIGNATURE) || first.len() < SIGNATURE.len() + 8 {
        return None;
    }
    first.advance(SIGNATURE.len() + 4);
    let extension = first.get_u32() as usize;
    (first.len() >= extension).then(|| first.slice(extension..))
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

/// The fields of one row of COPY's binary form.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The next row of `rest` with so many fields. `None` after the last one.
    pub(crate) fn next(rest: &'a [u8], count: u16) -> Option<Self> {
        let (head, fields) = rest.split_first_chunk::<2>()?;
        (u16::from_be_bytes(*head) == count).then_some(Self(fields))
    }

    /// The next field; an inner `None` is SQL's null.
    pub(crate) fn field(&mut self) -> Option<Option<&'a [u8]>> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            self.0 = rest;
            return Some(None);
        };
        let (field, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Some(field))
    }

    /// The next field, which is not null.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], VerifyError> {
        self.field().flatten().ok_or(VerifyError::Copy)
    }

    /// The next field, of a fixed length.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], VerifyError> {
        self.bytes()?.try_into().map_err(|_| VerifyError::Copy)
    }

    /// The next field, an id.
    pub(crate) fn uuid(&mut self) -> Result<Uuid, VerifyError> {
        self.array().map(Uuid::from_bytes)
    }

    /// The next field, an id or null.
    pub(crate) fn optional_uuid(&mut self) -> Result<Option<Uuid>, VerifyError> {
        let field = self.field().ok_or(VerifyError::Copy)?;
        field.map(|bytes| Uuid::from_slice(bytes).map_err(|_| VerifyError::Copy)).transpose()
    }
}
