//! A token's record, as `/v1` shows it. No digest, and a plaintext only in the answer that makes it.

use super::super::problem::Problem;
use crate::app::App;
use crate::read_model::tables::{load, token_row};
use counterfoil_domain::ids::{TokenId, UserId};
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::{State, Token};
use serde::Serialize;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

/// A token as `/v1` shows it.
#[derive(Debug, Serialize)]
pub struct Record {
    /// Its id, which rotation keeps.
    pub id: TokenId,
    /// What it is for.
    pub kind: &'static str,
    /// The holder's own words.
    pub note: Option<String>,
    /// The beginning of its plaintext.
    pub hint: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// `live`, `disabled`, `expired` or `revoked`, by the clock.
    pub state: State,
    /// Which plaintext this is: 1 at issue.
    pub generation: u32,
    /// When it was issued.
    pub created_at: Timestamp,
    /// From when on it is inactive.
    pub expires_at: Option<Timestamp>,
    /// When the earlier plaintext ends at the latest, while it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_ends_at: Option<Timestamp>,
    /// The plaintext, in the one answer that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<String>,
}

impl Record {
    /// The record of a token with its note.
    pub fn new(token: &Token, note: Option<String>, now: Timestamp) -> Self {
        let earlier = token.previous.as_ref().filter(|previous| token.stands() && previous.works(now));
        Self {
            id: token.id,
            kind: token.kind.name(),
            note,
            hint: token.hint.clone(),
            scopes: token.scopes.iter().map(String::from).collect(),
            state: token.state(now),
            generation: token.generation,
            created_at: token.issued_at,
            expires_at: token.expires_at,
            previous_ends_at: earlier.map(|previous| previous.ends_at),
            plaintext: None,
        }
    }
}

/// The entity tag of a token: what an edit changes, changes it.
pub fn tag(token: &Token) -> String {
    format!("\"{}\"", token.seq)
}

/// A user's own token with its note. Somebody else's is not found.
///
/// # Errors
/// 404, or 503 while the database cannot be reached.
pub async fn own(app: &App, user: UserId, id: TokenId) -> Result<(Token, Option<String>), Problem> {
    let mut connection = app.pool.acquire().await?;
    let sql = format!("SELECT {} FROM tokens WHERE id = $1 AND user_id = $2", token_row::COLUMNS);
    let row =
        sqlx::query(AssertSqlSafe(sql)).bind(id.0).bind(user.0).fetch_optional(&mut *connection).await?;
    let token = token_row::read(&row.ok_or_else(Problem::not_found)?)?;
    let note = match token.note {
        Some(note) => load::texts(&mut connection, &[note.id.0]).await?.remove(&note.id.0),
        None => None,
    };
    Ok((token, note))
}

/// A page of a user's tokens, the newest first.
///
/// # Errors
/// 503 while the database cannot be reached.
pub async fn page(
    app: &App,
    user: UserId,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<(Token, Option<String>)>, Problem> {
    let sql = format!(
        "SELECT {}, (SELECT value FROM personal_values v WHERE v.id = note_id)
         FROM tokens WHERE user_id = $1 AND issued_seq < $2 ORDER BY issued_seq DESC LIMIT $3",
        token_row::COLUMNS
    );
    let before = before.map_or(i64::MAX, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(user.0)
        .bind(before)
        .bind(limit as i64)
        .fetch_all(&app.pool)
        .await?;
    rows.iter().map(|row| Ok((token_row::read(row)?, row.try_get::<Option<String>, _>(23)?))).collect()
}

/// A value's id and salt are random; its text is the caller's.
pub fn value(app: &App, text: String) -> counterfoil_domain::value::Value {
    let id: Uuid = app.clock.uuid();
    counterfoil_domain::value::Value {
        id: counterfoil_domain::ids::ValueId(id),
        salt: crate::clock::random(),
        text,
    }
}
