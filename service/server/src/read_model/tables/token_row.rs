//! A token as a row.

use super::{StoredInstant, Unreadable};
use counterfoil_domain::ids::{GatewayId, OrganizationId, TokenId, UserId, ValueId};
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::scope::Scopes;
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::{Ended, HowEnded, Kind, Owner, Previous, Token};
use counterfoil_domain::value::ValueRef;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

/// The columns of a token in the order that [`read`] wants them.
pub const COLUMNS: &str = "id, kind, user_id, gateway_id, home, digest, hint, generation, scopes, expires_at, note_id, \
    note_commitment, issued_by, since, issued_at, issued_seq, disabled, slot, previous, ended_seq, ended_at, ended_how, seq";

/// Reads a token from a row of [`COLUMNS`].
///
/// # Errors
/// A row that no fold can have written.
pub fn read(row: &PgRow) -> Result<Token, super::LoadError> {
    let ended: Option<i64> = row.try_get(19)?;
    Ok(Token {
        id: TokenId(row.try_get(0)?),
        kind: Kind::from_name(row.try_get(1)?).ok_or_else(|| bad("kind"))?,
        owner: owner(row.try_get(2)?, row.try_get(3)?)?,
        home: OrganizationId(row.try_get(4)?),
        digest: digest(row.try_get(5)?)?,
        hint: row.try_get(6)?,
        generation: row.try_get::<i32, _>(7)? as u32,
        scopes: scopes(row.try_get(8)?)?,
        expires_at: instant(row.try_get(9)?, "expires_at")?,
        note: value_ref(row.try_get(10)?, row.try_get(11)?)?,
        issued_by: row.try_get::<Option<Uuid>, _>(12)?.map(TokenId),
        since: row.try_get::<i64, _>(13)? as u64,
        issued_at: row.try_get::<StoredInstant, _>(14)?.instant(TABLE, "issued_at")?,
        issued_seq: row.try_get::<i64, _>(15)? as u64,
        disabled: row.try_get(16)?,
        slot: row.try_get::<Option<i16>, _>(17)?.map(|slot| slot as u16),
        previous: row.try_get::<Option<&str>, _>(18)?.map(previous_from_json).transpose()?,
        ended: match (ended, instant(row.try_get(20)?, "ended_at")?) {
            (Some(seq), Some(at)) => Some(Ended { seq: seq as u64, at, how: how_ended(row.try_get(21)?)? }),
            (None, None) => None,
            _ => return Err(bad("ended_seq without ended_at").into()),
        },
        seq: row.try_get::<i64, _>(22)? as u64,
    })
}

const TABLE: &str = "tokens";

pub(super) fn bad(what: &str) -> Unreadable {
    Unreadable { table: TABLE, what: what.into() }
}

/// An instant that may be absent.
pub(super) fn instant(stored: Option<StoredInstant>, column: &str) -> Result<Option<Timestamp>, Unreadable> {
    stored.map(|stored| stored.instant(TABLE, column)).transpose()
}

pub(super) fn owner(user: Option<Uuid>, gateway: Option<Uuid>) -> Result<Owner, Unreadable> {
    match (user, gateway) {
        (Some(user), None) => Ok(Owner::User(UserId(user))),
        (None, Some(gateway)) => Ok(Owner::Gateway(GatewayId(gateway))),
        _ => Err(bad("owner")),
    }
}

/// The owner as its two columns.
pub(crate) fn owner_columns(owner: Owner) -> (Option<Uuid>, Option<Uuid>) {
    match owner {
        Owner::User(user) => (Some(user.0), None),
        Owner::Gateway(gateway) => (None, Some(gateway.0)),
    }
}

/// A digest from its column.
pub(crate) fn digest(bytes: &[u8]) -> Result<Digest, Unreadable> {
    bytes.try_into().map(Digest).map_err(|_| bad("digest"))
}

pub(super) fn scopes(text: &str) -> Result<Scopes, Unreadable> {
    Scopes::new(text.split(' ')).map_err(|_| bad("scopes"))
}

/// A commitment from its two columns.
pub(crate) fn value_ref(id: Option<Uuid>, commitment: Option<&[u8]>) -> Result<Option<ValueRef>, Unreadable> {
    match (id, commitment) {
        (Some(id), Some(bytes)) => Ok(Some(ValueRef { id: ValueId(id), commitment: digest(bytes)? })),
        (None, None) => Ok(None),
        _ => Err(bad("a value's id without its commitment")),
    }
}

pub(super) fn how_ended(name: Option<&str>) -> Result<HowEnded, Unreadable> {
    match name {
        Some("expired") => Ok(HowEnded::Expired),
        Some("revoked") => Ok(HowEnded::Revoked),
        _ => Err(bad("ended_how")),
    }
}

/// The wire name of how a token ended.
pub(crate) fn how_ended_name(how: HowEnded) -> &'static str {
    match how {
        HowEnded::Expired => "expired",
        HowEnded::Revoked => "revoked",
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PreviousJson {
    digest: Digest,
    hint: String,
    generation: u32,
    ends_at: Timestamp,
    until_used: bool,
    ended: Option<u64>,
}

pub(super) fn previous_from_json(text: &str) -> Result<Box<Previous>, Unreadable> {
    let PreviousJson { digest, hint, generation, ends_at, until_used, ended } =
        serde_json::from_str(text).map_err(|_| bad("previous"))?;
    Ok(Box::new(Previous { digest, hint, generation, ends_at, until_used, ended }))
}

/// The earlier plaintext as the JSON of its column.
pub(crate) fn previous_to_json(previous: &Previous) -> String {
    let Previous { digest, hint, generation, ends_at, until_used, ended } = previous.clone();
    let json = PreviousJson { digest, hint, generation, ends_at, until_used, ended };
    serde_json::to_string(&json).unwrap_or_default()
}
