//! Reading a record in one pass: a log is millions of them.
//!
//! A record's fields stand in the order in which [`Recorded::encode`] writes them, so the type and the version are known
//! where the body begins, and it is read as what it is. Whatever has another order was not written by us.

use super::{Event, Recorded, Undecodable};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use std::fmt;

/// Reads a stored record.
pub(super) fn record(text: &str) -> Result<Recorded, Undecodable> {
    let mut wrong = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Reading { wrong: &mut wrong }.deserialize(&mut json);
    let read = read.and_then(|recorded| json.end().map(|()| recorded));
    read.map_err(|source| match wrong {
        None => Undecodable::Record(source),
        Some(Wrong::Body(name)) => Undecodable::Body { name, source },
        Some(Wrong::Unknown(name, _)) if !Event::NAMES.contains(&&*name) => Undecodable::Type(name),
        Some(Wrong::Unknown(name, version)) => Undecodable::Version(name, version),
    })
}

/// What is wrong, if it is the event itself. The parser's error says only where the text is wrong.
enum Wrong {
    /// The body does not fit the type.
    Body(String),
    /// The type or its version is not known.
    Unknown(String, u32),
}

struct Reading<'a> {
    wrong: &'a mut Option<Wrong>,
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Recorded;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Recorded, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Recorded;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut record: A) -> Result<Recorded, A::Error> {
        let seq = field(&mut record, "seq")?;
        let mut key: Option<&str> = record.next_key()?;
        let mut organization = None;
        if key == Some("organization") {
            organization = Some(record.next_value()?);
            key = record.next_key()?;
        }
        let name: &str = value(&mut record, key, "type")?;
        let version = field(&mut record, "version")?;
        let actor = field(&mut record, "actor")?;
        let request_id = field(&mut record, "request_id")?;
        let decided_at = field(&mut record, "decided_at")?;
        expect(record.next_key()?, "body")?;
        let event = self.body(name, version, &mut record)?;
        match record.next_key::<&str>()? {
            None => Ok(Recorded { seq, organization, actor, request_id, decided_at, event }),
            Some(more) => Err(A::Error::custom(format_args!("unknown field `{more}` behind the body"))),
        }
    }
}

impl Reading<'_> {
    fn body<'de, A: MapAccess<'de>>(
        self,
        name: &str,
        version: u32,
        record: &mut A,
    ) -> Result<Event, A::Error> {
        let Some(read) = Event::next_body(name, version, record) else {
            *self.wrong = Some(Wrong::Unknown(name.into(), version));
            return Err(A::Error::custom("unknown type or version"));
        };
        *self.wrong = read.is_err().then(|| Wrong::Body(name.into()));
        read
    }
}

/// The value of the field that must come next.
fn field<'de, A: MapAccess<'de>, T: Deserialize<'de>>(record: &mut A, name: &str) -> Result<T, A::Error> {
    let key = record.next_key()?;
    value(record, key, name)
}

fn value<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    record: &mut A,
    key: Option<&str>,
    name: &str,
) -> Result<T, A::Error> {
    expect(key, name)?;
    record.next_value()
}

fn expect<E: Error>(key: Option<&str>, name: &str) -> Result<(), E> {
    match key {
        Some(key) if key == name => Ok(()),
        Some(key) => Err(E::custom(format_args!("the field `{key}` where `{name}` belongs"))),
        None => Err(E::custom(format_args!("missing field `{name}`"))),
    }
}
