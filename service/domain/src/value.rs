//! Personal values: names, notes, addresses. An event commits to one without containing it, so that a person's
//! data can be erased and the log still proves what it proved.

use crate::ids::ValueId;
use crate::plaintext::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// A value on its way into the store, made by whoever brings a command: `decide` has no randomness.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    /// Its id in the store.
    pub id: ValueId,
    /// 128 random bits, so that a short value cannot be found by trying.
    pub salt: [u8; 16],
    /// The text itself.
    pub text: String,
}

impl Value {
    /// What the event says of this value.
    pub fn reference(&self) -> ValueRef {
        ValueRef { id: self.id, commitment: commitment(&self.salt, &self.text) }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({})", self.id)
    }
}

/// SHA-256(salt ‖ value).
pub fn commitment(salt: &[u8; 16], text: &str) -> Digest {
    Digest(Sha256::new().chain_update(salt).chain_update(text.as_bytes()).finalize().into())
}

/// A commitment to a personal value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueRef {
    /// Where the value is kept, until it is erased.
    pub id: ValueId,
    /// SHA-256(salt ‖ value).
    pub commitment: Digest,
}
