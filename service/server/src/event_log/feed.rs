//! The feed: the log as a reader may see it, in pages by position.
//!
//! A page looks at a bounded stretch of the log and says up to where it looked, so that a filter that matches one
//! event in a million costs many short queries and never a long one, and an empty page is not the end. Nothing is
//! read that comes after the head as of the request, so whoever goes on from where a page ended misses nothing.

use crate::read_model::tables::{LoadError, StoredInstant};
use counterfoil_domain::ids::{OrganizationId, Seq, UserId};
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::timestamp::Timestamp;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

/// Who reads.
#[derive(Clone, Copy, Debug)]
pub struct Viewer {
    /// Sees the own events.
    pub user: UserId,
    /// The organization in which is read.
    pub organization: OrganizationId,
    /// Whether everything of the organization is seen, and of whoever was a member at the event's position.
    pub everything: bool,
}

/// Which events are asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this type.
    pub name: Option<&'static str>,
    /// Only what is about this.
    pub subject: Option<Subject>,
}

/// What a history is about, with what may have ended it without naming it.
#[derive(Clone, Debug)]
pub struct Subject {
    id: Uuid,
    /// The owner and the home of a token.
    around: Vec<Uuid>,
    /// The positions between which an event about those can have ended it.
    issued: Seq,
    ended: Seq,
}

/// An event as it was written.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its position.
    pub seq: Seq,
    /// Its record, to the byte.
    pub record: String,
    /// Its chain value.
    pub chain: Digest,
}

/// What one look at the log found.
#[derive(Clone, Debug)]
pub struct Page {
    /// The events, in order.
    pub items: Vec<Item>,
    /// Up to where was looked: the next page begins after it.
    pub next_after: Seq,
}

/// Positions that one query looks at, unless an index leads to what is asked for.
const STRETCH: Seq = 20_000;

/// Events that end many tokens without naming one, by marks.
const WIDE: [&str; 2] = ["tokens.revoked_all", "gateway.removed"];

/// Learns what an event that ended this subject can have been about.
///
/// # Errors
/// The database's.
pub async fn subject(connection: &mut PgConnection, id: Uuid) -> Result<Subject, sqlx::Error> {
    let sql = "SELECT user_id, gateway_id, home, issued_seq, ended_seq FROM tokens WHERE id = $1";
    let Some(row) = sqlx::query(sql).bind(id).fetch_optional(connection).await? else {
        return Ok(Subject { id, around: Vec::new(), issued: 0, ended: 0 });
    };
    let (user, gateway): (Option<Uuid>, Option<Uuid>) = (row.try_get(0)?, row.try_get(1)?);
    let around = user.into_iter().chain(gateway).chain([row.try_get(2)?]).collect();
    let ended: Option<i64> = row.try_get(4)?;
    let issued = row.try_get::<i64, _>(3)? as Seq;
    Ok(Subject { id, around, issued, ended: ended.map_or(i64::MAX as Seq, |seq| seq as Seq) })
}

/// The last event that was decided before an instant. `decided_at` never falls, so the position is found by
/// halving, with one look at the primary key each.
///
/// # Errors
/// The database's, or an instant that no event can have.
pub async fn last_before(
    connection: &mut PgConnection,
    instant: Timestamp,
    head: Seq,
) -> Result<Seq, LoadError> {
    let (mut before, mut after) = (0, head + 1);
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        let sql = "SELECT decided_at FROM events WHERE seq = $1";
        let at: StoredInstant =
            sqlx::query_scalar(sql).bind(middle as i64).fetch_one(&mut *connection).await?;
        if at.instant("events", "decided_at")? < instant { before = middle } else { after = middle }
    }
    Ok(before)
}

/// Events of a user are shown to an organization from the user's becoming a member on, the account's making included
/// if that was part of it, and not from the member's removal on (which nothing can decide yet; its index knows it).
const VISIBLE: &str = "
    SELECT e.seq, e.record, e.chain FROM events e
    WHERE e.seq > $1 AND e.seq <= $2 AND ($3::text IS NULL OR e.type = $3)
      AND ($4::uuid IS NULL OR (e.subject_id = ANY($5) AND (e.subject_id = $4
          OR (e.type = ANY($6) AND e.seq > $7 AND e.seq <= $8))))
      AND ((e.user_id = $9 AND (e.organization_id IS NULL OR e.organization_id = $10))
        OR ($11 AND (e.organization_id = $10 OR (e.organization_id IS NULL AND COALESCE(
            (SELECT m.type = 'member.added' FROM events m
             WHERE m.organization_id = $10 AND m.user_id = e.user_id AND m.seq <= e.seq
               AND m.type IN ('member.added', 'member.removed') ORDER BY m.seq DESC LIMIT 1),
            e.type IN ('user.created', 'user.password_set') AND EXISTS
            (SELECT FROM events m
             WHERE m.organization_id = $10 AND m.user_id = e.user_id AND m.seq BETWEEN e.seq + 1 AND e.seq + 2
               AND m.type IN ('member.added', 'member.removed')
               AND m.record::json ->> 'request_id' = e.record::json ->> 'request_id'))))))
    ORDER BY e.seq LIMIT $12";

/// The next page after `after`, of at most `limit` events, up to `last`.
///
/// # Errors
/// The database's.
pub async fn page(
    connection: &mut PgConnection,
    viewer: &Viewer,
    filter: &Filter,
    after: Seq,
    last: Seq,
    limit: usize,
) -> Result<Page, sqlx::Error> {
    let stretch = if filter.subject.is_some() { last } else { last.min(after.saturating_add(STRETCH)) };
    if stretch <= after {
        return Ok(Page { items: Vec::new(), next_after: after });
    }
    let subject = filter.subject.as_ref();
    let subjects: Vec<Uuid> =
        subject.map_or_else(Vec::new, |s| s.around.iter().copied().chain([s.id]).collect());
    let rows = sqlx::query(VISIBLE)
        .bind(after as i64)
        .bind(stretch as i64)
        .bind(filter.name)
        .bind(subject.map(|s| s.id))
        .bind(subjects)
        .bind(&WIDE[..])
        .bind(subject.map_or(0, |s| s.issued as i64))
        .bind(subject.map_or(0, |s| s.ended as i64))
        .bind(viewer.user.0)
        .bind(viewer.organization.0)
        .bind(viewer.everything)
        .bind(limit as i64)
        .fetch_all(connection)
        .await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        let (seq, chain): (i64, &[u8]) = (row.try_get(0)?, row.try_get(2)?);
        let chain = Digest(chain.try_into().map_err(|error| sqlx::Error::Decode(Box::new(error)))?);
        items.push(Item { seq: seq as Seq, record: row.try_get(1)?, chain });
    }
    let next_after = items.last().filter(|_| items.len() == limit).map_or(stretch, |item| item.seq);
    Ok(Page { items, next_after })
}

#[cfg(test)]
mod tests {
    use super::WIDE;
    use counterfoil_domain::event::Event;

    #[test]
    fn what_ends_many_tokens_is_an_event() {
        assert!(WIDE.iter().all(|name| Event::NAMES.contains(name)));
    }
}
