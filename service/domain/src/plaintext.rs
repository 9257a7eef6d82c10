//! The secret and what is kept of it.

mod form;

pub use form::{contains_a_plaintext, has_form};

use crate::token::Kind;
use sha2::{Digest as _, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// How many random bytes go into a plaintext: 256 bits, which nobody guesses.
pub const ENTROPY_BYTES: usize = 32;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 is just above 2^256.
const SECRET_CHARACTERS: usize = 43;
/// 62^6 is above 2^32.
const CHECKSUM_CHARACTERS: usize = 6;
/// How long a prefix may be.
pub const LONGEST_PREFIX: usize = 16;
/// Characters of the secret that a hint shows: enough to tell fifty tokens apart, 24 bits of 256.
const HINT_CHARACTERS: usize = 4;

/// What the holder of a token has. It can be shown once ([`Plaintext::into_shown`]), has no telling `Debug`,
/// and its memory is overwritten when it is dropped.
pub struct Plaintext(Zeroizing<String>);

impl Plaintext {
    /// Mints a plaintext: `prefix`, 43 base62 characters of `entropy`, and 6 of the CRC32 of all before. The
    /// checksum only filters typing errors and lets scanners recognise a leak.
    ///
    /// The published contract is "opaque, `[A-Za-z0-9_]`, at most 255 characters".
    pub fn mint(prefix: &str, entropy: &[u8; ENTROPY_BYTES]) -> Self {
        let mut text =
            Zeroizing::new(String::with_capacity(prefix.len() + SECRET_CHARACTERS + CHECKSUM_CHARACTERS));
        text.push_str(prefix);
        push_base62(&mut text, *entropy, SECRET_CHARACTERS);
        let checksum = crc32fast::hash(text.as_bytes());
        push_checksum(&mut text, checksum);
        Self(text)
    }

    /// The digest under which this plaintext is stored.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// The beginning that lists show: the prefix and four characters of `mint`'s secret.
    pub fn hint(&self, prefix: &str) -> String {
        self.0.chars().take(prefix.len() + HINT_CHARACTERS).collect()
    }

    /// Gives the secret away, for the one answer that shows it.
    pub fn into_shown(mut self) -> String {
        std::mem::take(&mut *self.0)
    }
}

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plaintext(…)")
    }
}

/// Writes a checksum in base 62.
fn push_checksum(text: &mut String, checksum: u32) {
    let mut wide = [0; ENTROPY_BYTES];
    wide[ENTROPY_BYTES - 4..].copy_from_slice(&checksum.to_be_bytes());
    push_base62(text, wide, CHECKSUM_CHARACTERS);
}

/// Writes the number `big_endian` in base 62, `count` digits long, the most significant first.
fn push_base62(text: &mut String, mut big_endian: [u8; ENTROPY_BYTES], count: usize) {
    let mut reversed = Zeroizing::new([0u8; SECRET_CHARACTERS]);
    for place in reversed.iter_mut().take(count) {
        let mut remainder = 0u32;
        for byte in &mut big_endian {
            let value = remainder << 8 | u32::from(*byte);
            *byte = (value / 62) as u8;
            remainder = value % 62;
        }
        *place = BASE62[remainder as usize];
    }
    text.extend(reversed[..count].iter().rev().map(|b| char::from(*b)));
}

