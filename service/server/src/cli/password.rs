//! `counterfoil password`.

use super::{document, password_from_stdin, with_database};
use counterfoil::clock::Clock;
use counterfoil::config::Config;
use counterfoil::operator::{Printed, set_password};
use std::error::Error;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The user's e-mail address.
    #[arg(long, value_name = "EMAIL")]
    user: String,
    /// Read the password from standard input instead of making one.
    #[arg(long)]
    stdin: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(config: &Config, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let Arguments { user, stdin, json } = arguments;
    let given = if *stdin { Some(password_from_stdin()?) } else { None };
    let printed = with_database(config, async |database| {
        Ok(set_password(database, &Clock::system(), user, given).await?)
    })
    .await?;
    if *json {
        document(&serde_json::to_string(&printed)?);
    } else {
        print(&printed);
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the password is this command's output")]
fn print(Printed { user }: &Printed) {
    println!("# The password of {} ({}) is set, and the user's sessions have ended.", user.email, user.id);
    if let Some(password) = &user.password {
        println!("# It is not shown again.");
        println!("PASSWORD='{password}'");
    }
}
