//! Tokens in COPY's binary form: millions of rows, for the index at a start and for verification.

use super::token_row::{bad, digest, how_ended, instant, owner, previous_from_json, scopes, value_ref};
use super::{LoadError, StoredInstant, Unreadable};
use crate::postgres::copy::{CopyError, Fields};
use counterfoil_domain::ids::{OrganizationId, TokenId};
use counterfoil_domain::scope::Scopes;
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::{Ended, Kind, Previous, Token};
use std::collections::HashMap;

impl From<CopyError> for LoadError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Database(error) => error.into(),
            CopyError::Form => bad("its form").into(),
        }
    }
}

/// The columns that the index holds: not hint, note, slot and positions.
pub(super) const STANDING: &str = "id, kind, user_id, gateway_id, home, digest, generation, scopes, expires_at, since, issued_at, disabled, previous";
/// How many columns that is.
pub(super) const STANDING_COUNT: u16 = 13;
/// How many columns [`COLUMNS`](super::token_row::COLUMNS) are.
pub(crate) const COUNT: u16 = 23;

/// Reads rows, and each set of scopes once: there are few, and one text of each is enough.
#[derive(Default)]
pub(crate) struct Reader {
    scopes: HashMap<Vec<u8>, Scopes>,
}

impl Reader {
    /// A token from its [`STANDING`] columns.
    pub(super) fn standing(&mut self, fields: &mut Fields<'_>) -> Result<Token, LoadError> {
        let id = TokenId(fields.uuid()?);
        let kind = kind(fields)?;
        let owner = owner(fields.optional_uuid()?, fields.optional_uuid()?)?;
        Ok(Token {
            id,
            kind,
            owner,
            home: OrganizationId(fields.uuid()?),
            digest: digest(fields.bytes()?)?,
            hint: String::new(),
            generation: u32::from_be_bytes(fields.array()?),
            scopes: self.scopes(fields.bytes()?)?,
            expires_at: optional_instant(fields, "expires_at")?,
            note: None,
            issued_by: None,
            since: u64::from_be_bytes(fields.array()?),
            issued_at: issued_at(fields)?,
            issued_seq: 0,
            disabled: fields.array::<1>()? != [0],
            slot: None,
            previous: previous(fields)?,
            ended: None,
            seq: 0,
        })
    }

    /// A token from all its [`COLUMNS`](super::token_row::COLUMNS).
    pub(crate) fn whole(&mut self, fields: &mut Fields<'_>) -> Result<Token, LoadError> {
        let id = TokenId(fields.uuid()?);
        let kind = kind(fields)?;
        let owner = owner(fields.optional_uuid()?, fields.optional_uuid()?)?;
        let (home, digest) = (OrganizationId(fields.uuid()?), digest(fields.bytes()?)?);
        let hint = text(fields.bytes()?, "hint")?.to_owned();
        let generation = u32::from_be_bytes(fields.array()?);
        let scopes = self.scopes(fields.bytes()?)?;
        let expires_at = optional_instant(fields, "expires_at")?;
        let note = value_ref(fields.optional_uuid()?, fields.field().ok_or_else(|| bad("its form"))?)?;
        let issued_by = fields.optional_uuid()?.map(TokenId);
        let since = u64::from_be_bytes(fields.array()?);
        let (issued_at, issued_seq) = (issued_at(fields)?, u64::from_be_bytes(fields.array()?));
        let disabled = fields.array::<1>()? != [0];
        let slot = fields.optional()?.map(u16::from_be_bytes);
        let previous = previous(fields)?;
        let ended = ended(fields)?;
        let seq = u64::from_be_bytes(fields.array()?);
        Ok(Token {
            id,
            kind,
            owner,
            home,
            digest,
            hint,
            generation,
            scopes,
            expires_at,
            note,
            issued_by,
            since,
            issued_at,
            issued_seq,
            disabled,
            slot,
            previous,
            ended,
            seq,
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

fn kind(fields: &mut Fields<'_>) -> Result<Kind, LoadError> {
    Ok(Kind::from_name(text(fields.bytes()?, "kind")?).ok_or_else(|| bad("kind"))?)
}

fn previous(fields: &mut Fields<'_>) -> Result<Option<Box<Previous>>, LoadError> {
    let json = fields.field().ok_or_else(|| bad("its form"))?;
    Ok(json.map(|json| previous_from_json(text(json, "previous")?)).transpose()?)
}

fn ended(fields: &mut Fields<'_>) -> Result<Option<Ended>, LoadError> {
    let seq = fields.optional()?.map(u64::from_be_bytes);
    let at = optional_instant(fields, "ended_at")?;
    let how = fields.field().ok_or_else(|| bad("its form"))?;
    match (seq, at) {
        (Some(seq), Some(at)) => {
            let how = how.map(|how| text(how, "ended_how")).transpose()?;
            Ok(Some(Ended { seq, at, how: how_ended(how)? }))
        }
        (None, None) => Ok(None),
        _ => Err(bad("ended_seq without ended_at").into()),
    }
}

fn text<'a>(column: &'a [u8], name: &str) -> Result<&'a str, Unreadable> {
    std::str::from_utf8(column).map_err(|_| bad(name))
}

fn optional_instant(fields: &mut Fields<'_>, column: &str) -> Result<Option<Timestamp>, LoadError> {
    Ok(instant(fields.optional()?.map(StoredInstant::from_bytes), column)?)
}

fn issued_at(fields: &mut Fields<'_>) -> Result<Timestamp, LoadError> {
    Ok(StoredInstant::from_bytes(fields.array()?).instant("tokens", "issued_at")?)
}
