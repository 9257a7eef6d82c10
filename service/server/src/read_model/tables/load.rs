//! Loading: what a batch of commands names, with a few set-based queries.

use super::owners::{load_due, load_gateways, load_swept, load_users};
use super::token_row::{self, COLUMNS};
use super::{LoadError, StoredInstant, Unreadable, rows};
use counterfoil_domain::ids::{Seq, SessionId, TokenId, UserId, ValueId};
use counterfoil_domain::names::Names;
use counterfoil_domain::state::{Session, State};
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::Token;
use counterfoil_domain::value::Value;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Loads what is named into a state at position `head`: tokens with their owners, users with what stands of theirs,
/// gateways with their standing tokens.
///
/// # Errors
/// The database's, or a row that makes no sense.
pub async fn named(
    connection: &mut PgConnection,
    names: &Names,
    head: u64,
    now: Timestamp,
) -> Result<State, LoadError> {
    let mut state = State { head, ..State::default() };
    let ids: Vec<Uuid> = names.tokens.iter().map(|id| id.0).collect();
    insert_tokens(&mut state, tokens_where(connection, "id = ANY($1)", &ids).await?);
    let in_full: Vec<Uuid> = names.users_in_full.iter().map(|id| id.0).collect();
    insert_tokens(
        &mut state,
        tokens_where(connection, "user_id = ANY($1) AND ended_seq IS NULL", &in_full).await?,
    );
    load_gateways(connection, &mut state, names).await?;
    load_users(connection, &mut state, names).await?;
    names.users_in_full.iter().try_for_each(|id| all_claimed(&state, *id))?;
    load_due(connection, &mut state, now).await?;
    load_swept(connection, &mut state, names).await?;
    load_organizations(connection, &mut state, names).await?;
    load_environments(connection, &mut state, names).await?;
    load_sessions(connection, &mut state, names).await?;
    load_sign_in_names(connection, &mut state, names).await?;
    load_notes(connection, &mut state, names).await?;
    Ok(state)
}

/// A user whose tokens all end has each of them claimed: one without a claim would go on counting, though its user is told
/// that it does not.
fn all_claimed(state: &State, id: UserId) -> Result<(), LoadError> {
    let Some(user) = state.users.get(&id) else { return Ok(()) };
    let claimed: BTreeSet<TokenId> = user.standing.values().map(|token| token.id).collect();
    let theirs = state.tokens.values().filter(|token| token.user() == Some(id) && token.stands());
    if theirs.map(|token| token.id).collect::<BTreeSet<_>>() == claimed {
        return Ok(());
    }
    let what = format!("the slots that are claimed for user {id} are not those of its standing tokens");
    Err(Unreadable { table: "claimed_slots", what }.into())
}

pub(super) fn insert_tokens(state: &mut State, tokens: Vec<Token>) {
    state.tokens.extend(tokens.into_iter().map(|token| (token.id, Box::new(token))));
}

/// Tokens by a fixed condition over one array of ids.
pub(crate) async fn tokens_where(
    connection: &mut PgConnection,
    condition: &'static str,
    ids: &[Uuid],
) -> Result<Vec<Token>, LoadError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // The text is made of constants only.
    let sql = format!("SELECT {COLUMNS} FROM tokens WHERE {condition}");
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(ids).fetch_all(connection).await?;
    rows.iter().map(token_row::read).collect()
}

/// The tokens of these users and gateways that ended after an event. Those that ended before are not read: of a user's
/// there may be any number.
pub(crate) async fn ended_after(
    connection: &mut PgConnection,
    owners: &[Uuid],
    after: Seq,
) -> Result<Vec<Token>, LoadError> {
    let mut tokens = Vec::new();
    for owner in ["user_id", "gateway_id"] {
        let sql = format!("SELECT {COLUMNS} FROM tokens WHERE {owner} = ANY($1) AND ended_seq > $2");
        let query = sqlx::query(AssertSqlSafe(sql)).bind(owners).bind(after as i64);
        for row in query.fetch_all(&mut *connection).await? {
            tokens.push(token_row::read(&row)?);
        }
    }
    Ok(tokens)
}

