//! What is stored beside the log: personal values, secrets, sessions, idempotency keys.

use super::{LoadError, to_sql};
use crate::event_log::writer::Idempotency;
use counterfoil_domain::command::{Answer, Command, SecretText, Write};
use counterfoil_domain::ids::{GatewayId, TokenId, UserId};
use counterfoil_domain::people::OpenSession;
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::value::Value;
use sqlx::{PgConnection, Row};
use std::collections::HashMap;
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

/// What a request under an idempotency key led to.
#[derive(Clone, Copy, Debug)]
pub struct Remembered {
    /// SHA-256 of the request's body.
    pub body: [u8; 32],
    token: Option<TokenId>,
    gateway: Option<GatewayId>,
    revoked: Option<usize>,
    new: bool,
}

impl Remembered {
    /// Remembers an answer of this batch.
    pub fn new(body: [u8; 32], answer: Answer) -> Self {
        let (token, gateway, revoked) = match answer {
            Answer::Token(token) => (Some(token), None, None),
            Answer::Gateway(gateway, token) => (token, Some(gateway), None),
            Answer::Count(revoked) => (None, None, Some(revoked)),
            Answer::Done => (None, None, None),
        };
        Self { body, token, gateway, revoked, new: true }
    }

    /// The answer that it led to.
    pub fn answer(&self) -> Answer {
        match (self.gateway, self.token, self.revoked) {
            (Some(gateway), token, _) => Answer::Gateway(gateway, token),
            (None, Some(token), _) => Answer::Token(token),
            (None, None, Some(revoked)) => Answer::Count(revoked),
            (None, None, None) => Answer::Done,
        }
    }

    /// Whether it is still to be stored.
    pub fn is_new(&self) -> bool {
        self.new
    }
}

/// Loads what is remembered under a batch's keys.
///
/// # Errors
/// The database's.
pub async fn idempotency(
    connection: &mut PgConnection,
    commands: &[(&Command, Option<&Idempotency>)],
) -> Result<HashMap<[u8; 32], Remembered>, LoadError> {
    let keys: Vec<&[u8]> = commands.iter().filter_map(|(_, key)| key.map(|key| key.key.as_slice())).collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    // However old: only the sweeper ends a key, for it does so by clocks that are trusted alone.
    let sql = "SELECT key, body, token_id, gateway_id, revoked FROM idempotency_keys WHERE key = ANY($1)";
    let rows = sqlx::query(sql).bind(keys).fetch_all(connection).await?;
    let mut remembered = HashMap::with_capacity(rows.len());
    for row in rows {
        let (key, body): (&[u8], &[u8]) = (row.try_get(0)?, row.try_get(1)?);
        let (Ok(key), Ok(body)) = (key.try_into(), body.try_into()) else { continue };
        let token = row.try_get::<Option<Uuid>, _>(2)?.map(TokenId);
        let gateway = row.try_get::<Option<Uuid>, _>(3)?.map(GatewayId);
        let revoked = row.try_get::<Option<i64>, _>(4)?.map(|count| count as usize);
        remembered.insert(key, Remembered { body, token, gateway, revoked, new: false });
    }
    Ok(remembered)
}

/// Writes what a batch's commands store beside the log: of two instants, sessions end by the database's, and a key's day
/// begins with the one that events are recorded at, which no clock that lies puts into the future.
///
/// # Errors
/// The database's.
pub async fn write(
    connection: &mut PgConnection,
    writes: &[Write],
    remembered: &[(&[u8; 32], &Remembered)],
    (now, decided_at): (Timestamp, Timestamp),
) -> Result<(), LoadError> {
    values(connection, writes).await?;
    for write in writes {
        match write {
            Write::Value { .. } => {}
            Write::SignInName { user, key } => sign_in_name(connection, *user, key).await?,
            Write::PasswordHash { user, hash } => password_hash(connection, *user, hash).await?,
            Write::OpenSession(open) => open_session(connection, open, now).await?,
            Write::EndSession(id) => {
                sqlx::query("DELETE FROM sessions WHERE id = $1")
                    .bind(id.0)
                    .execute(&mut *connection)
                    .await?;
            }
            Write::EndSessionsOf { user, except } => {
                sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND id IS DISTINCT FROM $2")
                    .bind(user.0)
                    .bind(except.map(|id| id.0))
                    .execute(&mut *connection)
                    .await?;
            }
        }
    }
    remember(connection, remembered, decided_at).await
}

