//! The whole benchmark, in order.

use crate::Result;
use crate::report::Report;
use crate::seed::Seeder;
use crate::service::{Running, counterfoil, init};
use crate::sizes::{Rounds, Size, grow, median, sample};
use crate::under_load::Load;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The service's program.
    #[arg(long)]
    binary: PathBuf,
    /// Where results are written.
    #[arg(long)]
    results: PathBuf,
    /// Live tokens at the end.
    #[arg(long, default_value_t = 1_000_000)]
    tokens: usize,
    /// Seconds of a round: short ones, since a machine that is shared changes from one moment to the next.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Rounds at the largest size.
    #[arg(long, default_value_t = 12)]
    rounds: usize,
    /// Seconds of issues.
    #[arg(long, default_value_t = 60)]
    issue_seconds: u64,
    /// One part alone, for whoever works on it.
    #[arg(long)]
    only: Option<Part>,
}

/// Rounds at each of the smaller sizes.
const SMALLER: usize = 8;
/// Starts of which the median counts.
const STARTS: usize = 3;

/// A part of the benchmark.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Introspection at every size, the start, `verify` and `replay`.
    Introspections,
    /// Durable issues.
    Issues,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    // PostgreSQL may run as another account, which must reach the directory.
    let directory = tempfile::tempdir_in("/var/tmp")?;
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755))?;
    let mut report = Report::new();
    let wanted = |part| arguments.only.is_none_or(|only| only == part);
    let (mut sizes, mut issues) = (Vec::new(), Vec::new());
    if wanted(Part::Introspections) {
        sizes = introspections(arguments, directory.path(), &mut report).await?;
    }
    if wanted(Part::Issues) {
        issues =
            crate::issues::run(&arguments.binary, directory.path(), arguments.issue_seconds, &mut report)
                .await?;
    }
    report.print();
    // Half a table would be taken for a whole one.
    if arguments.only.is_none() { report.write(&arguments.results, &sizes, &issues) } else { Ok(()) }
}

async fn introspections(arguments: &Arguments, directory: &Path, report: &mut Report) -> Result<Vec<Size>> {
    let data = directory.join("tokens");
    std::fs::create_dir(&data)?;
    let (service, _) = Running::service(&arguments.binary, &data).await?;
    let made = init(&arguments.binary, &data)?;
    let text = |a: &str, b: &str| made[a][b].as_str().unwrap_or_default().to_string();
    let pair = format!("{}:{}", text("gateway", "client_id"), text("gateway", "client_secret"));
    let authorization = format!("Basic {}", STANDARD.encode(pair));
    let mut seeder = Seeder::open(&data, &text("organization", "id")).await?;
    let mut seeded = Vec::new();
    let mut sizes = Vec::new();
    let smaller = [1000, 10_000, 100_000].into_iter().filter(|tokens| *tokens < arguments.tokens);
    let all: Vec<usize> = smaller.chain([arguments.tokens]).collect();
    let mut service = Some(service);
    for tokens in &all {
        // The largest is loaded at a start, as after a deploy.
        let largest = tokens == all.last().unwrap_or(tokens);
        if largest && let Some(service) = service.take() {
            service.stop()?;
        }
        grow(&mut seeder, &mut seeded, *tokens).await?;
        seeder.settle().await?;
        let running = match service.take() {
            Some(running) => running,
            None => start(arguments, &data, report).await?,
        };
        running.has_applied(seeder.head()).await?;
        let file = sample(directory, &seeded)?;
        let answer = directory.join("answer.json");
        std::fs::write(&answer, introspected(&running, &authorization, &seeded[0][0].plaintext).await?)?;
        let baseline = Running::baseline(&answer).await?;
        let time = Duration::from_secs(arguments.seconds);
        let count = if largest { arguments.rounds } else { SMALLER };
        let rounds =
            Rounds { service: &running, baseline: &baseline, authorization: &authorization, time, count };
        sizes.push(rounds.run(*tokens, &file).await?);
        service = Some(running);
    }
    compare(&sizes, report);
    let service = service.ok_or("no size was measured")?;
    let capacity = sizes.last().map_or(0.0, |size| size.service(|m| m.summary.rate()));
    let time = Duration::from_secs(5 * arguments.seconds);
    Load { service: &service, authorization: &authorization, seeded: &seeded, capacity, time }
        .run(report)
        .await?;
    service.stop()?;
    audit(arguments, &data, report)?;
    seeder.close().await?;
    start_of_both(arguments, &data, report).await?;
    Ok(sizes)
}