async fn load_organizations(
    connection: &mut PgConnection,
    state: &mut State,
    names: &Names,
) -> Result<(), LoadError> {
    // `init` asks whether any organization exists: then all that do are loaded, which is one.
    let (condition, ids): (_, Vec<Uuid>) = if names.initialized {
        ("true OR id = ANY($1)", Vec::new())
    } else {
        ("id = ANY($1)", names.organizations.iter().map(|id| id.0).collect())
    };
    let sql = format!("SELECT {} FROM organizations WHERE {condition} LIMIT 10000", rows::ORGANIZATION);
    for row in sqlx::query(AssertSqlSafe(sql)).bind(&ids).fetch_all(connection).await? {
        let organization = rows::organization(&row)?;
        state.initialized = true;
        state.organizations.insert(organization.id, organization);
    }
    Ok(())
}

async fn load_environments(
    connection: &mut PgConnection,
    state: &mut State,
    names: &Names,
) -> Result<(), LoadError> {
    let ids: Vec<Uuid> = names.environments.iter().map(|id| id.0).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let sql = format!("SELECT {} FROM environments WHERE id = ANY($1)", rows::ENVIRONMENT);
    for row in sqlx::query(AssertSqlSafe(sql)).bind(&ids).fetch_all(connection).await? {
        let environment = rows::environment(&row)?;
        state.environments.insert(environment.id, environment);
    }
    Ok(())
}

async fn load_sessions(
    connection: &mut PgConnection,
    state: &mut State,
    names: &Names,
) -> Result<(), LoadError> {
    let ids: Vec<Uuid> = names.sessions.iter().map(|id| id.0).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let sql = "SELECT id, user_id, expires_at FROM sessions WHERE id = ANY($1)";
    for row in sqlx::query(sql).bind(&ids).fetch_all(connection).await? {
        let expires_at = row.try_get::<StoredInstant, _>(2)?.instant("sessions", "expires_at")?;
        let session = Session { user: UserId(row.try_get(1)?), expires_at };
        state.sessions.insert(SessionId(row.try_get(0)?), session);
    }
    Ok(())
}

async fn load_sign_in_names(
    connection: &mut PgConnection,
    state: &mut State,
    names: &Names,
) -> Result<(), LoadError> {
    let keys: Vec<&str> = names.sign_in_names.iter().map(String::as_str).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let sql = "SELECT key, user_id FROM sign_in_names WHERE key = ANY($1)";
    for row in sqlx::query(sql).bind(&keys).fetch_all(&mut *connection).await? {
        state.sign_in_names.insert(row.try_get(0)?, UserId(row.try_get(1)?));
    }
    Ok(())
}

async fn load_notes(
    connection: &mut PgConnection,
    state: &mut State,
    names: &Names,
) -> Result<(), LoadError> {
    let notes = names.notes_of.iter().filter_map(|id| state.tokens.get(id)?.note).map(|note| note.id);
    let names = names.names_of.iter().filter_map(|id| state.gateways.get(id)).map(|gateway| gateway.name.id);
    load_values(connection, state, notes.chain(names).collect()).await
}

/// Loads personal values for comparison.
pub(crate) async fn load_values(
    connection: &mut PgConnection,
    state: &mut State,
    ids: Vec<ValueId>,
) -> Result<(), LoadError> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = ids.into_iter().map(|id| id.0).collect();
    let sql = "SELECT id, salt, value FROM personal_values WHERE id = ANY($1)";
    for row in sqlx::query(sql).bind(&ids).fetch_all(connection).await? {
        let salt: &[u8] = row.try_get(1)?;
        let id = ValueId(row.try_get(0)?);
        if let Ok(salt) = salt.try_into() {
            state.values.insert(id, Value { id, salt, text: row.try_get(2)? });
        }
    }
    Ok(())
}

/// Gateways' names and users' addresses, which the index answers with.
pub async fn texts(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<std::collections::HashMap<Uuid, String>, LoadError> {
    if ids.is_empty() {
        return Ok(Default::default());
    }
    let rows = sqlx::query("SELECT id, value FROM personal_values WHERE id = ANY($1)")
        .bind(ids)
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