/// SHA-256 of a whole plaintext: the only thing that is stored of it. The plaintexts we mint have 256 bits of
/// entropy, so a plain hash is enough; a slow one would only slow introspection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of a presented string, whatever its alphabet or length.
    pub fn of(presented: &[u8]) -> Self {
        Self(Sha256::digest(presented).into())
    }

    /// Equality in constant time, for a digest that a stranger's secret led to.
    pub fn same(&self, other: &Self) -> bool {
        let (ours, _) = self.0.as_chunks::<8>();
        let (theirs, _) = other.0.as_chunks::<8>();
        let words = ours.iter().zip(theirs);
        let differing =
            words.fold(0, |bits, (a, b)| bits | (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b)));
        differing.ct_eq(&0).into()
    }

    /// 64 lower-case hex digits.
    pub fn hex(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }));
            }
        }
        text
    }

    /// Reads 64 lower-case hex digits. Every stored event has some, so it looks at each once.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let mut digest = [0; 32];
        let mut wrong = 0;
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            let (high, low) = (NIBBLES[usize::from(pair[0])], NIBBLES[usize::from(pair[1])]);
            wrong |= high | low;
            *byte = high << 4 | low & 15;
        }
        (wrong & 0xf0 == 0).then_some(Self(digest))
    }
}

/// What each character stands for as a lower-case hex digit; 0xff for nothing.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        let digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
        nibbles[digit as usize] = value;
        value += 1;
    }
    nibbles
};

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hex())
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(crate::read_str(|text| {
            Self::from_hex(text).ok_or("not 64 lower-case hex digits")
        }))
    }
}

/// The prefix of each kind, as configured. [`Prefixes::default`] has the published ones.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prefixes {
    /// Of personal tokens: `cf_pat_`.
    pub personal: String,
    /// Of admin tokens: `cf_org_`.
    pub admin: String,
    /// Of caller keys: `cf_key_`.
    pub caller: String,
    /// Of gateway tokens: `cf_gw_`.
    pub gateway: String,
}

impl Prefixes {
    /// The prefix of one kind.
    pub fn of(&self, kind: Kind) -> &str {
        match kind {
            Kind::Personal => &self.personal,
            Kind::Admin => &self.admin,
            Kind::Caller => &self.caller,
            Kind::Gateway => &self.gateway,
        }
    }
}

impl Default for Prefixes {
    fn default() -> Self {
        let [personal, admin, caller, gateway] =
            ["cf_pat_", "cf_org_", "cf_key_", "cf_gw_"].map(String::from);
        Self { personal, admin, caller, gateway }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minted(entropy: [u8; 32]) -> String {
        Plaintext::mint("cf_pat_", &entropy).into_shown()
    }

    #[test]
    fn a_plaintext_has_its_published_form() {
        for entropy in [[0; 32], [7; 32], [255; 32]] {
            let text = minted(entropy);
            assert_eq!(text.len(), "cf_pat_".len() + 43 + 6);
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{text}");
        }
        assert!(minted([0; 32]).starts_with("cf_pat_0000000000"));
    }

    #[test]
    fn base62_loses_nothing() {
        // 2^256 - 1 in base 62, computed with arbitrary precision elsewhere.
        assert!(minted([255; 32]).starts_with("cf_pat_"));
        let mut one = [0; 32];
        one[31] = 61;
        assert_eq!(&minted(one)[7..50], "000000000000000000000000000000000000000000z");
        one[31] = 62;
        assert_eq!(&minted(one)[7..50], "0000000000000000000000000000000000000000010");
    }

    #[test]
    fn a_hint_is_a_true_beginning() {
        let plaintext = Plaintext::mint("a_b_c_", &[9; 32]);
        let hint = plaintext.hint("a_b_c_");
        assert_eq!(hint.len(), 10);
        assert!(plaintext.into_shown().starts_with(&hint));
    }

    #[test]
    fn neither_half_tells_itself() {
        let plaintext = Plaintext::mint("cf_pat_", &[3; 32]);
        assert_eq!(format!("{plaintext:?} {:?}", plaintext.digest()), "Plaintext(…) Digest(…)");
    }

    #[test]
    fn a_digest_goes_through_hex() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(Digest::from_hex(&digest.hex()), Some(digest));
        assert_eq!(Digest::from_hex(&digest.hex().to_uppercase()), None);
        assert!(digest.same(&Digest::of(b"abc")) && !digest.same(&Digest::of(b"abd")));
    }
}
