//! Loading, second half: the owners of what a batch names, and what stands of theirs.

use super::claims::ERA;
use super::load::{insert_tokens, tokens_where};
use super::{LoadError, StoredInstant, rows};
use counterfoil_domain::ids::{GatewayId, TokenId, UserId};
use counterfoil_domain::names::Names;
use counterfoil_domain::state::State;
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::{Owner, Token};
use counterfoil_domain::user::StandingToken;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::collections::BTreeSet;
use uuid::Uuid;

/// The gateways that are named or own what was loaded, with all of their standing tokens.
pub(super) async fn load_gateways(
    connection: &mut PgConnection,
    state: &mut State,
    names: &Names,
) -> Result<(), LoadError> {
    let owners = state.tokens.values().filter_map(|token| gateway_of(token));
    let ids = once(names.gateways.iter().map(|id| id.0).chain(owners));
    gateway_rows(connection, state, &ids).await?;
    for token in tokens_where(connection, "gateway_id = ANY($1) AND ended_seq IS NULL", &ids).await? {
        if let Owner::Gateway(owner) = token.owner
            && let Some(gateway) = state.gateways.get_mut(&owner)
        {
            gateway.standing.insert(token.id);
        }
        state.tokens.insert(token.id, Box::new(token));
    }
    Ok(())
}

async fn gateway_rows(
    connection: &mut PgConnection,
    state: &mut State,
    ids: &[Uuid],
) -> Result<(), LoadError> {
    if ids.is_empty() {
        return Ok(());
    }
    let sql = format!("SELECT {} FROM gateways WHERE id = ANY($1)", rows::GATEWAY);
    for row in sqlx::query(AssertSqlSafe(sql)).bind(ids).fetch_all(connection).await? {
        let gateway = rows::gateway(&row)?;
        state.gateways.insert(gateway.id, gateway);
    }
    Ok(())
}

fn gateway_of(token: &Token) -> Option<Uuid> {
    match token.owner {
        Owner::Gateway(id) => Some(id.0),
        Owner::User(_) => None,
    }
}

fn once(ids: impl Iterator<Item = Uuid>) -> Vec<Uuid> {
    ids.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The users that are named or own what was loaded.
pub(super) async fn load_users(
    connection: &mut PgConnection,
    state: &mut State,
    names: &Names,
) -> Result<(), LoadError> {
    let owners = state.tokens.values().filter_map(|token| token.user()).map(|id| id.0);
    let named = names.users.iter().chain(&names.users_in_full).map(|id| id.0);
    let ids = once(named.chain(owners));
    user_rows(connection, state, &ids).await
}

async fn user_rows(connection: &mut PgConnection, state: &mut State, ids: &[Uuid]) -> Result<(), LoadError> {
    if ids.is_empty() {
        return Ok(());
    }
    let sql = format!("SELECT {} FROM users WHERE id = ANY($1)", rows::USER);
    for row in sqlx::query(AssertSqlSafe(sql)).bind(ids).fetch_all(&mut *connection).await? {
        let user = rows::user(&row)?;
        state.users.insert(user.id, user);
    }
    load_standing(connection, state, ids).await
}

/// What a sweep names, with its owners, and nothing else of theirs: all that is loaded and due ends in this batch, and
/// two hundred owners may have ten thousand tokens that are.
pub(super) async fn load_swept(
    connection: &mut PgConnection,
    state: &mut State,
    names: &Names,
) -> Result<(), LoadError> {
    let ids: Vec<Uuid> =
        names.swept.iter().filter(|id| !state.tokens.contains_key(id)).map(|id| id.0).collect();
    let tokens = tokens_where(connection, "id = ANY($1)", &ids).await?;
    let users = tokens.iter().filter_map(Token::user).filter(|id| !state.users.contains_key(id));
    let users = once(users.map(|id| id.0));
    let gateways = once(tokens.iter().filter_map(gateway_of));
    insert_tokens(state, tokens);
    user_rows(connection, state, &users).await?;
    let unknown: Vec<Uuid> =
        gateways.into_iter().filter(|id| !state.gateways.contains_key(&GatewayId(*id))).collect();
    gateway_rows(connection, state, &unknown).await
}

/// What stands of these users, in outline: one row a user, however many tokens it has.
async fn load_standing(
    connection: &mut PgConnection,
    state: &mut State,
    users: &[Uuid],
) -> Result<(), LoadError> {
    let sql = format!(
        "SELECT o.user_id, c.* FROM UNNEST($1::uuid[]) AS o(user_id), LATERAL (
            SELECT COALESCE(array_agg(slot), '{{}}'), COALESCE(array_agg(token_id), '{{}}'),
                COALESCE(array_agg(expires_at), '{{}}')
            FROM claimed_slots WHERE user_id = o.user_id AND era = {ERA}) c"
    );
    for row in sqlx::query(AssertSqlSafe(sql)).bind(users).fetch_all(connection).await? {
        let slots: Vec<i16> = row.try_get(1)?;
        let ids: Vec<Uuid> = row.try_get(2)?;
        let expiries: Vec<Option<StoredInstant>> = row.try_get(3)?;
        if let Some(user) = state.users.get_mut(&UserId(row.try_get(0)?)) {
            let entries = slots.into_iter().zip(ids).zip(expiries);
            user.standing = entries
                .map(|((slot, id), at)| {
                    let expires_at = at.map(|at| at.instant("claimed_slots", "expires_at")).transpose()?;
                    Ok((slot as u16, StandingToken { id: TokenId(id), expires_at }))
                })
                .collect::<Result<_, LoadError>>()?;
        }
    }
    Ok(())
}

/// Loads in full the standing tokens that are due, so that their expiry can be recorded before anything else is
/// decided. A minute more is loaded than `now` asks for, since the clock that judges may be ahead of this one.
pub(super) async fn load_due(
    connection: &mut PgConnection,
    state: &mut State,
    now: Timestamp,
) -> Result<(), LoadError> {
    let soon = now.plus_seconds(60);
    let due: Vec<Uuid> = state
        .users
        .values()
        .flat_map(|user| user.standing.values())
        .filter(|token| {
            token.expires_at.is_some_and(|at| at <= soon) && !state.tokens.contains_key(&token.id)
        })
        .map(|token| token.id.0)
        .collect();
    let tokens = tokens_where(connection, "id = ANY($1)", &due).await?;
    insert_tokens(state, tokens);
    Ok(())
}
