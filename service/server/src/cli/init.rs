//! `counterfoil init`.

use super::{document, password_from_stdin, with_database};
use counterfoil::clock::Clock;
use counterfoil::config::Config;
use counterfoil::init::{Printed, init};
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
    let password = if *password_stdin { Some(password_from_stdin()?) } else { None };
    let printed = with_database(config, async |database| {
        Ok(init(database, &Clock::system(), &config.prefixes, organization, owner, password).await?)
    })
    .await?;
    if *json {
        document(&serde_json::to_string(&printed)?);
    } else {
        print(&printed);
    }
    Ok(())
}

/// Prints the credentials as lines that can be pasted into a shell, under the names that the README's requests use.
#[expect(clippy::print_stdout, reason = "the credentials are this command's output")]
pub(crate) fn print(printed: &Printed) {
    let Printed { organization, owner, gateway } = printed;
    println!("# Organization {} ({}), owner {}.", organization.name, organization.id, owner.email);
    println!("# None of this is shown again. The token lasts for 24 hours.");
    if let Some(password) = &owner.password {
        println!("PASSWORD='{password}'");
    }
    println!("TOKEN='{}'", owner.token);
    println!("GATEWAY='{}'", gateway.client_id);
    println!("SECRET='{}'", gateway.client_secret);
}
