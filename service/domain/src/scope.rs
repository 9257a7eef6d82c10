//! Scopes: what a token was narrowed to.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::sync::{Arc, LazyLock};

/// Longest scope-token that is stored, in bytes.
pub const LONGEST: usize = 64;
/// Most scope-tokens in one set.
pub const MOST: usize = 32;

/// A set of scope-tokens (RFC 6749 section 3.3). Never empty: a token that may nothing is not issued.
///
/// It is kept as RFC 6749 writes it, in order and with one blank between scope-tokens, which contain none: millions of
/// small sets are held, copied and compared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scopes(Arc<str>);

/// Why a list is not a set of scopes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotScopes {
    /// A token without scopes could do nothing.
    #[error("at least one scope is needed")]
    Empty,
    /// A scope-token is `%x21 / %x23-5B / %x5D-7E`, at most 64 of them.
    #[error("a scope is 1 to 64 visible ASCII characters without blank, quotation mark and backslash")]
    Malformed,
    /// More than 32.
    #[error("at most 32 scopes")]
    TooMany,
}

impl Scopes {
    /// Checks each scope-token and drops repetitions.
    pub fn new(tokens: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, NotScopes> {
        let mut set: Vec<String> = tokens.into_iter().map(Into::into).collect();
        // Repetitions count: a list has the bound that the API's document can state.
        let listed = set.len();
        set.sort_unstable();
        set.dedup();
        match () {
            () if set.is_empty() => Err(NotScopes::Empty),
            () if listed > MOST => Err(NotScopes::TooMany),
            () if !set.iter().all(|token| is_scope_token(token)) => Err(NotScopes::Malformed),
            () => Ok(Self::of(set.join(" "))),
        }
    }

    /// What a session may, and so the default of what it issues.
    pub fn read_write() -> Self {
        Self::of("read write".into())
    }

    /// A set as RFC 6749 writes it. The sets that nearly all tokens have are kept once.
    fn of(text: String) -> Self {
        static USUAL: LazyLock<[Arc<str>; 3]> =
            LazyLock::new(|| ["read", "write", "read write"].map(Arc::from));
        let known = USUAL.iter().find(|usual| ***usual == *text);
        Self(known.cloned().unwrap_or_else(|| text.into()))
    }

    /// Whether this set contains the scope-token.
    pub fn has(&self, token: &str) -> bool {
        self.iter().any(|own| own == token)
    }

    /// Whether everything in this set is in `other` too.
    pub fn within(&self, other: &Self) -> bool {
        self.iter().all(|token| other.has(token))
    }

    /// The scope-tokens in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ')
    }
}

/// Allows GET and HEAD.
pub const READ: &str = "read";
/// Allows POST, PUT, PATCH and DELETE.
pub const WRITE: &str = "write";
/// The scope-tokens that every organization has.
pub const BUILT_IN: [&str; 2] = [READ, WRITE];

fn is_scope_token(token: &str) -> bool {
    let allowed = |b: u8| matches!(b, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
    !token.is_empty() && token.len() <= LONGEST && token.bytes().all(allowed)
}

impl fmt::Display for Scopes {
    /// The `scope` of RFC 6749: the scope-tokens with one blank between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::<String>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_ordered_and_without_repetition() {
        let scopes = Scopes::new(["write", "read", "write"]).unwrap();
        assert_eq!(scopes.to_string(), "read write");
        assert_eq!(scopes, Scopes::read_write());
    }

    #[test]
    fn only_scope_tokens_are_taken() {
        assert_eq!(Scopes::new(Vec::<String>::new()), Err(NotScopes::Empty));
        for bad in ["", "a b", "a\"b", "a\\b", "ä", "a\0", &"x".repeat(65)] {
            assert_eq!(Scopes::new([bad]), Err(NotScopes::Malformed), "{bad:?}");
        }
        assert!(Scopes::new(["orders:read"]).is_ok());
        assert_eq!(Scopes::new((0..33).map(|n| n.to_string())), Err(NotScopes::TooMany));
        assert_eq!(Scopes::new([READ; 33]), Err(NotScopes::TooMany));
        assert!(Scopes::new([READ; 32]).is_ok());
    }

    #[test]
    fn narrower_is_a_subset() {
        let read = Scopes::new(["read"]).unwrap();
        assert!(read.within(&Scopes::read_write()) && !Scopes::read_write().within(&read));
    }
}
