//! A token's record, as `/v1` shows it. No digest, and a plaintext only in the answer that makes it.

use super::super::document::examples;
use super::super::document::names::TokenKind;
use super::super::problem::Problem;
use crate::app::App;
use crate::read_model::lists::{self, Listed, Used};
use counterfoil_domain::ids::{TokenId, UserId, ValueId};
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::{State, Token};
use counterfoil_domain::value::Value;
use serde::Serialize;
use utoipa::ToSchema;

/// A token as `/v1` shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token, example = examples::token)]
pub struct Record {
    /// Its id, which rotation keeps.
    #[schema(value_type = Uuid)]
    pub id: TokenId,
    /// What it is for.
    #[schema(value_type = TokenKind)]
    pub kind: &'static str,
    /// The holder's own words.
    pub note: Option<String>,
    /// The beginning of its plaintext.
    pub hint: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// `live`, `disabled`, `expired` or `revoked`, by the clock.
    pub state: StateName,
    /// Which plaintext this is: 1 at issue.
    #[schema(minimum = 1)]
    pub generation: u32,
    /// When it was issued.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// From when on it is inactive.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, a few seconds late; null for never.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub last_used_at: Option<Timestamp>,
    /// The gateway that it was last used through, or by, for a gateway's own; null for a call to this service itself.
    pub last_used_by: Option<UsedBy>,
    /// How often it was used. Uses of the last seconds before a crash are not counted.
    pub uses: u64,
    /// When the earlier plaintext ends at the latest, while it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = DateTime, required = false, nullable = false)]
    pub previous_ends_at: Option<Timestamp>,
    /// The use of an earlier plaintext after its end: somebody still has the old key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub ended_use: Option<EndedUse>,
    /// The plaintext, in the one answer that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "cf_pat_0123456789")]
    pub plaintext: Option<String>,
}

/// A token's state.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TokenState)]
pub enum StateName {
    /// Standing and not disabled.
    Live,
    /// Switched off for now.
    Disabled,
    /// Its expiry came.
    Expired,
    /// Ended by somebody.
    Revoked,
}

impl From<State> for StateName {
    fn from(state: State) -> Self {
        match state {
            State::Live => Self::Live,
            State::Disabled => Self::Disabled,
            State::Expired => Self::Expired,
            State::Revoked => Self::Revoked,
        }
    }
}

/// A gateway that a token was used through.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsedBy {
    /// Its client id.
    #[schema(pattern = "^gw_[0-9a-f]{32}$")]
    pub client_id: String,
    /// Its name; null once that was erased.
    pub name: Option<String>,
}

/// The use of an earlier plaintext after its end. It was refused each time.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndedUse {
    /// When it was last tried.
    #[schema(value_type = String, format = DateTime)]
    pub last_used_at: Timestamp,
    /// The gateway that still has it in use; null for a call to this service itself.
    pub last_used_by: Option<UsedBy>,
    /// How often it was tried.
    pub uses: u64,
}

impl UsedBy {
    fn of(used: &mut Used) -> Option<Self> {
        used.by.take().map(|(id, name)| Self { client_id: id.client_id(), name })
    }
}

impl Record {
    /// The record of a token with what is kept beside it.
    pub fn new(listed: Listed, now: Timestamp) -> Self {
        let Listed { token, note, mut used, mut ended_used } = listed;
        let earlier = token.previous.as_ref().filter(|previous| token.stands() && previous.works(now));
        Self {
            id: token.id,
            kind: token.kind.name(),
            note,
            scopes: token.scopes.iter().map(String::from).collect(),
            state: token.state(now).into(),
            generation: token.generation,
            created_at: token.issued_at,
            expires_at: token.expires_at,
            last_used_at: used.at,
            last_used_by: UsedBy::of(&mut used),
            uses: used.count,
            previous_ends_at: earlier.map(|previous| previous.ends_at),
            ended_use: ended_used.at.map(|last_used_at| EndedUse {
                last_used_at,
                last_used_by: UsedBy::of(&mut ended_used),
                uses: ended_used.count,
            }),
            plaintext: None,
            hint: token.hint,
        }
    }
}

/// The entity tag of a token: what an edit changes, changes it. Its use does not, but for the first one of a new
/// plaintext: the earlier one ends by it, and with it `previous_ends_at`.
pub fn tag(token: &Token) -> String {
    format!("\"{}\"", token.seq)
}

/// A user's own token. Somebody else's is not found.
///
/// # Errors
/// 404, or 503 while the database cannot be reached.
pub async fn own(app: &App, user: UserId, id: TokenId) -> Result<Listed, Problem> {
    lists::one(&app.pool, user, id).await?.ok_or_else(Problem::not_found)
}

/// The answer's token after a write: as the writer left it, with what was read beside it before. Nothing is read any
/// more, for what was committed is answered whatever becomes of the database now. Only where somebody else gave the
/// token another note meanwhile is that looked up.
///
/// # Errors
/// 503 if it cannot be: then it is not said that nothing was done.
pub async fn written(
    app: &App,
    seen: Listed,
    token: Option<Token>,
    note: Option<Value>,
) -> Result<Listed, Problem> {
    let token = token.ok_or_else(Problem::internal)?;
    let stored = token.note.map(|note| note.id);
    let note = match note.filter(|note| Some(note.id) == stored) {
        Some(note) => Some(note.text),
        None if stored == seen.token.note.map(|note| note.id) => seen.note,
        None if stored.is_none() => None,
        None => {
            let user = token.user().ok_or_else(Problem::internal)?;
            return own(app, user, token.id).await.map_err(Problem::after_a_write);
        }
    };
    Ok(Listed { token, note, ..seen })
}

/// A value's id and salt are random; its text is the caller's.
pub fn value(app: &App, text: String) -> Value {
    Value { id: ValueId(app.clock.uuid()), salt: crate::clock::random(), text }
}
