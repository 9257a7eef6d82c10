//! The log's end against the clocks.

use super::Patient;
use super::report::Check;
use crate::clock::Clock;
use crate::event_log::append::{self, Head};
use crate::event_log::clocks::{Steady, TOLERANCE, clocks};
use crate::read_model::tables::LoadError;
use counterfoil_domain::timestamp::Timestamp;

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// The node's clock and the database's agree, as the writer judges it.
pub(super) async fn clock(patient: &mut Patient, clock: &Clock) -> Result<Vec<Check>, sqlx::Error> {
    const NAME: &str = "clock";
    let before = clock.now();
    let now: time::OffsetDateTime =
        sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut patient.administrator).await?;
    let (now, after) = (Timestamp::from_offset_date_time(now), clock.now());
    // Where in the round trip the database looked is not known: the nearer end counts.
    let apart = if now < before { before.distance(now) } else { now.distance(after.min(now)) };
    let found = format!("this machine's and the database's are {:.1} s apart", seconds(apart));
    if apart <= TOLERANCE {
        return Ok(vec![Check::good(NAME, found)]);
    }
    let mend = "timedatectl set-ntp true, on both machines; until they agree only what narrows is written";
    Ok(vec![Check::wrong(NAME, found, mend)])
}

/// The last event does not lie in the future.
pub(super) async fn last_event(patient: &mut Patient, clock: &Clock) -> Result<Vec<Check>, sqlx::Error> {
    const NAME: &str = "last event";
    let head: Head = match append::head(&mut patient.administrator).await {
        Ok(head) => head,
        Err(LoadError::Database(error)) => return Err(error),
        Err(LoadError::Unreadable(unreadable)) => {
            return Ok(vec![Check::wrong(NAME, unreadable.to_string(), "counterfoil verify")]);
        }
    };
    if head.seq == 0 {
        let found = "the log is empty";
        return Ok(vec![Check::note(NAME, found, "counterfoil init --organization NAME --owner EMAIL")]);
    }
    let found = format!("event {} was decided at {}", head.seq, head.decided_at);
    // The clocks against each other have a line of their own: here the database's stands for both.
    if clocks((head.now, head.now), Steady::UNWATCHED, &head).trusted {
        return Ok(vec![Check::good(NAME, found)]);
    }
    let ahead = seconds(head.decided_at.distance(head.now.min(clock.now())));
    let found = format!("{found}, which is {ahead:.0} s ahead of the clocks");
    let mend = "set the clocks right; until they have caught up only what narrows is written";
    Ok(vec![Check::wrong(NAME, found, mend)])
}
