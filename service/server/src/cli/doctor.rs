//! `counterfoil doctor`.

use super::{documents, json, say};
use counterfoil::clock::Clock;
use counterfoil::config::Config;
use counterfoil::ops::doctor::{Check, examine};
use serde::Serialize;
use std::error::Error;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    checks: &'a [Check],
}

pub(crate) async fn run(config: &Config, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let report = examine(config, &Clock::system(), &say).await;
    let wrong = report.wrong();
    if arguments.json {
        json(&Document { ok: wrong == 0, checks: &report.checks })?;
    } else {
        documents(report.checks.iter())?;
    }
    match wrong {
        0 => Ok(()),
        1 => Err("1 thing is wrong".into()),
        count => Err(format!("{count} things are wrong").into()),
    }
}
