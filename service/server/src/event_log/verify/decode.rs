//! Decoding: stored bytes to events, with all that can be said of one event alone or beside the one before.

use super::VerifyError;
use super::extent::End;
use super::source::Chunk;
use crate::postgres::copy::{EPOCH, Fields};
use counterfoil_domain::event::{CHAIN_START, Recorded, Undecodable, chain};
use counterfoil_domain::ids::Seq;
use counterfoil_domain::plaintext::Digest;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use uuid::Uuid;

/// What was read.
#[expect(clippy::large_enum_variant, reason = "nearly all are events, and each is handed on at once")]
pub(crate) enum Read {
    /// An event.
    Event(Stored),
    /// The last line of a stream.
    End(End),
    /// A line that belongs to no download, and what it is.
    Strange(u64, String),
    /// The file ends within a line.
    Cut,
}

/// An event and what its storing says.
pub(crate) struct Stored {
    /// The position by which it was found.
    pub(crate) seq: Seq,
    pub(crate) event: Result<Recorded, Undecodable>,
    pub(crate) chain: Digest,
    pub(crate) follows: Follows,
    /// Copies in columns that differ from the record.
    pub(crate) wrong: Vec<&'static str>,
    /// The copies that the state explains: subject and user.
    pub(crate) about: Option<(Uuid, Option<Uuid>)>,
}

/// Whether a chain value follows from the one before; `None` if the one before is not there.
pub(crate) type Follows = Option<bool>;

/// The chain, link by link. Remembers the last event.
#[derive(Default)]
pub(crate) struct Links {
    before: Option<(Seq, Digest)>,
}

impl Links {
    fn before(&self) -> (Seq, Digest) {
        self.before.unwrap_or((0, CHAIN_START))
    }

    /// Whether the next event's chain value follows.
    pub(crate) fn follows(&mut self, seq: Seq, record: &str, value: Digest) -> Follows {
        let before = self.before();
        self.before = Some((seq, value));
        (before.0.checked_add(1) == Some(seq)).then(|| chain(&before.1, record) == value)
    }
}

/// A row's position, record and chain value; `None` for the mark at the end.
pub(crate) fn chained(row: &[u8]) -> Result<Option<(Seq, &str, Digest)>, VerifyError> {
    if row == [0xff, 0xff] {
        return Ok(None);
    }
    first(&mut Fields::next(row, COLUMNS).ok_or(VerifyError::Copy)?).map(Some)
}

/// Columns of a row.
const COLUMNS: u16 = 8;

/// Where constraints were dropped, anything may be null: that is position 0, which is none, and an empty record, which
/// no event is.
fn first<'a>(fields: &mut Fields<'a>) -> Result<(Seq, &'a str, Digest), VerifyError> {
    let seq = fields.optional()?.map_or(0, i64::from_be_bytes) as Seq;
    let record =
        std::str::from_utf8(fields.nullable()?.unwrap_or_default()).map_err(|_| VerifyError::Copy)?;
    // One of another length is one that does not follow.
    let digest = fields.nullable()?.and_then(|bytes| bytes.try_into().ok());
    Ok((seq, record, digest.map_or(CHAIN_START, Digest)))
}

/// Reads what was stored.
#[derive(Default)]
pub(crate) struct Decoder {
    /// Of a download.
    links: Links,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    chain: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// A problem document: what is written to a file where nobody looked at the status.
#[derive(Deserialize)]
struct Refusal {
    title: String,
    #[serde(rename = "status")]
    _status: u16,
}

/// A page of the feed.
#[derive(Deserialize)]
struct Page {
    #[serde(rename = "items")]
    _items: Vec<IgnoredAny>,
}

/// Whether a file ends within this line. A whole document may have lost the end of its line and nothing else.
fn is_cut(line: &str) -> bool {
    !line.ends_with('\n') && serde_json::from_str::<IgnoredAny>(line).is_err_and(|error| error.is_eof())
}

/// What a line is that belongs to no stream.
fn strange(line: &str) -> String {
    if let Ok(Refusal { title, .. }) = serde_json::from_str(line) {
        return format!("this is no download but a refusal, {title:?}");
    }
    match serde_json::from_str::<Page>(line) {
        Ok(_) => "this is a page of the feed, and not its stream (Accept: application/x-ndjson)".into(),
        Err(_) => "this is no line of the feed's stream".into(),
    }
}

impl Decoder {
    /// Decodes a chunk and hands out what it holds, one by one: what is decoded dies where it was made, or the
    /// allocator could not use its place again.
    pub(crate) fn decode(&mut self, chunk: &Chunk, mut take: impl FnMut(Read)) -> Result<(), VerifyError> {
        match chunk {
            Chunk::Rows(rows) => {
                for (row, follows) in rows.iter() {
                    if let Some(stored) = stored_row(row, follows)? {
                        take(Read::Event(stored));
                    }
                }
            }
            Chunk::Lines(number, lines) => {
                for (line, number) in lines.iter().zip(*number..) {
                    take(self.line(line, number));
                }
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &str, number: u64) -> Read {
        if let Ok(Line { chain, record }) = serde_json::from_str(line)
            && let Some(chain) = Digest::from_hex(&chain)
        {
            return Read::Event(self.of_line(record.get(), chain));
        }
        match serde_json::from_str(line) {
            Ok(end) => Read::End(end),
            Err(_) if is_cut(line) => Read::Cut,
            Err(_) => Read::Strange(number, strange(line)),
        }
    }

    fn of_line(&mut self, record: &str, value: Digest) -> Stored {
        let event = Recorded::decode(record);
        // One that cannot be read is taken for the next one: nothing else says where it stands.
        let seq = event.as_ref().map_or(self.links.before().0.saturating_add(1), |recorded| recorded.seq);
        let follows = self.links.follows(seq, record, value);
        Stored { seq, event, chain: value, follows, wrong: Vec::new(), about: None }
    }
}

/// A row; `None` for the mark at the end.
fn stored_row(row: &[u8], follows: Follows) -> Result<Option<Stored>, VerifyError> {
    if row == [0xff, 0xff] {
        return Ok(None);
    }
    let mut fields = Fields::next(row, COLUMNS).ok_or(VerifyError::Copy)?;
    let (seq, record, digest) = first(&mut fields)?;
    let (name, organization) = (fields.nullable()?, fields.optional_uuid()?);
    let (subject, user) = (fields.optional_uuid()?.unwrap_or_default(), fields.optional_uuid()?);
    let decided_at = fields.optional()?.map(|at| i64::from_be_bytes(at).saturating_add(EPOCH));
    let event = Recorded::decode(record);
    let mut wrong = Vec::new();
    if let Ok(recorded) = &event {
        let copies = [
            ("seq", recorded.seq == seq),
            ("type", Some(recorded.event.name().as_bytes()) == name),
            ("organization_id", recorded.organization.map(|id| id.0) == organization),
            ("decided_at", Some(recorded.decided_at.micros()) == decided_at),
        ];
        wrong.extend(copies.iter().filter(|(_, same)| !same).map(|(column, _)| *column));
    }
    Ok(Some(Stored { seq, event, chain: digest, follows, wrong, about: Some((subject, user)) }))
}
