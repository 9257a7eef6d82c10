//! What a digest is looked up in: the claims in SQL, and the index of a running service.

use super::machine::Ports;
use super::report::Check;
use super::{Patient, probe};
use crate::event_log::session::is_served;
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use std::time::Duration;

/// Every standing token claims its digests and its slot, and nothing else is claimed.
pub(super) async fn claims(patient: &mut Patient) -> Result<Vec<Check>, sqlx::Error> {
    const NAME: &str = "claims";
    let mut snapshot =
        patient.administrator.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let standing: i64 = sqlx::query_scalar("SELECT count(*) FROM public.tokens WHERE ended_seq IS NULL")
        .fetch_one(&mut *snapshot)
        .await?;
    let mut checks = Vec::new();
    for (what, sql) in DIFFERENCES {
        let count: i64 = sqlx::query_scalar(sql).fetch_one(&mut *snapshot).await?;
        if count > 0 {
            let found = format!("{count} {what}");
            let mend = "counterfoil verify names each; stop the service, then counterfoil rebuild writes the tables anew from the log";
            checks.push(Check::wrong(NAME, found, mend));
        }
    }
    snapshot.rollback().await?;
    if checks.is_empty() {
        let found = format!("{standing} standing tokens hold their digests and slots, and nothing else does");
        checks.push(Check::good(NAME, found));
    }
    Ok(checks)
}

/// The digests of standing tokens, those of earlier plaintexts included, ended or not.
const DIFFERENCES: [(&str, &str); 4] = [
    (
        "digests of standing tokens are not claimed",
        "SELECT count(*) FROM (
            SELECT id, digest FROM public.tokens WHERE ended_seq IS NULL
            UNION ALL
            SELECT id, decode(previous::jsonb->>'digest', 'hex') FROM public.tokens
            WHERE ended_seq IS NULL AND previous IS NOT NULL
         ) t WHERE NOT EXISTS (
            SELECT 1 FROM public.claimed_digests c WHERE c.digest = t.digest AND c.era = 0 AND c.token_id = t.id)",
    ),
    (
        "digests are claimed by no standing token that has them",
        "SELECT count(*) FROM public.claimed_digests c LEFT JOIN public.tokens t ON t.id = c.token_id
         WHERE t.id IS NULL OR t.ended_seq IS NOT NULL OR c.era <> 0 OR (c.digest <> t.digest
           AND encode(c.digest, 'hex') IS DISTINCT FROM t.previous::jsonb->>'digest')",
    ),
    (
        "standing personal tokens do not hold their slot",
        "SELECT count(*) FROM public.tokens t WHERE ended_seq IS NULL AND slot IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM public.claimed_slots c
            WHERE c.user_id = t.user_id AND c.slot = t.slot AND c.token_id = t.id
              AND c.era = COALESCE((SELECT max(e.era) FROM public.slot_eras e WHERE e.user_id = t.user_id), 0)
              AND c.expires_at IS NOT DISTINCT FROM t.expires_at)",
    ),
    (
        "slots are held by no standing token",
        "SELECT count(*) FROM public.claimed_slots c LEFT JOIN public.tokens t ON t.id = c.token_id
         WHERE t.id IS NULL OR t.ended_seq IS NOT NULL OR t.slot IS DISTINCT FROM c.slot
           OR t.user_id IS DISTINCT FROM c.user_id
           OR c.era <> COALESCE((SELECT max(e.era) FROM public.slot_eras e WHERE e.user_id = c.user_id), 0)",
    ),
];

/// How often a running service is asked: it may be at work between two questions.
const ROUNDS: usize = 20;

/// A running service has applied what the log holds, and holds as many digests as stand in the tables.
pub(super) async fn against_head(patient: &mut Patient, ports: &Ports) -> Result<Vec<Check>, sqlx::Error> {
    const NAME: &str = "index";
    let locked = is_served(&mut patient.administrator).await?;
    match (locked, ports.serves) {
        (false, false) => return Ok(vec![Check::good(NAME, "no service runs; its next start loads it")]),
        (true, false) => {
            let found = format!("a service works on this database, but not at {}", ports.api);
            let mend = "ask there, with the configuration that it was started with";
            return Ok(vec![Check::note(NAME, found, mend)]);
        }
        (false, true) => {
            let found =
                format!("the counterfoil at {} does not hold this database's serving lock", ports.api);
            let mend = "it works on another database, or has lost its session: ask with its configuration, or see its log";
            return Ok(vec![Check::wrong(NAME, found, mend)]);
        }
        (true, true) => {}
    }
    if let Some(why) = not_ready(ports).await {
        let found = format!("the service is not ready: {why}");
        return Ok(vec![Check::wrong(NAME, found, "see what else is wrong here, and the service's log")]);
    }
    let Some(metrics) = ports.metrics else {
        return Ok(vec![Check::good(
            NAME,
            "the service is ready; what it applied is not to be seen without metrics",
        )]);
    };
    let mut seen = (0, 0, 0, 0);
    for _ in 0..ROUNDS {
        let head = heads(&mut patient.administrator).await?;
        if let Some(answer) = probe::get(metrics, "/metrics").await {
            let series = |name| probe::series(&answer.body, name).unwrap_or(0);
            seen = (
                series("counterfoil_applied_seq"),
                head.0 as u64,
                series("counterfoil_index_digests"),
                head.1 as u64,
            );
            if seen.0 == seen.1 && seen.2 == seen.3 {
                let found = format!(
                    "the service has applied event {}, the last, and holds {} digests",
                    seen.0, seen.2
                );
                return Ok(vec![Check::good(NAME, found)]);
            }
            // It wrote while it was asked, and has applied more than was read before.
            let moved = heads(&mut patient.administrator).await?.0 > head.0;
            if moved && seen.0 >= seen.1 {
                let found = format!("the service has applied event {}, and is at work", seen.0);
                return Ok(vec![Check::good(NAME, found)]);
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let found = format!(
        "the service has applied event {} of {}, and holds {} digests where the tables have {}",
        seen.0, seen.1, seen.2, seen.3
    );
    Ok(vec![Check::wrong(
        NAME,
        found,
        "counterfoil verify; stop the service, then counterfoil rebuild if the tables differ from the log, and start it again: it loads the index anew",
    )])
}

/// Why the service says that it is not ready.
async fn not_ready(ports: &Ports) -> Option<String> {
    let answer = probe::get(ports.api, "/readyz").await;
    let Some(answer) = answer else { return Some("it does not answer".into()) };
    let problem: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    (answer.status != 200).then(|| {
        let text = |field: &str| problem[field].as_str().map(String::from);
        text("detail").or(text("title")).unwrap_or_else(|| answer.status.to_string())
    })
}

/// The log's end, and how many digests an index holds: those of standing tokens, and of the plaintexts before them, which
/// stay when they have ended, so that their use is seen.
async fn heads(connection: &mut PgConnection) -> Result<(i64, i64), sqlx::Error> {
    let sql = "SELECT (SELECT coalesce(max(seq), 0) FROM public.events),
        (SELECT count(*) + count(previous) FROM public.tokens WHERE ended_seq IS NULL)";
    sqlx::query_as(sql).fetch_one(connection).await
}
