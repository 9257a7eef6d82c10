//! 503: what cannot be answered now, why, and when to ask again.

use super::Problem;
use crate::event_log::failure::{NotNow, connection_is_gone, doubt};
use crate::ops::recurring::Recurring;
use crate::ops::telemetry::REQUEST;
use crate::passwords::PasswordError;
use crate::read_model::freshness::Doubt;
use crate::read_model::tables::LoadError;
use http::StatusCode;
use std::error::Error;
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// Type, title and detail, and when to ask again, in seconds. RFC 6749 allows its errors no other characters than
/// printable ASCII, and neither `"` nor `\`.
type Words = (&'static str, &'static str, &'static str, u64);

fn of_doubt(doubt: Doubt) -> Words {
    match doubt {
        Doubt::Starting => (
            "starting",
            "The service is starting",
            "The service has not shown yet that it knows every revocation. Ask again in a moment.",
            1,
        ),
        Doubt::Unreachable => (
            "database-unreachable",
            "The database does not answer",
            "The database does not answer the service, so no token can be confirmed and nothing changed. Ask again; \
             once the database answers, so does the service.",
            1,
        ),
        Doubt::Recovering => (
            "database-recovering",
            "The database is recovering",
            "The database says that it is starting, stopping or recovering from a crash. Ask again; once it is there, \
             so is the service.",
            1,
        ),
        Doubt::Unfit => (
            "database-unfit",
            "The database cannot be relied on",
            "The database is a standby, or has a setting under which no promise could be kept. The service finds its way \
             back once its address leads to a database that can be written; its operator finds which it is in its log. Ask \
             again later.",
            5,
        ),
        Doubt::AnotherServes => (
            "another-serves",
            "Another service has taken over",
            "Another service works on this database, and only one answers at a time: ask that one. This one answers \
             again once the other has stopped.",
            5,
        ),
        Doubt::Behind => (
            "index-behind",
            "The index is behind the event log",
            "The service cannot read on in its event log, so it may not know the latest revocations. Its operator finds \
             the reason in its log; ask again later.",
            5,
        ),
        Doubt::AnotherLog => (
            "log-replaced",
            "The event log is another one",
            "The event log is not the one that this service has applied: its database was restored, or the log edited. \
             Its operator has to look, and to start it again; ask again later.",
            30,
        ),
    }
}

fn of_not_now(why: NotNow) -> Words {
    match why {
        NotNow::InDoubt(doubt) => of_doubt(doubt),
        NotNow::NotStored => (
            "not-stored",
            "The database could not store it",
            "The database cannot store anything now, for want of room for one. Nothing was done; ask again later.",
            5,
        ),
        NotNow::TooMany => OVERLOADED,
        NotNow::Unknown => (
            "outcome-unknown",
            "It is not known whether this was done",
            "The database did not say in time whether it stored this, so it may or may not be done. Ask again: with the \
             same Idempotency-Key it is done once, and what ends something may be repeated as it is.",
            1,
        ),
    }
}

const OVERLOADED: Words = (
    "overloaded",
    "The service is overloaded",
    "There are too many requests or connections at once. Nothing was done; ask again in a moment.",
    1,
);

/// What went wrong in reads. A request that fails knows nothing of the one before it.
static READS: Mutex<Recurring<&'static str>> = Mutex::new(Recurring::new());

/// Tells the log of a read that failed. An outage fails every one of them.
pub(in crate::http) fn read_failed(what: &'static str, error: &dyn Error) {
    let mut reads = READS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(untold) = reads.failed(what, Instant::now()) {
        let request_id = REQUEST.try_with(ToString::to_string).ok();
        tracing::error!(%error, request_id, untold, "{what}");
    }
}

/// What a client is told that is in need of words alone, and in how many seconds it may ask again.
pub(in crate::http) fn words(why: NotNow) -> (&'static str, u64) {
    let (_, _, detail, seconds) = of_not_now(why);
    (detail, seconds)
}

impl Problem {
    fn unavailable((slug, title, detail, seconds): Words) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, slug, title, detail);
        problem.retry_after = Some(seconds);
        problem
    }

    /// 503: nothing can be called active now, nor done for its holder.
    pub fn in_doubt(doubt: Doubt) -> Self {
        Self::unavailable(of_doubt(doubt))
    }

    /// 503: nothing can be answered yet.
    pub fn starting(detail: &'static str) -> Self {
        Self::unavailable(("starting", "The service is starting", detail, 1))
    }

    /// 503: there is too much to do.
    pub fn overloaded() -> Self {
        Self::unavailable(OVERLOADED)
    }

    /// 503: the service is about to stop.
    pub fn leaving() -> Self {
        let detail =
            "The service is about to stop. Ask again: another node, or this one after its restart, answers.";
        Self::unavailable(("leaving", "The service is about to stop", detail, 1))
    }

    /// 503: the database answered a read with an error.
    pub(in crate::http) fn database_error() -> Self {
        let detail = "The database answered with an error, which is in the service's log. Ask again later.";
        Self::unavailable(("database-error", "The database could not answer", detail, 5))
    }

    /// The same of a read after a write: what could not be read may be done all the same.
    pub(in crate::http) fn after_a_write(self) -> Self {
        if self.status == StatusCode::SERVICE_UNAVAILABLE { NotNow::Unknown.into() } else { self }
    }

    /// 503: only what narrows can be done now.
    pub(super) fn clocks_disagree() -> Self {
        let detail = "The clocks of the service, of its database and of the log disagree, or one has jumped. Until they \
                      agree, tokens can be ended and narrowed, and nothing else. Ask again later.";
        Self::unavailable(("clocks-disagree", "The clocks cannot be trusted now", detail, 10))
    }
}

impl From<NotNow> for Problem {
    fn from(why: NotNow) -> Self {
        Self::unavailable(of_not_now(why))
    }
}

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => {
                let detail =
                    "Too many passwords are being checked at once. Nothing was done; ask again in a moment.";
                Self::unavailable(("overloaded", OVERLOADED.1, detail, 1))
            }
            PasswordError::Failed => {
                tracing::error!(%error, "a password was neither checked nor hashed");
                Self::internal()
            }
        }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        LoadError::from(error).into()
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        match &error {
            LoadError::Database(database) if connection_is_gone(database) => {
                read_failed("the database does not answer reads", &error);
                Self::in_doubt(doubt(database))
            }
            LoadError::Database(_) => {
                read_failed("a read failed", &error);
                Self::database_error()
            }
            LoadError::Unreadable(_) => {
                read_failed("a row cannot be read", &error);
                Self::internal()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_can_be_said_at_every_door_and_the_runbook_has_each_reason() {
        let runbook = include_str!("../../../../../ops/RUNBOOK.md");
        let others = [NotNow::NotStored, NotNow::TooMany, NotNow::Unknown];
        for why in Doubt::ALL.map(NotNow::InDoubt).into_iter().chain(others) {
            let (slug, _, detail, seconds) = of_not_now(why);
            // RFC 6749 section 5.2.
            assert!(detail.bytes().all(|b| matches!(b, 0x20..=0x7e) && b != b'"' && b != b'\\'), "{detail}");
            assert!(detail.to_lowercase().contains("ask") && seconds > 0, "{detail}");
            if let NotNow::InDoubt(_) = why {
                assert!(runbook.contains(&format!("| `{slug}` |")), "{slug}");
            }
        }
    }
}
