//! Uses in the database.

use super::{Taken, Tally};
use crate::read_model::tables::to_sql;
use sqlx::PgPool;

/// Rows are written in the order of their ids, so that two nodes never wait for each other.
pub(super) async fn write(pool: &PgPool, taken: &Taken) -> Result<(), sqlx::Error> {
    // What lies in the future by the database's clock is no last use.
    let sql = "INSERT INTO token_usage AS u
            (token_id, last_used_at, last_used_by, uses, ended_last_used_at, ended_last_used_by, ended_uses)
        SELECT id, CASE WHEN at IS NOT NULL THEN LEAST(at, statement_timestamp()) END, by, uses,
            CASE WHEN ended_at IS NOT NULL THEN LEAST(ended_at, statement_timestamp()) END, ended_by, ended_uses
        FROM UNNEST($1::uuid[], $2::timestamptz[], $3::uuid[], $4::bigint[], $5::timestamptz[], $6::uuid[], $7::bigint[])
            AS taken (id, at, by, uses, ended_at, ended_by, ended_uses)
        ON CONFLICT (token_id) DO UPDATE SET
            last_used_at = CASE WHEN u.last_used_at BETWEEN excluded.last_used_at AND statement_timestamp()
                THEN u.last_used_at ELSE COALESCE(excluded.last_used_at, u.last_used_at) END,
            last_used_by = CASE WHEN u.last_used_at BETWEEN excluded.last_used_at AND statement_timestamp()
                OR excluded.last_used_at IS NULL THEN u.last_used_by ELSE excluded.last_used_by END,
            uses = u.uses + excluded.uses,
            ended_last_used_at = CASE
                WHEN u.ended_last_used_at BETWEEN excluded.ended_last_used_at AND statement_timestamp()
                THEN u.ended_last_used_at ELSE COALESCE(excluded.ended_last_used_at, u.ended_last_used_at) END,
            ended_last_used_by = CASE
                WHEN u.ended_last_used_at BETWEEN excluded.ended_last_used_at AND statement_timestamp()
                OR excluded.ended_last_used_at IS NULL THEN u.ended_last_used_by ELSE excluded.ended_last_used_by END,
            ended_uses = u.ended_uses + excluded.ended_uses";
    let working = || taken.values().map(|(working, _)| *working);
    let ended = || taken.values().map(|(_, ended)| *ended);
    sqlx::query(sql)
        .bind(taken.keys().map(|token| token.0).collect::<Vec<_>>())
        .bind(working().map(at).collect::<Vec<_>>())
        .bind(working().map(by).collect::<Vec<_>>())
        .bind(working().map(count).collect::<Vec<_>>())
        .bind(ended().map(at).collect::<Vec<_>>())
        .bind(ended().map(by).collect::<Vec<_>>())
        .bind(ended().map(count).collect::<Vec<_>>())
        .execute(pool)
        .await
        .map(drop)
}

fn at(tally: Option<Tally>) -> Option<time::OffsetDateTime> {
    tally.map(|tally| to_sql(tally.at))
}

fn by(tally: Option<Tally>) -> Option<uuid::Uuid> {
    tally.and_then(|tally| tally.by).map(|by| by.0)
}

fn count(tally: Option<Tally>) -> i64 {
    tally.map_or(0, |tally| tally.count.into())
}
