//! Standing tokens by COPY, for the index that is loaded at a start: millions of rows, and not all of their columns.

use super::token_row::{digest, owner, previous_from_json, scopes};
use super::{LoadError, Unreadable};
use crate::postgres::copy::{CopyError, Fields, copy};
use counterfoil_domain::ids::{OrganizationId, TokenId};
use counterfoil_domain::scope::Scopes;
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::{Kind, Token};
use futures_util::TryStreamExt;
use sqlx::PgConnection;
use std::collections::HashMap;

const SQL: &str = "COPY (SELECT id, kind, user_id, gateway_id, home, digest, generation, scopes, expires_at, since, \
    issued_at, disabled, previous FROM tokens WHERE ended_seq IS NULL) TO STDOUT (FORMAT binary)";
/// How many columns that is.
const COLUMNS: u16 = 13;

/// Gives every standing token to `put`, without what the index does not hold: hint, note, slot and positions.
///
/// # Errors
/// The database's, or a row that makes no sense.
pub async fn standing(connection: &mut PgConnection, mut put: impl FnMut(&Token)) -> Result<(), LoadError> {
    let mut reader = Reader::default();
    let mut rows = copy(connection, SQL).await.map_err(broken)?;
    while let Some(row) = rows.try_next().await.map_err(broken)? {
        // The last is the mark at the end.
        if let Some(fields) = Fields::next(&row, COLUMNS) {
            put(&reader.token(fields)?);
        }
    }
    Ok(())
}

fn broken(error: CopyError) -> LoadError {
    match error {
        CopyError::Database(error) => error.into(),
        CopyError::Form => bad("its form").into(),
    }
}

fn bad(what: &str) -> Unreadable {
    Unreadable { table: "tokens", what: what.into() }
}

/// Reads rows, and each set of scopes once: there are few, and one text of each is enough.
#[derive(Default)]
struct Reader {
    scopes: HashMap<Vec<u8>, Scopes>,
}

impl Reader {
    fn token(&mut self, mut fields: Fields<'_>) -> Result<Token, LoadError> {
        let id = TokenId(fields.uuid().map_err(broken)?);
        let kind = text(fields.bytes().map_err(broken)?, "kind")?;
        let (user, gateway) =
            (fields.optional_uuid().map_err(broken)?, fields.optional_uuid().map_err(broken)?);
        Ok(Token {
            id,
            kind: Kind::from_name(kind).ok_or_else(|| bad("kind"))?,
            owner: owner(user, gateway)?,
            home: OrganizationId(fields.uuid().map_err(broken)?),
            digest: digest(fields.bytes().map_err(broken)?)?,
            hint: String::new(),
            generation: u32::from_be_bytes(fields.array().map_err(broken)?),
            scopes: self.scopes(fields.bytes().map_err(broken)?)?,
            expires_at: fields.optional().map_err(broken)?.map(instant),
            note: None,
            issued_by: None,
            since: u64::from_be_bytes(fields.array().map_err(broken)?),
            issued_at: instant(fields.array().map_err(broken)?),
            issued_seq: 0,
            disabled: fields.array::<1>().map_err(broken)? != [0],
            slot: None,
            previous: match fields.field().ok_or_else(|| bad("its form"))? {
                Some(json) => Some(previous_from_json(text(json, "previous")?)?),
                None => None,
            },
            ended: None,
            seq: 0,
        })
    }

    fn scopes(&mut self, column: &[u8]) -> Result<Scopes, Unreadable> {
        if let Some(known) = self.scopes.get(column) {
            return Ok(known.clone());
        }
        let read = scopes(text(column, "scopes")?)?;
        self.scopes.insert(column.to_vec(), read.clone());
        Ok(read)
    }
}

fn text<'a>(column: &'a [u8], name: &str) -> Result<&'a str, Unreadable> {
    std::str::from_utf8(column).map_err(|_| bad(name))
}

/// An instant as PostgreSQL sends it: microseconds since 2000.
fn instant(bytes: [u8; 8]) -> Timestamp {
    Timestamp::from_micros(i64::from_be_bytes(bytes).saturating_add(crate::postgres::copy::EPOCH))
}
