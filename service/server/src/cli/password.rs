//! `counterfoil password`.

use super::{password_from_stdin, show, with_database};
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
    #[arg(long, alias = "stdin")]
    password_stdin: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(config: &Config, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let Arguments { user, password_stdin, json } = arguments;
    let given = if *password_stdin { Some(password_from_stdin()?) } else { None };
    with_database(config, async |database| {
        let printed = set_password(database, &Clock::system(), user, given).await?;
        let text = if *json { serde_json::to_string(&printed)? } else { pasted(&printed) };
        show(&text, "Run it again: it sets another one")
    })
    .await
}

fn pasted(Printed { user }: &Printed) -> String {
    let set =
        format!("# The password of {} ({}) is set, and the user's sessions have ended.", user.email, user.id);
    match &user.password {
        Some(password) => format!("{set}\n# It is not shown again.\nPASSWORD='{password}'"),
        None => set,
    }
}
