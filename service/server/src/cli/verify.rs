//! `counterfoil verify`.

use super::progress::{self, Measured};
use super::{document, downloads, json, with_database};
use counterfoil::config::Config;
use counterfoil::event_log::verify::{Difference, Verified, download, verify};
use serde::Serialize;
use std::error::Error;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// A download of /v1/events (application/x-ndjson) instead of the database.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Take a download that lacks events for what it is: its reader may not see all of them, or it was filtered.
    #[arg(long, requires = "from")]
    partial: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    head: u64,
    chain: &'a str,
    #[serde(flatten)]
    measured: Measured,
    rows: u64,
    /// Of a download: positions that it lacks, and whether its last event is the head as of then.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reaches_head: Option<bool>,
    difference_count: u64,
    /// The first thousand.
    differences: &'a [Difference],
}

pub(crate) async fn run(config: &Config, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let (verified, measured) = match &arguments.from {
        Some(path) => {
            progress::shown("verified", |progress| async move { download(path, &progress).await }).await?
        }
        None => {
            with_database(config, async |database| {
                let pool = &database.pool;
                Ok(progress::shown("verified", |progress| async move { verify(pool, &progress).await })
                    .await?)
            })
            .await?
        }
    };
    let measured = measured.of(verified.events);
    let lacks = verified.extent.missing > 0 && !arguments.partial;
    if arguments.json {
        json(&described(&verified, measured, arguments.from.is_some(), lacks))?;
    } else {
        print(&verified, &measured, arguments.from.is_some());
    }
    match verified.findings.count {
        0 if lacks => Err(downloads::lacking(&verified.extent).into()),
        0 => Ok(()),
        1 => Err("1 difference was found".into()),
        count => Err(format!("{count} differences were found").into()),
    }
}

fn described(verified: &Verified, measured: Measured, is_download: bool, lacks: bool) -> Document<'_> {
    let Verified { head, chain, rows, findings, extent, .. } = verified;
    Document {
        ok: findings.count == 0 && !lacks,
        head: *head,
        chain,
        measured,
        rows: *rows,
        missing: is_download.then_some(extent.missing),
        reaches_head: is_download.then_some(extent.reaches_head()),
        difference_count: findings.count,
        differences: &findings.first,
    }
}

fn print(verified: &Verified, measured: &Measured, is_download: bool) {
    for difference in &verified.findings.first {
        document(&difference.to_string());
    }
    let Verified { head, chain, rows, findings, extent, .. } = verified;
    document(&format!("{measured}, up to event {head}, whose chain value is {chain}"));
    if !is_download {
        document(&format!("{rows} rows of the tables were compared with what the events fold into"));
        return;
    }
    // Of one in which something is wrong, that was said.
    if findings.count == 0 {
        downloads::said(extent, *head);
    }
    document("tables and personal values were not compared: they are not in a download");
}
