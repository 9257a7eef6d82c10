//! `counterfoil init`: the first organization, with its owner, its environment and its gateway, in one step.

use crate::clock::{Clock, random};
use crate::event_log::batch::{self, Input, Refused};
use crate::event_log::failure::BatchError;
use crate::event_log::session::{is_served, proofs_run_out};
use crate::passwords::Password;
use crate::postgres::connect::{Database, DatabaseError};
use crate::read_model::people;
use crate::read_model::tables::LoadError;
use crate::read_model::tables::beside::folded;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Command};
use counterfoil_domain::decide::Limits;
use counterfoil_domain::gateway_commands::NewGatewayToken;
use counterfoil_domain::ids::{EnvironmentId, GatewayId, OrganizationId, TokenId, UserId, ValueId};
use counterfoil_domain::people::Bootstrap;
use counterfoil_domain::plaintext::{Plaintext, Prefixes, contains_a_plaintext};
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::token::issue::IssuePersonal;
use counterfoil_domain::value::Value;
use serde::Serialize;
use sqlx::ConnectOptions;

/// What `init` prints, once.
#[derive(Serialize)]
pub struct Printed {
    /// The organization.
    pub organization: PrintedOrganization,
    /// Its owner.
    pub owner: PrintedOwner,
    /// Its gateway.
    pub gateway: PrintedGateway,
}

/// The organization that was made.
#[derive(Serialize)]
pub struct PrintedOrganization {
    /// Its id.
    pub id: OrganizationId,
    /// Its name.
    pub name: String,
}

/// The owner that was made.
#[derive(Serialize)]
pub struct PrintedOwner {
    /// Its id.
    pub id: UserId,
    /// Its e-mail address.
    pub email: String,
    /// Its password, unless it was given.
    pub password: Option<String>,
    /// Its first token.
    pub token: String,
}

/// The gateway that was made.
#[derive(Serialize)]
pub struct PrintedGateway {
    /// Its client id.
    pub client_id: String,
    /// Its first gateway token.
    pub client_secret: String,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The name or the address.
    #[error("{0}")]
    Input(&'static str),
    /// There is an organization.
    #[error(
        "the organization {name:?} exists already (id {id}, owner {owner}): init makes the first one only, and changed nothing. {again}",
        again = again(.owner)
    )]
    Exists {
        /// Its owner's e-mail address.
        owner: String,
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The password could not be hashed.
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
    /// The write failed, or its outcome is not known.
    #[error("init did not finish: {0}; run it again, and it makes or says what exists")]
    Write(#[from] BatchError),
    /// The write was refused.
    #[error("nothing was made: {0}")]
    Refused(Refusal),
}

/// The command that sets an owner's password again. The program is called as it was called now, so that the command can be
/// pasted where it is on nobody's path.
pub fn another_password(owner: &str) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "counterfoil".into());
    format!("{program} password --user {owner}")
}

/// How credentials that nobody saw are had again.
pub fn again(owner: &str) -> String {
    let command = another_password(owner);
    format!(
        "Credentials that were not seen, or were lost: `{command}` sets a new password, with which the owner signs in and issues the rest anew (ops/RUNBOOK.md, \"Credentials that nobody saw\")"
    )
}

/// How long the owner's first token lives, in seconds.
const FIRST_TOKEN: i64 = 24 * 3600;

/// Makes the first organization. Takes only the append lock, so it works beside a running service.
///
/// # Errors
/// See [`InitError`].
pub async fn init(
    database: &Database,
    clock: &Clock,
    prefixes: &Prefixes,
    organization: &str,
    email: &str,
    given: Option<Password>,
) -> Result<Printed, InitError> {
    let (organization, email) = checked(organization, email)?;
    let (token, secret) =
        (Plaintext::mint(&prefixes.personal, &random()), Plaintext::mint(&prefixes.gateway, &random()));
    let generated = given.is_none();
    let password = given.unwrap_or_else(Password::generate);
    let value = |text: &str| Value { id: ValueId(clock.uuid()), salt: random(), text: text.into() };
    let bootstrap = Bootstrap {
        organization: OrganizationId(clock.uuid()),
        numbers: [(); 3].map(|()| i64::from_be_bytes(random()) & i64::MAX),
        organization_name: value(&organization),
        owner: UserId(clock.uuid()),
        email: value(&email),
        email_key: folded(&email),
        password_hash: password.hash().map_err(|error| InitError::Hash(error.to_string()))?,
        token: IssuePersonal {
            id: TokenId(clock.uuid()),
            digest: token.digest(),
            hint: token.hint(&prefixes.personal),
            scopes: None,
            expires_at: Some(clock.now().plus_seconds(FIRST_TOKEN)),
            note: Some(value("made by init")),
        },
        environment: EnvironmentId(clock.uuid()),
        environment_name: value("default"),
        gateway: GatewayId(clock.uuid()),
        gateway_name: value("default"),
        gateway_token: NewGatewayToken {
            id: TokenId(clock.uuid()),
            digest: secret.digest(),
            hint: secret.hint(&prefixes.gateway),
            expires_at: None,
        },
    };
    let printed = Printed {
        organization: PrintedOrganization { id: bootstrap.organization, name: organization },
        owner: PrintedOwner {
            id: bootstrap.owner,
            email,
            password: generated.then(|| password.into_shown()),
            token: token.into_shown(),
        },
        gateway: PrintedGateway {
            client_id: bootstrap.gateway.client_id(),
            client_secret: secret.into_shown(),
        },
    };
    write(database, clock, bootstrap).await?;
    Ok(printed)
}

