//! Introspection at 10³, 10⁴, 10⁵ and 10⁶ live tokens, each against the fixed answer, in alternating rounds.

use crate::Result;
use crate::seed::{Seeded, Seeder};
use crate::service::Running;
use crate::wrk::{Loop, Measured};
use rand::seq::IndexedRandom;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Standing tokens of a seeded user.
pub(crate) const TOKENS: usize = 50;
/// Connections of a closed loop.
const CONNECTIONS: usize = 64;
/// Random tokens of a size that are introspected: enough to be in no cache.
const SAMPLE: usize = 200_000;

/// Counts what must not be answered here: it is a success, too, and a cheaper one.
const INACTIVE: &str = "counterfoil_introspections_total{outcome=\"inactive\"}";

/// Where rounds are run, and with what.
pub(crate) struct Rounds<'a> {
    pub(crate) service: &'a Running,
    pub(crate) baseline: &'a Running,
    /// The gateway's credentials as a header.
    pub(crate) authorization: &'a str,
    pub(crate) time: Duration,
    pub(crate) count: usize,
}

/// The rounds of one size.
#[derive(serde::Serialize)]
pub(crate) struct Size {
    pub(crate) tokens: usize,
    pub(crate) service: Vec<Measured>,
    pub(crate) baseline: Vec<Measured>,
}

impl Rounds<'_> {
    /// Alternates between the two: what else the machine does then falls on both.
    pub(crate) async fn run(&self, tokens: usize, file: &Path) -> Result<Size> {
        let file = file.to_str().ok_or("the directory's name is not UTF-8")?;
        let arguments = vec![file, self.authorization];
        let one = Loop { script: "introspect.lua", arguments, connections: CONNECTIONS, time: self.time };
        let mut size = Size { tokens, service: Vec::new(), baseline: Vec::new() };
        let inactive = self.service.metric(INACTIVE).await?;
        for round in 0..self.count {
            // Each goes first as often as the other: what a machine slows down by within a round falls on both.
            if round % 2 == 0 {
                size.service.push(one.run(self.service).await?);
                size.baseline.push(one.run(self.baseline).await?);
            } else {
                size.baseline.push(one.run(self.baseline).await?);
                size.service.push(one.run(self.service).await?);
            }
            let ratio = size.service[round].summary.rate() / size.baseline[round].summary.rate();
            eprintln!(
                "  {tokens} tokens, round {} of {}: {ratio:.3} of the fixed answer",
                round + 1,
                self.count
            );
        }
        let others = self.service.metric(INACTIVE).await? - inactive;
        if others > 0.0 {
            return Err(format!("{others} introspections of live tokens were answered \"inactive\"").into());
        }
        Ok(size)
    }
}

impl Size {
    /// The median over the rounds of service ÷ baseline.
    pub(crate) fn ratio(&self, of: impl Fn(&Measured) -> f64) -> f64 {
        median(self.service.iter().zip(&self.baseline).map(|(service, fixed)| of(service) / of(fixed)))
    }

    /// The service's median.
    pub(crate) fn service(&self, of: impl Fn(&Measured) -> f64) -> f64 {
        median(self.service.iter().map(of))
    }

    /// The baseline's median.
    pub(crate) fn baseline(&self, of: impl Fn(&Measured) -> f64) -> f64 {
        median(self.baseline.iter().map(of))
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match (values.len() / 2, values.len() % 2) {
        (0, 0) => f64::NAN,
        (middle, 0) => f64::midpoint(values[middle - 1], values[middle]),
        (middle, _) => values[middle],
    }
}

/// Seeds users until `tokens` tokens stand.
pub(crate) async fn grow(seeder: &mut Seeder, seeded: &mut Vec<Vec<Seeded>>, tokens: usize) -> Result<()> {
    eprintln!("making {tokens} tokens through the writer's own code …");
    let started = std::time::Instant::now();
    let before = seeded.len();
    while seeded.len() * TOKENS < tokens {
        let users = (tokens / TOKENS - seeded.len()).min(1000);
        seeded.extend(seeder.users(users, TOKENS).await?);
        let (made, took) = ((seeded.len() - before) * TOKENS, started.elapsed().as_secs_f64());
        eprint!("\r  {} of {tokens}, {:.0}/s ", seeded.len() * TOKENS, made as f64 / took);
    }
    eprintln!();
    Ok(())
}

/// Writes a random sample of plaintexts, one a line.
pub(crate) fn sample(directory: &Path, seeded: &[Vec<Seeded>]) -> Result<PathBuf> {
    let file = directory.join("introspected.txt");
    let all: Vec<&str> = seeded.iter().flatten().map(|token| token.plaintext.as_str()).collect();
    let chosen: Vec<&str> = all.sample(&mut rand::rng(), SAMPLE.min(all.len())).copied().collect();
    std::fs::write(&file, chosen.join("\n") + "\n")?;
    Ok(file)
}
