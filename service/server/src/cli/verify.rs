//! `counterfoil verify`.

use super::progress::{self, Measured};
use super::{document, json, with_database};
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
}

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    head: u64,
    chain: &'a str,
    #[serde(flatten)]
    measured: Measured,
    rows: u64,
    /// Of a download: positions that it lacks, and whether it reaches to the head as of then.
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
    if arguments.json {
        json(&described(&verified, measured, arguments.from.is_some()))?;
    } else {
        print(&verified, &measured, arguments.from.is_some());
    }
    match verified.findings.count {
        0 => Ok(()),
        1 => Err("1 difference was found".into()),
        count => Err(format!("{count} differences were found").into()),
    }
}

fn described(verified: &Verified, measured: Measured, is_download: bool) -> Document<'_> {
    let Verified { head, chain, rows, findings, extent, .. } = verified;
    Document {
        ok: findings.count == 0,
        head: *head,
        chain,
        measured,
        rows: *rows,
        missing: is_download.then_some(extent.missing),
        reaches_head: is_download.then_some(extent.end.is_some_and(|(_, whole)| whole)),
        difference_count: findings.count,
        differences: &findings.first,
    }
}

fn print(verified: &Verified, measured: &Measured, is_download: bool) {
    for difference in &verified.findings.first {
        document(&difference.to_string());
    }
    let Verified { head, chain, rows, .. } = verified;
    document(&format!("{measured}, up to event {head}, whose chain value is {chain}"));
    if is_download {
        said_of_a_download(verified);
        return;
    }
    document(&format!("{rows} rows of the tables were compared with what the events fold into"));
}

/// What a download can show, and what it cannot.
fn said_of_a_download(verified: &Verified) {
    let extent = verified.extent;
    match extent.end {
        Some((_, true)) => {}
        Some((head, false)) => {
            document(&format!("the download ends before the head as of then, which was event {head}"));
        }
        None => document("the download has no last line that says where it ended: it may have been cut"),
    }
    if extent.missing == 0 {
        document(
            "the download has every event: its chain shows that none was changed, added or left out before its end",
        );
    } else {
        document(&format!(
            "{} events before its last are not in the download: its reader may not see them, or it was filtered. \
             Events that follow each other are held by the chain; whether anything was left out, and what comes \
             after a gap, is not. {} events depend on missing ones and could not be folded",
            extent.missing, extent.unfolded
        ));
    }
    document("tables and personal values were not compared: they are not in a download");
}