async fn write(database: &Database, clock: &Clock, bootstrap: Bootstrap) -> Result<(), InitError> {
    let command = Command {
        actor: Actor::Operator { command: "init".into() },
        request_id: clock.uuid(),
        organization: bootstrap.organization,
        action: Action::Bootstrap(Box::new(bootstrap)),
    };
    let mut connection = database.options.connect().await.map_err(DatabaseError::Database)?;
    let commands = [(&command, None)];
    let input = Input { commands: &commands, clock, limits: Limits::default(), faults: None };
    let committed = batch::run(&mut connection, &input, None).await?;
    match committed.replies.into_iter().next() {
        Some(Ok(_)) => Ok(()),
        Some(Err(Refused::Refusal(Refusal::AlreadyInitialized(_)))) => Err(what_exists(database).await?),
        Some(Err(Refused::Refusal(refusal))) => Err(InitError::Refused(refusal)),
        _ => Err(InitError::Input("the command was not decided")),
    }
}

/// Waits until whoever serves knows what was made. A node may answer for a moment by a proof from before, and would
/// call inactive what was just issued; a later proof counts only once everything is applied. So who is shown the
/// credentials after this can use them at once.
pub async fn until_served(database: &Database, clock: &Clock) {
    let served = async { is_served(&mut database.options.connect().await?).await };
    // What was made is made, whatever becomes of this: in doubt somebody serves.
    if served.await.unwrap_or(true) {
        proofs_run_out(clock).await;
    }
}

async fn what_exists(database: &Database) -> Result<InitError, InitError> {
    let failed = |error: LoadError| InitError::Write(error.into());
    let found = people::first_organization(&database.pool).await.map_err(failed)?;
    let owner = people::first_address(&database.pool).await.map_err(failed)?.unwrap_or_default();
    let (id, name) = found.map_or_else(Default::default, |(id, name)| (id.to_string(), name));
    Ok(InitError::Exists { owner, id, name })
}

/// The names of the first organization and of its owner, without blanks at their ends.
///
/// # Errors
/// [`InitError::Input`]: which of them it is, and what it should be.
pub fn checked(organization: &str, email: &str) -> Result<(String, String), InitError> {
    Ok((checked_name(organization)?, checked_email(email)?))
}

/// A name: not blank, at most 200 characters, none of them a control character; blanks at its ends are cut.
fn checked_name(name: &str) -> Result<String, InitError> {
    let name = name.trim();
    let fits = (1..=200).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if contains_a_plaintext(name) {
        Err(InitError::Input("--organization: it holds a token's plaintext, and a name is no place for one"))
    } else if fits {
        Ok(name.into())
    } else {
        Err(InitError::Input(
            "--organization: a name has 1 to 200 characters, none of them a control character",
        ))
    }
}

fn checked_email(email: &str) -> Result<String, InitError> {
    let email = email.trim();
    let parts = email.rsplit_once('@').filter(|(local, domain)| !local.is_empty() && !domain.is_empty());
    let fits =
        parts.is_some() && email.len() <= 254 && !email.chars().any(|c| c.is_control() || c.is_whitespace());
    if contains_a_plaintext(email) {
        Err(InitError::Input("--owner: it holds a token's plaintext, and an address is no place for one"))
    } else if fits {
        Ok(email.into())
    } else {
        Err(InitError::Input("--owner: an e-mail address such as owner@example.com"))
    }
}