/// Text as searches and sign-in compare it: composed (NFKC), in lower case, composed again. Letter by letter, so that
/// a part of a text is folded as it is in the whole: a final sigma is a sigma.
pub fn folded(text: &str) -> String {
    let letters = text.nfkc().flat_map(char::to_lowercase);
    letters.map(|letter| if letter == 'ς' { 'σ' } else { letter }).nfkc().collect()
}

async fn values(connection: &mut PgConnection, writes: &[Write]) -> Result<(), sqlx::Error> {
    let values: Vec<(Uuid, &Value)> = writes
        .iter()
        .filter_map(|write| match write {
            Write::Value { subject, value } => Some((*subject, value)),
            _ => None,
        })
        .collect();
    if values.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO personal_values (id, subject, value, folded, salt)
        SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bytea[])";
    sqlx::query(sql)
        .bind(values.iter().map(|(_, v)| v.id.0).collect::<Vec<_>>())
        .bind(values.iter().map(|(subject, _)| *subject).collect::<Vec<_>>())
        .bind(values.iter().map(|(_, v)| v.text.as_str()).collect::<Vec<_>>())
        .bind(values.iter().map(|(_, v)| folded(&v.text)).collect::<Vec<_>>())
        .bind(values.iter().map(|(_, v)| v.salt.as_slice()).collect::<Vec<_>>())
        .execute(connection)
        .await
        .map(drop)
}

async fn sign_in_name(connection: &mut PgConnection, user: UserId, key: &str) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO sign_in_names (key, user_id) VALUES ($1, $2)";
    sqlx::query(sql).bind(key).bind(user.0).execute(connection).await.map(drop)
}

async fn password_hash(
    connection: &mut PgConnection,
    user: UserId,
    hash: &SecretText,
) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO password_hashes (user_id, hash) VALUES ($1, $2)
        ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash";
    sqlx::query(sql).bind(user.0).bind(&hash.0).execute(connection).await.map(drop)
}

/// Sessions of one user at a time.
const SESSIONS: i64 = 100;

async fn open_session(
    connection: &mut PgConnection,
    open: &OpenSession,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    // The user's sessions that are over go with it, and the oldest beyond so many: signing in is free, and storage is not.
    sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND expires_at <= $2")
        .bind(open.user.0)
        .bind(to_sql(now))
        .execute(&mut *connection)
        .await?;
    let sql =
        "INSERT INTO sessions (id, user_id, organization_id, digest, expires_at) VALUES ($1, $2, $3, $4, $5)";
    sqlx::query(sql)
        .bind(open.id.0)
        .bind(open.user.0)
        .bind(open.organization.0)
        .bind(open.digest.0.to_vec())
        .bind(to_sql(open.expires_at))
        .execute(&mut *connection)
        .await?;
    let sql = "DELETE FROM sessions WHERE id IN
        (SELECT id FROM sessions WHERE user_id = $1 ORDER BY expires_at DESC, id DESC OFFSET $2)";
    sqlx::query(sql).bind(open.user.0).bind(SESSIONS).execute(connection).await.map(drop)
}

async fn remember(
    connection: &mut PgConnection,
    remembered: &[(&[u8; 32], &Remembered)],
    decided_at: Timestamp,
) -> Result<(), LoadError> {
    if remembered.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO idempotency_keys (key, body, token_id, gateway_id, revoked, created_at)
        SELECT *, $6::timestamptz FROM UNNEST($1::bytea[], $2::bytea[], $3::uuid[], $4::uuid[], $5::bigint[])";
    let unique: HashMap<_, _> = remembered.iter().copied().collect();
    let rows: Vec<_> = unique.into_iter().collect();
    sqlx::query(sql)
        .bind(rows.iter().map(|(key, _)| key.as_slice()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| r.body.as_slice()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| r.token.map(|id| id.0)).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| r.gateway.map(|id| id.0)).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, r)| r.revoked.map(|count| count as i64)).collect::<Vec<_>>())
        .bind(to_sql(decided_at))
        .execute(connection)
        .await?;
    Ok(())
}
