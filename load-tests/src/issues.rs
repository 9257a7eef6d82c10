//! Durable issues over HTTP from an empty cluster, against one transaction per issue.

use crate::Result;
use crate::report::Report;
use crate::seed::Seeder;
use crate::service::{Running, init};
use crate::sizes::median;
use crate::wrk::Loop;
use std::path::Path;
use std::time::{Duration, Instant};

/// Requests under way.
const IN_FLIGHT: usize = 256;
/// The whole run is cut into parts, whose rates show whether it is level.
const PARTS: usize = 6;

/// Issues for `seconds` in all, in parts, and compares them with single transactions.
pub(crate) async fn run(binary: &Path, directory: &Path, seconds: u64, report: &mut Report) -> Result<()> {
    let data = directory.join("issues");
    std::fs::create_dir(&data)?;
    let (service, _) = Running::service(binary, &data).await?;
    let made = init(binary, &data)?;
    let organization = made["organization"]["id"].as_str().ok_or("init printed no organization")?;
    let mut seeder = Seeder::open(&data, organization).await?;
    eprintln!("making users without tokens but one, for the issues …");
    // As many as would be needed at 20,000 issues a second.
    let users = seeder.users(20_000 * seconds as usize / 49, 1).await?;
    let one_a_transaction = single_transactions(&mut seeder).await?;
    seeder.close().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;

    let mut rates = Vec::new();
    let share = users.len() / PARTS;
    for part in 0..PARTS {
        let file = directory.join("issuers.txt");
        let tokens: Vec<&str> =
            users[part * share..(part + 1) * share].iter().map(|user| user[0].plaintext.as_str()).collect();
        std::fs::write(&file, tokens.join("\n") + "\n")?;
        let arguments = vec![file.to_str().ok_or("the directory's name is not UTF-8")?];
        let time = Duration::from_secs(seconds / PARTS as u64);
        let measured =
            Loop { script: "issue.lua", arguments, connections: IN_FLIGHT, time }.run(&service).await?;
        eprintln!("  issues, part {} of {PARTS}: {:.0}/s", part + 1, measured.summary.rate());
        rates.push(measured.summary.rate());
    }
    service.stop()?;
    let all = rates.iter().sum::<f64>() / rates.len() as f64;
    let level = rates[PARTS - 1] / rates[0];
    report.row("durable issues, 256 in flight", format!("{all:.0}/s"), "≥ 6,000/s", all >= 6000.0, all);
    report.row("  last part ÷ first part (level)", format!("{level:.2}"), "≥ 0.85", level >= 0.85, level);
    let times = all / one_a_transaction;
    let shown = format!("{times:.1} × ({one_a_transaction:.0}/s)");
    report.row("  against one transaction per issue", shown, "≥ 5 ×", times >= 5.0, times);
    Ok(())
}

/// Issues one after the other, a transaction each, without HTTP in between: the best that such a service could do.
async fn single_transactions(seeder: &mut Seeder) -> Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..3 {
        let started = Instant::now();
        let mut count = 0u32;
        while started.elapsed() < Duration::from_secs(2) {
            seeder.one_issue().await?;
            count += 1;
        }
        rates.push(f64::from(count) / started.elapsed().as_secs_f64());
    }
    Ok(median(rates.into_iter()))
}
