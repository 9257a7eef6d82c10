//! What the command line does with a service that may be running.
//!
//! Only the holder of the serving lock may take something away, or it would go on answering from before. So the
//! command line either takes that lock itself, or leaves a request in a table that the running service looks at, and
//! waits for the outcome. A request has a time after which nobody carries it out: a lost one must not set a password
//! days later.
//!
//! **Once.** A service may die after it did what was asked and before it said so. Whoever comes to the request then,
//! the next service or the command line, finds its id among the idempotency keys, which are written with the event,
//! and does nothing again.

use crate::app::App;
use crate::clock::Clock;
use crate::event_log::batch::{self, Input, Refused};
use crate::event_log::failure::BatchError;
use crate::event_log::session::{Session, SessionError};
use crate::event_log::writer::{Idempotency, WriteError};
use crate::ops::drain::Stage;
use crate::ops::recurring::Recurring;
use crate::passwords::Password;
use crate::postgres::connect::{Database, in_time};
use crate::read_model::people;
use crate::read_model::tables::LoadError;
use crate::read_model::tables::beside::folded;
use crate::read_model::tables::operator_requests as requests;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Command, SecretText};
use counterfoil_domain::decide::Limits;
use counterfoil_domain::ids::{OrganizationId, UserId};
use counterfoil_domain::people::SetPassword;
use counterfoil_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// How often each side looks at the table.
const POLL: Duration = Duration::from_millis(250);
/// How long the command line waits, in seconds; a request is carried out no later.
const PATIENCE: i64 = 30;

/// A request to set a password. The hash alone: the password stays with whoever asked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    set_password_of: UserId,
    hash: String,
    until: Timestamp,
}

/// What became of a request.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Done,
    Refused(String),
}

/// Carries out requests of the command line until the service is about to stop.
pub async fn serve(app: App) {
    let mut failures = Recurring::new();
    loop {
        if let Err(error) = carry_out(&app).await
            && let Some(untold) = failures.failed((), Instant::now())
        {
            tracing::warn!(%error, untold, "the command line's requests could not be read");
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = app.drain.reached(Stage::Leaving) => break,
        }
    }
}

async fn carry_out(app: &App) -> Result<(), sqlx::Error> {
    for (id, text) in in_time(requests::open(&app.pool)).await? {
        let outcome = match serde_json::from_str::<Request>(&text) {
            Err(_) => Outcome::Refused("this version of the service does not know the request".into()),
            Ok(request) if request.until <= app.clock.now() => {
                Outcome::Refused("the service came to it too late".into())
            }
            Ok(request) => {
                let command = command(id, request.set_password_of, SecretText(request.hash));
                match app.writer.write(command, Some(once(id))).await {
                    Ok(_) => Outcome::Done,
                    Err(WriteError::Refused(Refused::Refusal(refusal))) => {
                        Outcome::Refused(refusal.to_string())
                    }
                    // It stays, and is tried again.
                    Err(WriteError::NotNow(_)) => continue,
                    Err(error) => Outcome::Refused(error.to_string()),
                }
            }
        };
        let outcome = serde_json::to_string(&outcome).unwrap_or_default();
        in_time(requests::answer(&app.pool, id, &outcome)).await?;
    }
    Ok(())
}

/// The idempotency key of a request, whoever carries it out. An id is given to one request only.
fn once(id: Uuid) -> Idempotency {
    let key = Sha256::new().chain_update("operator request").chain_update(id.as_bytes());
    Idempotency { key: key.finalize().into(), body: [0; 32] }
}

fn command(request_id: Uuid, user: UserId, hash: SecretText) -> Command {
    Command {
        actor: Actor::Operator { command: "password".into() },
        request_id,
        // An operator acts in no organization.
        organization: OrganizationId(Uuid::nil()),
        action: Action::SetPassword(SetPassword { user, hash, checked: None }),
    }
}

/// What `counterfoil password` prints.
#[derive(Serialize)]
pub struct Printed {
    /// Whose password was set.
    pub user: PrintedUser,
}

/// A user whose password was set.
#[derive(Serialize)]
pub struct PrintedUser {
    /// Its id.
    pub id: UserId,
    /// Its e-mail address.
    pub email: String,
    /// The password, unless it was given.
    pub password: Option<String>,
}

