//! Every entity that a batch changed, stored with its claims.

use super::claims::{self, Claims, Moved};
use super::store;
use counterfoil_domain::ids::{Seq, TokenId};
use counterfoil_domain::state::State;
use counterfoil_domain::token::Token;
use sqlx::PgConnection;
use std::collections::HashMap;
use uuid::Uuid;

/// Stores what changed from the event `from` on. `held` are the tokens as they were before: what they claimed and claim no
/// more goes.
///
/// # Errors
/// The database's: a claim that another token has is one of them.
pub async fn store(
    connection: &mut PgConnection,
    state: &State,
    from: Seq,
    held: &HashMap<TokenId, Box<Token>>,
) -> Result<(), sqlx::Error> {
    let organizations = state.organizations.values().filter(|o| o.seq >= from);
    store::organizations(connection, &sorted(organizations, |o| o.id.0)).await?;
    let environments = state.environments.values().filter(|e| e.seq >= from);
    store::environments(connection, &sorted(environments, |e| e.id.0)).await?;
    let users = state.users.values().filter(|u| u.seq >= from);
    store::users(connection, &sorted(users, |u| u.id.0)).await?;
    let gateways = state.gateways.values().filter(|g| g.seq >= from);
    store::gateways(connection, &sorted(gateways, |g| g.id.0)).await?;
    let tokens = sorted(state.tokens.values().map(Box::as_ref).filter(|t| t.seq >= from), |t| t.id.0);
    store::tokens(connection, &tokens).await?;
    let begin = tokens.iter().filter(|token| claims::begins_an_era(token.seq));
    let moved: Moved<'_> =
        begin.filter_map(|token| state.users.get(&token.user()?)).map(|user| (user.id, user)).collect();
    let (mut before, mut after) = (Claims::default(), Claims::default());
    for token in tokens {
        if let Some(old) = held.get(&token.id) {
            before.add(old);
        }
        after.add(token);
    }
    claims::delete(connection, &before.without(&after).without_slots(&moved)).await?;
    claims::move_on(connection, &moved, from).await?;
    let mut new = after.without(&before).without_slots(&moved);
    moved.values().for_each(|user| new.add_slots(user));
    claims::insert(connection, &new).await
}

/// Rows in one order, so that two transactions never wait for each other's.
fn sorted<'a, T>(rows: impl Iterator<Item = &'a T>, key: impl Fn(&T) -> Uuid) -> Vec<&'a T> {
    let mut rows: Vec<&T> = rows.collect();
    rows.sort_by_key(|row| key(row));
    rows
}
