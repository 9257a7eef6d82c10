//! Waiting for a database that is not there yet: it starts after us, or recovers from a crash.

use super::connect::DatabaseError;
use super::private::{Progress, Say};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long a server that does not answer is waited for.
const ABSENT: Duration = Duration::from_secs(120);
/// How long one that says that it starts or recovers is waited for.
const RECOVERING: Duration = Duration::from_secs(3600);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// Why it is waited, and for how long.
fn worth_waiting(error: &sqlx::Error) -> Option<(Duration, String)> {
    match error {
        sqlx::Error::Io(error) => {
            Some((ABSENT, format!("the database does not answer yet ({error}); trying again")))
        }
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("57P01" | "57P02" | "57P03") => {
                Some((RECOVERING, "the database is starting or recovering; waiting for it".into()))
            }
            Some("53300") => Some((ABSENT, "the database has no free connection; trying again".into())),
            _ => None,
        },
        _ => None,
    }
}

/// Waits until the database takes a connection, and gives the number of its version, if it says one. What waiting does
/// not mend, a wrong password for one, is told at once.
pub(crate) async fn until_it_answers(
    options: &PgConnectOptions,
    say: Say<'_>,
) -> Result<Option<u32>, DatabaseError> {
    let (since, mut progress) = (Instant::now(), Progress::new());
    loop {
        let answer = timeout(ATTEMPT, options.connect()).await;
        match answer.unwrap_or_else(|_| Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))) {
            Ok(connection) => {
                let version = connection.server_version_num();
                connection.close().await?;
                return Ok(version);
            }
            Err(error) => match worth_waiting(&error) {
                Some((limit, why)) if since.elapsed() < limit => progress.say(say, &why),
                _ => return Err(super::pooler::explained(error)),
            },
        }
        sleep(Duration::from_millis(100)).await;
    }
}
