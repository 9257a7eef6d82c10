//! `counterfoil rebuild`.

use super::progress::{self, Measured};
use super::{document, with_database};
use counterfoil::config::Config;
use counterfoil::event_log::rebuild::{RebuildError, Rebuilt, Table, rebuild};
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
    head: u64,
    chain: &'a str,
    #[serde(flatten)]
    measured: Measured,
    /// Rows of all tables that were other ones, missing or too many.
    changed: u64,
    tables: &'a [Table],
}

pub(crate) async fn run(config: &Config, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let done = with_database(config, async |database| {
        let options = &database.options;
        let work = |progress| async move { rebuild(options, &progress).await };
        Ok(progress::shown("folded", work).await)
    })
    .await?;
    if let Err(RebuildError::Damaged(findings)) = &done {
        // A document says what was done, which is nothing.
        findings.first.iter().filter(|_| !arguments.json).for_each(|what| document(&what.to_string()));
    }
    let (rebuilt, measured) = done?;
    let measured = measured.of(rebuilt.events);
    if arguments.json {
        document(&json(&rebuilt, measured)?)
    } else {
        print(&rebuilt, measured)
    }
    Ok(())
}

fn changed(rebuilt: &Rebuilt) -> u64 {
    rebuilt.tables.iter().map(|table| table.changed).sum()
}

fn json(rebuilt: &Rebuilt, measured: Measured) -> serde_json::Result<String> {
    let Rebuilt { head, chain, tables, .. } = rebuilt;
    serde_json::to_string(&Document { head: *head, chain, measured, changed: changed(rebuilt), tables })
}

fn print(rebuilt: &Rebuilt, measured: Measured) {
    for Table { table, rows, changed } in &rebuilt.tables {
        document(&format!("{table}: {rows} rows, {changed} changed"));
    }
    document(&format!("{measured}, up to event {}, whose chain value is {}", rebuilt.head, rebuilt.chain));
    document(&format!("every derived table was written anew; {} rows changed by that", changed(rebuilt)));
    document(
        "start the service now; one that runs, and was only cut off from its database, has to be started again",
    );
}
