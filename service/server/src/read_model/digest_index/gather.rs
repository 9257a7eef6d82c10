//! Gathering what was noted in the records, for whoever writes it down.

use super::uses::Tally;
use super::{DigestIndex, SHARDS, lock, read};
use counterfoil_domain::ids::{GatewayId, TokenId};
use counterfoil_domain::timestamp::Timestamp;

/// Uses of one plaintext through gateways, or of a gateway's own, since they were last taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// Its token.
    pub token: TokenId,
    /// The last use, to the millisecond.
    pub at: Timestamp,
    /// Through which gateway.
    pub by: GatewayId,
    /// How many.
    pub count: u32,
}

/// How far the gathering has come.
#[derive(Default)]
pub(super) struct Gathering {
    /// Uses of plaintexts whose records were taken away meanwhile.
    pub(super) left: Vec<(TokenId, Tally)>,
    shard: usize,
    chunk: usize,
}

impl DigestIndex {
    /// Takes uses, chunk by chunk from where the last call ended, until there are enough or every shard was seen.
    pub fn take_uses(&self, enough: usize) -> Vec<Gathered> {
        let mut gathering = lock(&self.gathering);
        let mut taken = std::mem::take(&mut gathering.left);
        let mut shards = 0;
        // The shard where this began is seen again at the end: its first chunks were not.
        while taken.len() < enough && shards <= SHARDS {
            let shard = read(&self.shards[gathering.shard]);
            if shard.take_uses(gathering.chunk, |token, tally| taken.push((token, tally))) {
                gathering.chunk += 1;
            } else {
                (gathering.shard, gathering.chunk) = ((gathering.shard + 1) % SHARDS, 0);
                shards += 1;
            }
        }
        drop(gathering);
        let directory = read(&self.directory);
        let named =
            |(token, Tally { at, by, count })| Gathered { token, at, by: directory.gateway(by).id, count };
        taken.into_iter().map(named).collect()
    }
}