/// Why no password was set.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Nobody has the address.
    #[error(
        "no user signs in by the e-mail address {0:?}; nothing was changed. Is it spelt as at `counterfoil init --owner`?"
    )]
    UnknownUser(String),
    /// There is nobody yet.
    #[error("there is no user yet: `counterfoil init --organization NAME --owner EMAIL` makes the first one")]
    NobodyYet,
    /// The running service refused.
    #[error("nothing was changed: {0}")]
    Refused(String),
    /// The running service said nothing, or it was not heard.
    #[error(
        "the running service was asked, and no answer came within {PATIENCE} s or could be read: it may or may not have set the password; look at its log, and run this again"
    )]
    NoAnswer,
    /// The password could not be hashed.
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
    /// The database.
    #[error("the database cannot be used: {0}")]
    Load(#[from] LoadError),
    /// No session.
    #[error(transparent)]
    Session(SessionError),
    /// The write failed, or its outcome is not known.
    #[error("it did not finish: {0}; run it again")]
    Write(#[from] BatchError),
}

impl From<sqlx::Error> for OperatorError {
    fn from(error: sqlx::Error) -> Self {
        Self::Load(error.into())
    }
}

/// Sets a user's password, a new one if none is given, and ends the user's sessions.
///
/// # Errors
/// See [`OperatorError`].
pub async fn set_password(
    database: &Database,
    clock: &Clock,
    email: &str,
    given: Option<Password>,
) -> Result<Printed, OperatorError> {
    let Some(found) = people::by_address(&database.pool, &folded(email.trim())).await? else {
        return Err(match people::first_organization(&database.pool).await? {
            None => OperatorError::NobodyYet,
            Some(_) => OperatorError::UnknownUser(email.into()),
        });
    };
    let (id, email) = (found.user.id, people::address(&database.pool, &found.user).await?);
    let generated = given.is_none();
    let password = given.unwrap_or_else(Password::generate);
    let hash = password.hash().map_err(|error| OperatorError::Hash(error.to_string()))?;
    deliver(database, clock, id, hash).await?;
    let password = generated.then(|| password.into_shown());
    Ok(Printed { user: PrintedUser { id, email, password } })
}

/// Has it done by the running service, or does it if none runs. Once a request was made, somebody may carry it out, or be
/// at it, whatever fails here: only an outcome says what became of it.
async fn deliver(
    database: &Database,
    clock: &Clock,
    user: UserId,
    hash: SecretText,
) -> Result<(), OperatorError> {
    let (id, mut asked) = (clock.uuid(), false);
    match delivered(database, clock, id, user, hash, &mut asked).await {
        Err(error) if asked && !matches!(error, OperatorError::Refused(_)) => {
            let outcome = in_time(requests::take_away(&database.pool, id)).await;
            outcome.ok().flatten().map_or(Err(OperatorError::NoAnswer), |outcome| said(&outcome))
        }
        done => done,
    }
}

/// What an outcome says.
fn said(outcome: &str) -> Result<(), OperatorError> {
    match serde_json::from_str(outcome) {
        Ok(Outcome::Done) => Ok(()),
        Ok(Outcome::Refused(why)) => Err(OperatorError::Refused(why)),
        Err(_) => Err(OperatorError::NoAnswer),
    }
}

async fn delivered(
    database: &Database,
    clock: &Clock,
    id: Uuid,
    user: UserId,
    hash: SecretText,
    asked: &mut bool,
) -> Result<(), OperatorError> {
    let pool = &database.pool;
    let until = Instant::now() + Duration::from_secs(PATIENCE.unsigned_abs());
    for round in 0u32.. {
        if *asked && let Some(outcome) = requests::outcome(pool, id).await? {
            // What is not taken away now holds no hash any more.
            let _ = requests::take_away(pool, id).await;
            return said(&outcome);
        }
        // Looked at now and then, since the service may stop while it is waited for.
        if round % 8 == 0 {
            match Session::try_take(&database.options).await {
                // Nobody carries out requests any more. One that was carried out and not answered is known by its id.
                Ok(session) => {
                    requests::take_away(pool, id).await?;
                    return directly(session, clock, id, user, hash).await;
                }
                Err(SessionError::AnotherServes) => {}
                Err(error) => return Err(OperatorError::Session(error)),
            }
        }
        if Instant::now() > until {
            break;
        }
        if !*asked {
            let until = clock.now().plus_seconds(PATIENCE);
            let request = Request { set_password_of: user, hash: hash.0.clone(), until };
            *asked = true;
            requests::ask(pool, id, &serde_json::to_string(&request).unwrap_or_default()).await?;
        }
        tokio::time::sleep(POLL).await;
    }
    Err(OperatorError::NoAnswer)
}

/// Sets it with the serving lock held. Nobody answers from memory for sessions, so there is nobody to wait for.
async fn directly(
    mut session: Session,
    clock: &Clock,
    id: Uuid,
    user: UserId,
    hash: SecretText,
) -> Result<(), OperatorError> {
    let (command, once) = (command(id, user, hash), once(id));
    let commands = [(&command, Some(&once))];
    let input = Input { commands: &commands, clock, limits: Limits::default(), faults: None };
    let committed = batch::run(&mut session.connection, &input, None).await;
    session.close().await;
    match committed?.replies.into_iter().next() {
        Some(Err(Refused::Refusal(refusal))) => Err(OperatorError::Refused(refusal.to_string())),
        _ => Ok(()),
    }
}
