//! Appending: the only `INSERT INTO events`.

use crate::read_model::tables::{LoadError, StoredInstant};
use counterfoil_domain::event::{CHAIN_START, Event, Recorded, chain};
use counterfoil_domain::ids::{Seq, UserId};
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::state::State;
use counterfoil_domain::timestamp::Timestamp;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

/// The end of the log.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The last event's position; 0 for an empty log.
    pub seq: Seq,
    /// Its chain value.
    pub chain: Digest,
    /// Its instant; the smallest there is for an empty log.
    pub decided_at: Timestamp,
    /// PostgreSQL's clock, read in the same statement.
    pub now: Timestamp,
    /// Whether promises can still be kept, as far as a reload of the server's configuration may have changed that since the
    /// session began.
    pub is_fit: bool,
}

/// Reads the head. Under the append lock it stays the head until the transaction ends.
///
/// # Errors
/// The database's, or an instant that no event can have.
pub async fn head(connection: &mut PgConnection) -> Result<Head, LoadError> {
    // clock_timestamp(), not now(): the transaction may have waited for the lock.
    // Of what is asserted when a session begins (`postgres/settings.rs`), a reload changes these; the rest is the session's own.
    let sql = "SELECT e.seq, e.chain, e.decided_at, c.now,
            current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on'
                AND current_setting('default_transaction_read_only') = 'off'
        FROM (SELECT clock_timestamp() AS now) c
        LEFT JOIN LATERAL (SELECT seq, chain, decided_at FROM events ORDER BY seq DESC LIMIT 1) e ON true";
    let row = sqlx::query(sql).fetch_one(connection).await?;
    let chain: Option<&[u8]> = row.try_get(1)?;
    Ok(Head {
        seq: row.try_get::<Option<i64>, _>(0)?.unwrap_or(0) as Seq,
        chain: chain.and_then(|bytes| bytes.try_into().ok()).map_or(CHAIN_START, Digest),
        decided_at: match row.try_get::<Option<StoredInstant>, _>(2)? {
            Some(at) => at.instant("events", "decided_at")?,
            None => Timestamp::from_micros(i64::MIN),
        },
        now: row.try_get::<StoredInstant, _>(3)?.instant("events", "the database's clock")?,
        is_fit: row.try_get(4)?,
    })
}

/// An event ready to be inserted: its record, its chain value and the copies for queries.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The event.
    pub recorded: Recorded,
    /// The record, to the byte.
    pub record: String,
    /// Its chain value.
    pub chain: Digest,
    /// What it is about.
    pub subject: Uuid,
    /// Whose it is.
    pub user: Option<UserId>,
}

/// Makes the row of an event that was just folded into `state`.
///
/// # Errors
/// None that a caller could cause.
pub fn row(state: &State, previous: &Digest, recorded: Recorded) -> Result<Entry, serde_json::Error> {
    let record = recorded.encode()?;
    let (subject, user) = about(state, &recorded.event);
    Ok(Entry { chain: chain(previous, &record), record, subject, user, recorded })
}

/// What an event is about, and whose it is: the copies that queries use.
pub fn about(state: &State, event: &Event) -> (Uuid, Option<UserId>) {
    let token =
        |id: &counterfoil_domain::ids::TokenId| (id.0, state.tokens.get(id).and_then(|token| token.user()));
    match event {
        Event::OrganizationCreated(body) => (body.id.0, None),
        Event::EnvironmentCreated(body) => (body.id.0, None),
        Event::UserCreated(body) => (body.id.0, Some(body.id)),
        Event::PasswordSet(body) => (body.user_id.0, Some(body.user_id)),
        Event::MemberAdded(body) => (body.user_id.0, Some(body.user_id)),
        Event::GatewayRegistered(body) => (body.id.0, None),
        Event::GatewayChanged(body) => (body.id.0, None),
        Event::GatewayRemoved(body) => (body.id.0, None),
        Event::TokensRevokedAll(body) => (body.user_id.0, Some(body.user_id)),
        Event::TokenIssued(body) => token(&body.id),
        Event::TokenScoped(body) => token(&body.id),
        Event::TokenRenamed(body) => token(&body.id),
        Event::TokenRotated(body) => token(&body.id),
        Event::TokenDisabled(body) => token(&body.id),
        Event::TokenEnabled(body) => token(&body.id),
        Event::TokenExpired(body) => token(&body.id),
        Event::TokenRevoked(body) => token(&body.id),
        Event::PreviousEnded(body) => token(&body.id),
    }
}

/// Inserts events, in one statement.
///
/// # Errors
/// The database's; a position that is taken is one.
pub async fn insert(connection: &mut PgConnection, rows: &[Entry]) -> Result<(), sqlx::Error> {
    let rows: Vec<&Entry> = rows.iter().collect();
    let sql = "INSERT INTO events (seq, record, chain, type, organization_id, subject_id, user_id, decided_at)
        SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::bytea[], $4::text[], $5::uuid[], $6::uuid[], $7::uuid[], $8::timestamptz[])";
    use crate::read_model::tables::store::each;
    sqlx::query(sql)
        .bind(each(&rows, |r| r.recorded.seq as i64))
        .bind(each(&rows, |r| r.record.clone()))
        .bind(each(&rows, |r| r.chain.0.to_vec()))
        .bind(each(&rows, |r| r.recorded.event.name()))
        .bind(each(&rows, |r| r.recorded.organization.map(|id| id.0)))
        .bind(each(&rows, |r| r.subject))
        .bind(each(&rows, |r| r.user.map(|id| id.0)))
        .bind(each(&rows, |r| r.recorded.decided_at.to_offset_date_time()))
        .execute(connection)
        .await
        .map(drop)
}
