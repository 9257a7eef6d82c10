//! Clients that keep the service waiting, and which of them makes way when there are too many.
//!
//! A body that is waited for, an answer that nobody takes and a connection of HTTP/2 hold tens of kilobytes each, for as
//! long as their client likes within its time; a connection on which nothing is under way holds little. So there are
//! bounds on the former, far below that on connections. Whoever comes on top is not refused, since it may be quick: the
//! one that has rested longest makes way for it, of those of the address that has the most, so that an address that opens
//! many harms its own. Where coming back costs more than waiting does, such an address has to be patient with itself.

#[cfg(test)]
mod tests;
mod wait;

use crate::ops::rates::ClientAddress;
use metrics::Counter;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
pub(super) use wait::Waiting;

/// There may be one of each kind for so many connections.
const ONE_IN: usize = 32;
/// So many there may be in any case.
const LEAST: usize = 64;

/// Who may be sent away.
pub(super) trait Slow: Send + Sync {
    /// Since when its client has moved nothing. None while it is not the client that is waited for.
    fn since(&self) -> Option<Instant>;

    /// How much it holds, in places.
    fn weight(&self) -> usize;

    /// It makes way.
    fn end(&self);
}

/// How long a connection of HTTP/2 on which nothing moves is left in peace by others of its address.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often who is first in line looks again.
const LOOK: Duration = Duration::from_millis(100);

/// Those of one kind. Clones share them.
#[derive(Clone)]
pub struct Crowd {
    most: usize,
    /// How long each is left in peace by others of its address, and by those of one that holds nearly as much.
    patience: Duration,
    members: Arc<Mutex<Members>>,
    /// Whoever waits to be one of them, one after the other.
    line: Arc<tokio::sync::Mutex<()>>,
    ended: Counter,
}

#[derive(Default)]
struct Members {
    next: u64,
    all: HashMap<u64, (IpAddr, Arc<dyn Slow>)>,
}

/// Whose turn it is to make way.
struct Slowest {
    number: u64,
    since: Instant,
    /// What all of its address hold.
    weight: usize,
}

impl Crowd {
    /// Nobody yet, of a listener with so many connections. Who makes way is counted.
    fn new(connections: usize, patience: Duration, ended: &Counter) -> Self {
        let most = (connections / ONE_IN).max(LEAST);
        Self { most, patience, members: Arc::default(), line: Arc::default(), ended: ended.clone() }
    }

    /// Requests whose bodies are waited for, and answers that nobody takes.
    pub fn of_requests(connections: usize, ended: &Counter) -> Self {
        Self::new(connections, Duration::ZERO, ended)
    }

    /// Connections of HTTP/2, which come back at a greater cost.
    pub fn of_http2(connections: usize, ended: &Counter) -> Self {
        Self::new(connections, PATIENCE, ended)
    }

    /// One more, of this address. If there are too many, another makes way.
    ///
    /// # Errors
    /// Nobody does before this time.
    fn join(&self, from: IpAddr, member: &Arc<dyn Slow>) -> Result<Member, Instant> {
        let from = ClientAddress(from).bucket();
        let mut members = self.members();
        let mut victim = None;
        if members.all.len() >= self.most {
            let now = Instant::now();
            let slowest = members.slowest(1, now).ok_or(now + LOOK)?;
            let in_peace = slowest.since + self.patience;
            if in_peace > now && 2 * members.weight(from) > slowest.weight {
                return Err(in_peace);
            }
            victim = members.all.remove(&slowest.number);
        }
        let number = members.next;
        members.next += 1;
        members.all.insert(number, (from, member.clone()));
        drop(members);
        self.end(victim);
        Ok(Member { of: self.clone(), number })
    }

    /// One more, of this address. If there are too many, and nobody makes way yet, it waits in line, as long as its patience
    /// lasts.
    pub(super) async fn enter(&self, from: IpAddr, member: Arc<dyn Slow>) -> Option<Member> {
        if let Ok(joined) = self.join(from, &member) {
            return Some(joined);
        }
        let in_line = async {
            let _first = self.line.lock().await;
            loop {
                match self.join(from, &member) {
                    Ok(joined) => break joined,
                    // Or one leaves by itself.
                    Err(at) => sleep_until(at.min(Instant::now() + LOOK)).await,
                }
            }
        };
        timeout(self.patience, in_line).await.ok()
    }

    /// The places have run out of which each holds some: one makes way that holds more than one and has rested for so long,
    /// if there is one.
    pub(super) fn make_way(&self, rested: Duration) {
        let mut members = self.members();
        let slowest = Instant::now().checked_sub(rested).and_then(|before| members.slowest(2, before));
        let victim = slowest.and_then(|slowest| members.all.remove(&slowest.number));
        drop(members);
        self.end(victim);
    }

    fn end(&self, victim: Option<(IpAddr, Arc<dyn Slow>)>) {
        if let Some((_, victim)) = victim {
            self.ended.increment(1);
            victim.end();
        }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    /// What all of an address hold.
    fn weight(&self, of: IpAddr) -> usize {
        self.all.values().filter(|(from, _)| *from == of).map(|(_, member)| member.weight()).sum()
    }

    /// The one that has rested longest, of the address that holds the most: one that holds at least so much itself, and has
    /// rested since before this time.
    fn slowest(&self, least: usize, before: Instant) -> Option<Slowest> {
        let mut addresses: HashMap<IpAddr, (usize, Option<(Instant, u64)>)> = HashMap::new();
        for (number, (from, member)) in &self.all {
            let (weight, slowest) = addresses.entry(*from).or_default();
            let holds = member.weight();
            *weight += holds;
            let since = member.since().filter(|since| holds >= least && *since <= before);
            *slowest = slowest.iter().copied().chain(since.map(|since| (since, *number))).min();
        }
        let slowest =
            addresses.into_values().filter_map(|(weight, slowest)| Some((weight, Reverse(slowest?))));
        let (weight, Reverse((since, number))) = slowest.max()?;
        Some(Slowest { number, since, weight })
    }
}

/// One of a crowd, until it is dropped.
pub(super) struct Member {
    of: Crowd,
    number: u64,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.of.members().all.remove(&self.number);
    }
}
