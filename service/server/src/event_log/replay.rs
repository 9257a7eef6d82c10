//! Replay: the tokens that were live at a moment, by the log alone.

use super::verify::{Extent, Findings, Progress, SNAPSHOT, Until, VerifyError, Walk, walk_file, walk_table};
use counterfoil_domain::ids::{OrganizationId, Seq, TokenId};
use counterfoil_domain::scope::Scopes;
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::{Kind, Owner, State, Token};
use serde::Serialize;
use sqlx::{Connection, PgPool};
use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A token that was live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Live {
    /// Its id.
    pub id: TokenId,
    /// What it is for.
    pub kind: Kind,
    /// Whose it is.
    pub owner: Owner,
    /// Where it was issued.
    pub home: OrganizationId,
    /// What it may do.
    pub scopes: Scopes,
    /// From when on it is inactive.
    pub expires_at: Option<Timestamp>,
}

impl fmt::Display for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, owner) = match self.owner {
            Owner::User(id) => ("user", id.0),
            Owner::Gateway(id) => ("gateway", id.0),
        };
        write!(f, "{} {} of {what} {owner}: {}", self.id, self.kind.name(), self.scopes)
    }
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Tokens that were live.
    pub live: u64,
    /// Their owners.
    pub owners: u64,
    /// Standing tokens that were switched off.
    pub disabled: u64,
    /// Standing tokens whose expiry had come.
    pub expired: u64,
    /// Tokens that had ended for good.
    pub ended: u64,
}

/// The state at a moment.
#[derive(Debug)]
pub struct Replayed {
    /// The last event that had happened.
    pub seq: Seq,
    /// Its chain value, in hexadecimal digits.
    pub chain: String,
    /// The instant by which expiry is judged.
    pub at: Timestamp,
    /// How many events were folded.
    pub events: u64,
    /// The tokens that were live, by id.
    pub live: Vec<Live>,
    /// How many there are.
    pub totals: Totals,
    /// What was wrong with the log: if anything was, the list proves nothing.
    pub findings: Findings,
    /// What a download lacks: if it lacks anything, so may the list.
    pub extent: Extent,
}

/// Replays the database's log. Without `until`, all of it, as of `now`.
///
/// # Errors
/// See [`VerifyError`].
pub async fn database(
    pool: &PgPool,
    until: Option<Until>,
    now: Timestamp,
    progress: &Arc<Progress>,
) -> Result<Replayed, VerifyError> {
    let mut connection = pool.acquire().await?;
    // A connection on which a stream was left in the middle is of no use to the pool.
    connection.close_on_drop();
    let mut snapshot = connection.begin_with(SNAPSHOT).await?;
    let walk = walk_table(&mut snapshot, until, progress).await?;
    snapshot.rollback().await?;
    Ok(replayed(walk, until, now))
}

/// Replays a download of the feed.
///
/// # Errors
/// See [`VerifyError`].
pub async fn download(
    path: &Path,
    until: Option<Until>,
    now: Timestamp,
    progress: &Arc<Progress>,
) -> Result<Replayed, VerifyError> {
    Ok(replayed(walk_file(path, until, progress).await?, until, now))
}

/// A position's moment is the instant at which its event was decided.
fn replayed(walk: Walk, until: Option<Until>, now: Timestamp) -> Replayed {
    let at = match until {
        None => now,
        Some(Until::Instant(at)) => at,
        Some(Until::Seq(_)) => walk.last.map_or(now, |(_, _, at)| at),
    };
    let mut totals = Totals::default();
    let mut live = Vec::new();
    for token in walk.state.tokens.values() {
        match token.state(at) {
            State::Live => live.push(shown(token)),
            State::Disabled => totals.disabled += 1,
            State::Expired if token.stands() => totals.expired += 1,
            State::Expired | State::Revoked => totals.ended += 1,
        }
    }
    live.sort_unstable_by_key(|token| token.id);
    totals.live = live.len() as u64;
    totals.owners = live.iter().map(|token| token.owner).collect::<HashSet<_>>().len() as u64;
    let (seq, chain, events, extent) = (walk.head(), walk.chain().hex(), walk.events, walk.extent);
    Replayed { seq, chain, at, events, live, totals, findings: walk.into_findings(), extent }
}

fn shown(token: &Token) -> Live {
    Live {
        id: token.id,
        kind: token.kind,
        owner: token.owner,
        home: token.home,
        scopes: token.scopes.clone(),
        expires_at: token.expires_at,
    }
}
