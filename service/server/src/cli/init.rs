//! `counterfoil init`.

use super::{password_from_stdin, show, signalled, with_made_database};
use counterfoil::clock::Clock;
use counterfoil::config::Config;
use counterfoil::init::{Printed, again, checked, init, until_served};
use std::error::Error;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The organization's name.
    #[arg(long)]
    organization: String,
    /// The owner's e-mail address.
    #[arg(long)]
    owner: String,
    /// Read the owner's password from standard input instead of making one.
    #[arg(long)]
    password_stdin: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(config: &Config, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let Arguments { organization, owner, password_stdin, json } = arguments;
    // Before a private cluster is made for it.
    checked(organization, owner)?;
    let password = if *password_stdin { Some(password_from_stdin()?) } else { None };
    with_made_database(config, async |database| {
        let clock = Clock::system();
        let made = init(database, &clock, &config.prefixes, organization, owner, password).await?;
        tokio::select! {
            () = until_served(database, &clock) => {}
            // What nobody would see again is shown all the same.
            _ = signalled() => {}
        }
        // At once: giving a private cluster up takes time, in which this may be killed.
        let text = if *json { serde_json::to_string(&made)? } else { pasted(&made) };
        show(&text, &again(&made.owner.email))
    })
    .await
}

/// The credentials as lines that can be pasted into a shell, under the names that the README's requests use.
pub(crate) fn pasted(printed: &Printed) -> String {
    let Printed { organization, owner, gateway } = printed;
    let mut lines = vec![
        format!("# Organization {} ({}), owner {}.", organization.name, organization.id, owner.email),
        "# None of this is shown again. The token lasts for 24 hours.".into(),
    ];
    lines.extend(owner.password.as_ref().map(|password| format!("PASSWORD='{password}'")));
    lines.push(format!("TOKEN='{}'", owner.token));
    lines.push(format!("GATEWAY='{}'", gateway.client_id));
    lines.push(format!("SECRET='{}'", gateway.client_secret));
    lines.join("\n")
}
