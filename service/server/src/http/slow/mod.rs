//! Clients that keep the service waiting, and which of them makes way when there are too many.
//!
//! A body that is waited for, an answer that nobody takes and a connection of HTTP/2 hold tens of kilobytes each, for as
//! long as their client likes within its time; a connection on which nothing is under way holds little. So there are
//! bounds on the former, far below that on connections. For one that comes on top, one that has rested makes way, of an
//! address that holds no less: so whoever opens many harms its own address, and whoever is quick nobody. If there is none,
//! the one that comes makes way itself.

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
use tokio::time::Instant;
pub(super) use wait::Waiting;

/// There may be one of each kind for so many connections.
const ONE_IN: usize = 32;
/// So many there may be in any case, and in no case more: each that comes on top looks at all of them.
const BOUNDS: (usize, usize) = (64, 4096);
/// How long one has moved nothing that makes way for another address, unless its own holds a quarter of all.
const RESTED: Duration = Duration::from_secs(1);
/// How long a connection of HTTP/2 has that makes way for one of its own address: it costs more to open again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who may be sent away.
pub(super) trait Slow: Send + Sync {
    /// Since when nothing has moved.
    fn since(&self) -> Instant;

    /// How much it holds, in places.
    fn weight(&self) -> usize;

    /// It makes way.
    fn end(&self);
}

/// Those of one kind. Clones share them.
#[derive(Clone)]
pub struct Crowd {
    most: usize,
    /// How long one has moved nothing that makes way for another of its address.
    patience: Duration,
    members: Arc<Mutex<Members>>,
    ended: Counter,
}

#[derive(Default)]
struct Members {
    next: u64,
    all: HashMap<u64, (IpAddr, Arc<dyn Slow>)>,
    /// When one last made way for want of other places.
    made_way: Option<Instant>,
}

impl Crowd {
    /// Nobody yet, of a listener with so many connections. Who makes way is counted.
    fn new(connections: usize, patience: Duration, ended: &Counter) -> Self {
        let most = (connections / ONE_IN).clamp(BOUNDS.0, BOUNDS.1);
        Self { most, patience, members: Arc::default(), ended: ended.clone() }
    }

    /// Requests whose bodies are waited for, and answers that nobody takes.
    pub fn of_requests(connections: usize, ended: &Counter) -> Self {
        Self::new(connections, Duration::ZERO, ended)
    }

    /// Connections of HTTP/2.
    pub fn of_http2(connections: usize, ended: &Counter) -> Self {
        Self::new(connections, PATIENCE, ended)
    }

    /// One more, of this address. If there are too many, another makes way; none, if nobody does.
    pub(super) fn join(&self, from: IpAddr, member: Arc<dyn Slow>) -> Option<Member> {
        let from = ClientAddress(from).bucket();
        let mut members = self.members();
        let mut victim = None;
        if members.all.len() >= self.most {
            victim = self.slowest(&members, from, 1).and_then(|number| members.all.remove(&number));
            if victim.is_none() {
                self.ended.increment(1);
                return None;
            }
        }
        let number = members.next;
        members.next += 1;
        members.all.insert(number, (from, member));
        drop(members);
        self.end(victim);
        Some(Member { of: self.clone(), number })
    }

    /// The places have run out of which each holds some: for one of this address, another makes way that holds more than
    /// one, if there is such. What it held is free a moment later, so it is one at a time.
    pub(super) fn make_way(&self, from: IpAddr) {
        let mut members = self.members();
        if members.made_way.is_some_and(|at| at.elapsed() < RESTED) {
            return;
        }
        let number = self.slowest(&members, ClientAddress(from).bucket(), 2);
        let victim = number.and_then(|number| members.all.remove(&number));
        members.made_way = victim.is_some().then(Instant::now).or(members.made_way);
        drop(members);
        self.end(victim);
    }

    /// Who makes way for one of an address: the one that has rested longest, of the address that holds the most.
    fn slowest(&self, members: &Members, asks: IpAddr, holds: usize) -> Option<u64> {
        let mut weights: HashMap<IpAddr, usize> = HashMap::new();
        for (from, member) in members.all.values() {
            *weights.entry(*from).or_default() += member.weight();
        }
        let own = weights.get(&asks).map_or(0, |own| own + 1);
        let turn = |(number, (from, member)): (&u64, &(IpAddr, Arc<dyn Slow>))| {
            let weight = weights.get(from).copied().unwrap_or_default();
            let rested = match *from == asks {
                true => self.patience,
                false if weight < own => return None,
                false if 4 * weight >= self.most => Duration::ZERO,
                false => RESTED,
            };
            let since = member.since();
            (member.weight() >= holds && since.elapsed() >= rested).then_some((
                weight,
                Reverse(since),
                *number,
            ))
        };
        members.all.iter().filter_map(turn).max().map(|(_, _, number)| number)
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