/// Starts the service on what was seeded, thrice. Its private PostgreSQL is up already, as it is after a crash of the
/// service.
async fn start(arguments: &Arguments, data: &Path, report: &mut Report) -> Result<Running> {
    let mut took = Vec::new();
    let running = loop {
        let (running, start) = Running::service(&arguments.binary, data).await?;
        took.push(start.as_secs_f64());
        if took.len() == STARTS {
            break running;
        }
        running.stop()?;
    };
    let took = median(took.into_iter());
    let shown = format!("{took:.2} s");
    report.row("process start to ready, its PostgreSQL up", shown, "≤ 2.5 s", took <= 2.5, took);
    let (bytes, digests) = (
        running.metric("counterfoil_index_bytes").await?,
        running.metric("counterfoil_index_digests").await?,
    );
    let each = bytes / digests;
    let shown = format!("{each:.0} bytes ({digests:.0} tokens)");
    report.row("memory of the digest index, a token", shown, "≤ 120", each <= 120.0, each);
    Ok(running)
}

/// Starts the service, which starts its PostgreSQL, as after the machine was started.
async fn start_of_both(arguments: &Arguments, data: &Path, report: &mut Report) -> Result<()> {
    let (running, took) = Running::service(&arguments.binary, data).await?;
    running.stop()?;
    let took = took.as_secs_f64();
    report.row(
        "process start to ready, PostgreSQL's start included",
        format!("{took:.2} s"),
        "(no target)",
        true,
        took,
    );
    Ok(())
}

/// The body that the service answers for an active token: the baseline's.
async fn introspected(service: &Running, authorization: &str, plaintext: &str) -> Result<Vec<u8>> {
    let request = crate::requests::introspection(authorization, plaintext);
    let answer = crate::open_loop::body(service.addr, &request).await?;
    let document: Value = serde_json::from_slice(&answer)?;
    if document["active"] == true { Ok(answer) } else { Err("a seeded token is not active".into()) }
}

fn compare(sizes: &[Size], report: &mut Report) {
    let (Some(first), Some(last)) = (sizes.first(), sizes.last()) else { return };
    let rate = last.ratio(|m| m.summary.rate());
    let shown = format!(
        "{rate:.3} ({:.0}/s of {:.0}/s)",
        last.service(|m| m.summary.rate()),
        last.baseline(|m| m.summary.rate())
    );
    report.row("introspection ÷ fixed answer, throughput", shown, "≥ 0.93", rate >= 0.93, rate);
    let cpu = last.ratio(|m| m.cpu_us);
    let shown =
        format!("{cpu:.3} ({:.1} µs of {:.1} µs)", last.service(|m| m.cpu_us), last.baseline(|m| m.cpu_us));
    report.row("the same, CPU a request", shown, "≤ 1.10", cpu <= 1.10, cpu);
    for size in sizes {
        let (cpu, rate) = (size.ratio(|m| m.cpu_us), size.ratio(|m| m.summary.rate()));
        let shown = format!("{cpu:.3} ({rate:.3} of its throughput)");
        report.row(&format!("  CPU a request at {} tokens", size.tokens), shown, "", true, cpu);
    }
    // Against the fixed answer of the same minute, so that the machine's moods do not count.
    let flat = last.ratio(|m| m.cpu_us) / first.ratio(|m| m.cpu_us);
    let shown = format!("{flat:.2} ({} to {} tokens)", first.tokens, last.tokens);
    report.row("CPU a request, largest ÷ smallest", shown, "≤ 1.2", flat <= 1.2, flat);
    let p99 = last.service(|m| m.summary.p99_us) / 1e3;
    report.row("closed loop, p99", format!("{p99:.2} ms"), "(no target)", true, p99);
}

/// `verify` and `replay` over the whole log.
fn audit(arguments: &Arguments, data: &Path, report: &mut Report) -> Result<()> {
    let (document, took) = audited(arguments, data, &["verify", "--json"])?;
    let events = document["events"].as_u64().ok_or("verify said no count of events")?;
    rate(report, "verify", events, took);
    let until = events.to_string();
    let (_, took) = audited(arguments, data, &["replay", "--until", &until, "--json"])?;
    rate(report, "replay", events, took);
    Ok(())
}

/// Runs a subcommand from its start to its end, and reads its document.
fn audited(arguments: &Arguments, data: &Path, command: &[&str]) -> Result<(Value, f64)> {
    eprintln!("{} …", command[0]);
    let started = Instant::now();
    let output = counterfoil(&arguments.binary, data).args(command).output()?;
    let took = started.elapsed().as_secs_f64();
    if !output.status.success() {
        return Err(format!("{} failed: {}", command[0], String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok((serde_json::from_slice(&output.stdout)?, took))
}

fn rate(report: &mut Report, what: &str, events: u64, took: f64) {
    let rate = events as f64 / took;
    let shown = format!("{rate:.0} events/s ({events} in {took:.1} s)");
    report.row(what, shown, "≥ 200,000/s", rate >= 200_000.0, rate);
}
