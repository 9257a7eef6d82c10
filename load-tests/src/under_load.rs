//! Latencies while the service is busy: introspections at 70 % of capacity, revocations beside introspections at half.

use crate::Result;
use crate::open_loop::{OpenLoop, percentile};
use crate::report::Report;
use crate::requests::{introspection, revocation};
use crate::seed::Seeded;
use crate::service::Running;
use rand::seq::IndexedRandom;
use std::sync::Arc;
use std::time::Duration;

/// Random tokens that are introspected in an open loop.
const SAMPLE: usize = 100_000;

/// The requests of the loops.
pub(crate) struct Load<'a> {
    pub(crate) service: &'a Running,
    pub(crate) authorization: &'a str,
    pub(crate) seeded: &'a [Vec<Seeded>],
    /// Introspections a second that the service can do.
    pub(crate) capacity: f64,
    pub(crate) time: Duration,
}

impl Load<'_> {
    /// Measures both.
    pub(crate) async fn run(&self, report: &mut Report) -> Result<()> {
        eprintln!("introspections at 70 % of {:.0}/s, open loop …", self.capacity);
        let latencies = self.introspections(0.7).run().await?;
        let (p50, p99) = (percentile(&latencies, 0.5), percentile(&latencies, 0.99));
        let shown = format!("{:.2} ms (median {:.2} ms)", ms(p99), ms(p50));
        report.row("introspection at 70 %, p99", shown, "≤ 5 ms", ms(p99) <= 5.0, ms(p99));

        eprintln!("revocations beside introspections at half …");
        let (beside, revocations) = (self.introspections(0.5), self.revocations());
        let (_, latencies) = tokio::try_join!(beside.run(), revocations.run())?;
        let (p50, p99) = (percentile(&latencies, 0.5), percentile(&latencies, 0.99));
        let shown = format!("{:.1} ms (median {:.1} ms)", ms(p99), ms(p50));
        report.row("revoke beside introspection at half, p99", shown, "≤ 20 ms", ms(p99) <= 20.0, ms(p99));
        Ok(())
    }

    fn introspections(&self, share: f64) -> OpenLoop {
        // The revoked ones are the last users': these stay active.
        let stay: Vec<&Seeded> = self.seeded[..self.seeded.len() / 2].iter().flatten().collect();
        let chosen = stay.sample(&mut rand::rng(), SAMPLE.min(stay.len()));
        let requests = chosen.map(|token| introspection(self.authorization, &token.plaintext).into_bytes());
        OpenLoop {
            addr: self.service.addr,
            requests: Arc::new(requests.collect()),
            rate: self.capacity * share,
            connections: 64,
            time: self.time,
        }
    }

    fn revocations(&self) -> OpenLoop {
        let (rate, connections) = (200.0, 16);
        // A user revokes all its tokens but the first, with which it does so.
        let last = self.seeded.iter().rev().take(self.seeded.len() / 4);
        let requests = last.flat_map(|tokens| {
            tokens[1..].iter().map(|token| revocation(token.id, &tokens[0].plaintext).into_bytes())
        });
        OpenLoop {
            addr: self.service.addr,
            requests: Arc::new(requests.collect()),
            rate,
            connections,
            time: self.time,
        }
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
