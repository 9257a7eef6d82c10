//! Where things lie in hash tables.

use counterfoil_domain::ids::TokenId;
use counterfoil_domain::plaintext::Digest;

/// Random per process: importers choose digests, and must not choose their places.
#[derive(Clone, Copy)]
pub(crate) struct Seed(pub(crate) [u64; 2]);

impl Seed {
    /// The hash of a digest, whose own bits are random already unless somebody chose them.
    pub(crate) fn of_digest(&self, digest: &Digest) -> u64 {
        let half = |at: usize| word(&digest.0, at);
        let first = folded(half(0) ^ self.0[0], half(8) ^ self.0[1]);
        folded(first ^ half(16) ^ self.0[1], half(24) ^ self.0[0] | 1)
    }

    /// The hash of a token's id.
    pub(crate) fn of_id(&self, id: TokenId) -> u64 {
        let bytes = id.0.as_bytes();
        let first = folded(word(bytes, 0) ^ self.0[0], word(bytes, 8) ^ self.0[1]);
        folded(first ^ self.0[1], self.0[0] | 1)
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn folded(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    (wide >> 64) as u64 ^ wide as u64
}
