//! Tokens with what is kept beside them; a user's as the user sees them: one of them, or a page of a list.
//!
//! Lists are sorted by instants and positions of the log only, never by text, so that their order is the same in a
//! database of any locale. Whatever has no value of the sort key has a place of its own: a token that never expires
//! comes after all that do, and one that was never used before all that were. Tokens of one instant lie in the order
//! in which they were issued.

use super::tables::{LoadError, StoredInstant, to_sql, token_row};
use counterfoil_domain::ids::{GatewayId, Seq, TokenId, UserId};
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::{State, Token};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, Row};
use uuid::Uuid;

/// A token with what is kept beside its record.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The token.
    pub token: Token,
    /// Its note, unless it has none or it was erased.
    pub note: Option<String>,
    /// The use of its plaintexts while they worked.
    pub used: Used,
    /// The use of an earlier plaintext after its end.
    pub ended_used: Used,
}

impl Listed {
    /// A token that was issued just now: it was never used.
    pub fn new(token: Token, note: Option<String>) -> Self {
        Self { token, note, used: Used::default(), ended_used: Used::default() }
    }
}

/// What is known of a use: the last, and how many there were.
#[derive(Clone, Debug, Default)]
pub struct Used {
    /// When it was last seen.
    pub at: Option<Timestamp>,
    /// Through which gateway, with its name; none for a call to this service itself.
    pub by: Option<(GatewayId, Option<String>)>,
    /// How often.
    pub count: u64,
}

/// What a list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// The order in which tokens were issued.
    Created,
    /// Their expiry.
    Expires,
    /// Their last use, as far as it was written.
    LastUsed,
}

/// Which end of a list comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The smallest.
    Asc,
    /// The largest.
    Desc,
}

/// A list.
#[derive(Clone, Debug)]
pub struct Query {
    /// Whose tokens.
    pub user: UserId,
    /// In which states, as of `now`.
    pub states: Vec<State>,
    /// Text that the note contains, folded as notes are; empty for any or none.
    pub search: String,
    /// Sorted by what.
    pub sort: Sort,
    /// From which end.
    pub order: Order,
    /// The instant that states are of: the same clock that introspection judges by.
    pub now: Timestamp,
}

/// A place in a list: that of one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The token's value of the sort key, if it has one.
    pub key: Option<Timestamp>,
    /// The event that issued it, which no other token has.
    pub issued: Seq,
}

impl Sort {
    /// The place of a token in a list that is sorted so.
    pub fn position(self, listed: &Listed) -> Position {
        let key = match self {
            Self::Created => None,
            Self::Expires => listed.token.expires_at,
            Self::LastUsed => listed.used.at,
        };
        Position { key, issued: listed.token.issued_seq }
    }

    /// The sort key in SQL, and the parameter that it is compared with.
    fn key(self) -> (&'static str, &'static str) {
        match self {
            Self::Created => ("'-infinity'::timestamptz", "COALESCE($5, '-infinity')"),
            Self::Expires => ("COALESCE(expires_at, 'infinity')", "COALESCE($5, 'infinity')"),
            Self::LastUsed => ("COALESCE(last_used_at, '-infinity')", "COALESCE($5, '-infinity')"),
        }
    }
}

/// An owner's tokens with what is kept beside them, as a table `l`. The owner, by this column, is the first parameter. Names
/// are looked up beside it: a join of all would have PostgreSQL think longer about its order than it takes to read a token.
pub(super) fn listed(owner: &'static str) -> String {
    let name = |of| {
        format!(
            "(SELECT v.value FROM gateways g JOIN personal_values v ON v.id = g.name_id WHERE g.id = {of})"
        )
    };
    format!(
        "SELECT {}, note, last_used_at, last_used_by, {} AS last_used_name, uses,
            ended_last_used_at, ended_last_used_by, {} AS ended_last_used_name, ended_uses
         FROM (SELECT t.*, n.value AS note, n.folded, u.last_used_at, u.last_used_by, u.uses,
                u.ended_last_used_at, u.ended_last_used_by, u.ended_uses
            FROM tokens t
            LEFT JOIN personal_values n ON n.id = t.note_id
            LEFT JOIN token_usage u ON u.token_id = t.id
            WHERE t.{owner} = $1) l",
        token_row::COLUMNS,
        name("last_used_by"),
        name("ended_last_used_by")
    )
}

/// Reads a row of [`listed`].
pub(super) fn read(row: &PgRow) -> Result<Listed, LoadError> {
    Ok(Listed {
        token: token_row::read(row)?,
        note: row.try_get(23)?,
        used: used(row, 24)?,
        ended_used: used(row, 28)?,
    })
}

fn used(row: &PgRow, from: usize) -> Result<Used, LoadError> {
    let by: Option<Uuid> = row.try_get(from + 1)?;
    let name: Option<String> = row.try_get(from + 2)?;
    let at: Option<StoredInstant> = row.try_get(from)?;
    Ok(Used {
        at: at.map(|at| at.instant("token_usage", "the last use")).transpose()?,
        by: by.map(|id| (GatewayId(id), name)),
        count: row.try_get::<Option<i64>, _>(from + 3)?.unwrap_or(0) as u64,
    })
}

/// One of a user's tokens. Somebody else's is not found.
///
/// # Errors
/// The database's, or a row that makes no sense.
pub async fn one(pool: &PgPool, user: UserId, id: TokenId) -> Result<Option<Listed>, LoadError> {
    let sql = format!("{} WHERE id = $2", listed("user_id"));
    let row = sqlx::query(AssertSqlSafe(sql)).bind(user.0).bind(id.0).fetch_optional(pool).await?;
    row.as_ref().map(read).transpose()
}

/// A page of a list: at most `limit` tokens that come after a place.
///
/// # Errors
/// The database's, or a row that makes no sense.
pub async fn page(
    pool: &PgPool,
    query: &Query,
    after: Option<Position>,
    limit: usize,
) -> Result<Vec<Listed>, LoadError> {
    let (key, parameter) = query.sort.key();
    let (comparison, direction) = match query.order {
        Order::Asc => (">", "ASC"),
        Order::Desc => ("<", "DESC"),
    };
    // What has neither expired nor been revoked has not ended: of the tokens of a user that have there may be any number,
    // and an index leaves them out.
    let standing = query.states.iter().all(|state| matches!(state, State::Live | State::Disabled));
    let standing = if standing { "AND ended_seq IS NULL" } else { "" };
    // The text is made of constants only. The search is a substring and no pattern: nothing in it is special.
    let sql = format!(
        "{} WHERE CASE WHEN ended_how IS NOT NULL THEN ended_how WHEN expires_at <= $2 THEN 'expired'
                WHEN disabled THEN 'disabled' ELSE 'live' END = ANY($3)
            {standing}
            AND ($4 = '' OR strpos(folded COLLATE \"C\", $4 COLLATE \"C\") > 0)
            AND ($6::bigint IS NULL OR ({key}, issued_seq) {comparison} ({parameter}, $6))
         ORDER BY {key} {direction}, issued_seq {direction} LIMIT $7",
        listed("user_id")
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(query.user.0)
        .bind(to_sql(query.now))
        .bind(query.states.iter().map(|state| state.name()).collect::<Vec<_>>())
        .bind(&query.search)
        .bind(after.and_then(|after| after.key).map(to_sql))
        .bind(after.map(|after| after.issued as i64))
        .bind(limit as i64)
        .fetch_all(pool)
        .await?;
    rows.iter().map(read).collect()
}
