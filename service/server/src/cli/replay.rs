//! `counterfoil replay`.

use super::progress::{self, Measured};
use super::{document, downloads, json, say, with_database};
use counterfoil::clock::Clock;
use counterfoil::config::Config;
use counterfoil::event_log::replay::{Live, Replayed, Totals, database, download};
use counterfoil::event_log::verify::{Extent, Until};
use counterfoil_domain::timestamp::Timestamp;
use serde::Serialize;
use std::error::Error;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The moment: after the event of this seq, or before an RFC 3339 time. Without it, the log's end and now.
    #[arg(long, value_name = "SEQ|TIME", value_parser = until)]
    until: Option<Until>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// A download of /v1/events (application/x-ndjson) instead of the database.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Take a download that lacks events for what it is: tokens of the list may have ended, and others may be missing.
    #[arg(long, requires = "from")]
    partial: bool,
}

/// Reads a moment as the feed's `until` does.
fn until(text: &str) -> Result<Until, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(Until::Seq).map_err(|_| "there is no such position".into());
    }
    Timestamp::parse(text).map(Until::Instant).map_err(|error| format!("not a seq, and {error}"))
}

#[derive(Serialize)]
struct Document<'a> {
    seq: u64,
    chain: &'a str,
    at: Timestamp,
    #[serde(flatten)]
    measured: Measured,
    /// Positions that a download lacks: tokens of the list may have ended by them, and others may be missing.
    missing: u64,
    /// Of a download: whether its last event is the head as of then.
    #[serde(skip_serializing_if = "Option::is_none")]
    reaches_head: Option<bool>,
    totals: Totals,
    live: &'a [Live],
}

pub(crate) async fn run(config: &Config, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let (until, now) = (arguments.until, Clock::system().now());
    let (replayed, measured) = match &arguments.from {
        Some(path) => {
            let replay = |progress| async move { download(path, until, now, &progress).await };
            progress::shown("replayed", replay).await?
        }
        None => {
            with_database(config, async |found| {
                let pool = &found.pool;
                let replay = |progress| async move { database(pool, until, now, &progress).await };
                Ok(progress::shown("replayed", replay).await?)
            })
            .await?
        }
    };
    let is_download = arguments.from.is_some();
    if let Some(first) = replayed.findings.first.first() {
        let (what, count) = (if is_download { "download" } else { "log" }, replayed.findings.count);
        return Err(
            format!("the {what} is damaged, so nothing follows from it ({count} found): {first}").into()
        );
    }
    let measured = measured.of(replayed.events);
    if arguments.json {
        json(&described(&replayed, measured, is_download))?;
    } else {
        print(&replayed, &measured, is_download)
    }
    let Extent { missing, .. } = replayed.extent;
    if missing == 0 {
        return Ok(());
    }
    let lacking = downloads::lacking(&replayed.extent);
    if !arguments.partial {
        return Err(lacking.into());
    }
    say(&lacking);
    Ok(())
}

fn described(replayed: &Replayed, measured: Measured, is_download: bool) -> Document<'_> {
    let Replayed { seq, chain, at, live, totals, extent, .. } = replayed;
    let reaches_head = is_download.then_some(extent.reaches_head());
    let (seq, at, missing, totals) = (*seq, *at, extent.missing, *totals);
    Document { seq, chain, at, measured, missing, reaches_head, totals, live }
}

fn print(replayed: &Replayed, measured: &Measured, is_download: bool) {
    let lines: String = replayed.live.iter().map(|token| format!("{token}\n")).collect();
    if !lines.is_empty() {
        document(lines.trim_end());
    }
    let Totals { live, owners, disabled, expired, ended } = replayed.totals;
    document(&format!("{measured}, up to event {}, whose chain value is {}", replayed.seq, replayed.chain));
    document(&format!(
        "at {}: {live} tokens of {owners} owners live; {disabled} disabled, {expired} expired, {ended} ended",
        replayed.at
    ));
    if is_download {
        downloads::said(&replayed.extent, replayed.seq);
    }
}
