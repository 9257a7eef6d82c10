//! COPY's binary form: the quickest way to read a whole table.

use bytes::{Buf, Bytes};
use futures_util::{Stream, TryStreamExt};
use sqlx::PgConnection;
use uuid::Uuid;

/// Why rows could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The server's binary form is not the one that this program knows.
    #[error("the rows did not arrive in the form that was asked for")]
    Form,
}

/// Microseconds from 1970 to 2000, where PostgreSQL's instants begin.
pub(crate) const EPOCH: i64 = 946_684_800_000_000;
/// What COPY's binary form begins with; flags and the length of an extension follow.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// The rows that a COPY in binary form gives, without the header. The last is the mark at the end.
pub(crate) async fn copy<'a>(
    connection: &'a mut PgConnection,
    sql: &str,
) -> Result<impl Stream<Item = Result<Bytes, CopyError>> + Unpin + use<'a>, CopyError> {
    let rows = connection.copy_out_raw(sql).await?.map_err(CopyError::from);
    let mut begun = false;
    Ok(rows.and_then(move |row| {
        let row = if begun { Some(row) } else { body(row) };
        begun = true;
        std::future::ready(row.ok_or(CopyError::Form))
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

    /// The next field, or null: for whoever does not rely on a column's being NOT NULL.
    pub(crate) fn nullable(&mut self) -> Result<Option<&'a [u8]>, CopyError> {
        self.field().ok_or(CopyError::Form)
    }

    /// The next field, which is not null.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], CopyError> {
        self.nullable()?.ok_or(CopyError::Form)
    }

    /// The next field, of a fixed length.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], CopyError> {
        self.bytes()?.try_into().map_err(|_| CopyError::Form)
    }

    /// The next field, an id.
    pub(crate) fn uuid(&mut self) -> Result<Uuid, CopyError> {
        self.array().map(Uuid::from_bytes)
    }

    /// The next field, of a fixed length or null.
    pub(crate) fn optional<const N: usize>(&mut self) -> Result<Option<[u8; N]>, CopyError> {
        let field = self.nullable()?;
        field.map(|bytes| bytes.try_into().map_err(|_| CopyError::Form)).transpose()
    }

    /// The next field, an id or null.
    pub(crate) fn optional_uuid(&mut self) -> Result<Option<Uuid>, CopyError> {
        Ok(self.optional()?.map(Uuid::from_bytes))
    }
}
