//! Durable issues over HTTP, in a cluster that holds their issuers only, against one transaction per issue.

use crate::Result;
use crate::report::Report;
use crate::seed::{Issuer, Seeder};
use crate::service::{Running, init};
use crate::sizes::{TOKENS, median};
use crate::wrk::Loop;
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// Requests under way.
const IN_FLIGHT: usize = 256;
/// The whole run is cut into parts, whose rates show whether it is level.
const PARTS: usize = 6;

/// How long single transactions run before each part.
const ALONE: Duration = Duration::from_secs(2);
/// Users who issue in them: enough for 5,000 a second.
const ISSUERS: usize = 5000 * 2 * PARTS / TOKENS;

/// What one part of the run came to, in issues a second.
#[derive(Serialize)]
pub(crate) struct Part {
    /// Over HTTP.
    service: f64,
    /// One transaction per issue, just before.
    one_by_one: f64,
}

/// Issues for `seconds` in all, in parts, and compares them with single transactions.
pub(crate) async fn run(
    binary: &Path,
    directory: &Path,
    seconds: u64,
    report: &mut Report,
) -> Result<Vec<Part>> {
    let data = directory.join("issues");
    std::fs::create_dir(&data)?;
    let (service, _) = Running::service(binary, &data).await?;
    let made = init(binary, &data)?;
    let organization = made["organization"]["id"].as_str().ok_or("init printed no organization")?;
    let mut seeder = Seeder::open(&data, organization).await?;
    eprintln!("making users without tokens but one, for the issues …");
    // As many as would be needed at 20,000 issues a second.
    let users = seeder.users(20_000 * seconds as usize / 49, 1).await?;
    // Users who issue in transactions of their own are made beforehand, too.
    let mut alone = Alone::new(seeder).await?;

    let mut parts: Vec<Part> = Vec::new();
    let share = users.len() / PARTS;
    for part in 0..PARTS {
        let single = alone.rate().await?;
        service.has_applied(alone.seeder.head()).await?;
        let file = directory.join("issuers.txt");
        let tokens: Vec<&str> =
            users[part * share..(part + 1) * share].iter().map(|user| user[0].plaintext.as_str()).collect();
        std::fs::write(&file, tokens.join("\n") + "\n")?;
        let arguments = vec![file.to_str().ok_or("the directory's name is not UTF-8")?];
        let time = Duration::from_secs(seconds / PARTS as u64);
        let measured =
            Loop { script: "issue.lua", arguments, connections: IN_FLIGHT, time }.run(&service).await?;
        let rate = measured.summary.rate();
        eprintln!("  issues, part {} of {PARTS}: {rate:.0}/s, {single:.0}/s one by one", part + 1);
        parts.push(Part { service: rate, one_by_one: single });
    }
    alone.seeder.close().await?;
    service.stop()?;
    tell(&parts, report);
    Ok(parts)
}

/// The lines of the table.
fn tell(parts: &[Part], report: &mut Report) {
    let all = parts.iter().map(|part| part.service).sum::<f64>() / parts.len() as f64;
    let level = parts[PARTS - 1].service / parts[0].service;
    report.row(
        "durable issues, 256 in flight, from an empty cluster",
        format!("{all:.0}/s"),
        "≥ 6,000/s",
        all >= 6000.0,
        all,
    );
    report.row("  last part ÷ first part (level)", format!("{level:.2}"), "≥ 0.85", level >= 0.85, level);
    let times = median(parts.iter().map(|part| part.service / part.one_by_one));
    let single = median(parts.iter().map(|part| part.one_by_one));
    let shown = format!("{times:.1} × ({single:.0}/s)");
    report.row("  against one transaction per issue", shown, "≥ 5 ×", times >= 5.0, times);
}

/// Issues one after the other, a transaction each, without HTTP in between: the best that such a service could do.
struct Alone {
    seeder: Seeder,
    issuers: Vec<Issuer>,
}

impl Alone {
    /// Makes the users who issue.
    async fn new(mut seeder: Seeder) -> Result<Self> {
        let issuers = seeder.issuers(ISSUERS).await?;
        Ok(Self { seeder, issuers })
    }

    /// Issues a second of time. Nothing else may append meanwhile.
    async fn rate(&mut self) -> Result<f64> {
        self.seeder.catch_up().await?;
        let started = Instant::now();
        let mut count = 0u32;
        while started.elapsed() < ALONE {
            let issuer = self.issuers.last_mut().ok_or("too few users were made to issue alone")?;
            self.seeder.issue_alone(issuer).await?;
            count += 1;
            if issuer.issued == TOKENS {
                self.issuers.pop();
            }
        }
        Ok(f64::from(count) / started.elapsed().as_secs_f64())
    }
}
