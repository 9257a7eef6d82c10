//! Passwords: argon2id, a few at a time.
//!
//! A hash costs 19 MiB and some 20 ms of a core, for strangers too. So only a few are computed at once, a few more
//! requests may wait for a short while, and whoever comes on top is told to come back later. A place belongs to the
//! computation and not to the request: a client that goes away does not make room for the next while its hash is
//! still being computed.

use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use counterfoil_domain::command::SecretText;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use unicode_normalization::UnicodeNormalization;

/// Characters of a new password, at least.
pub const SHORTEST: usize = 8;
/// Characters of a password, at most.
pub const LONGEST: usize = 1024;
/// How many may wait for a place.
const WAITING: usize = 16;
/// How long they may wait.
const PATIENCE: Duration = Duration::from_secs(2);

/// A password that came from outside. It has no telling `Debug`, and its memory is overwritten.
pub struct Password(zeroize::Zeroizing<String>);

impl Password {
    /// Takes a text that can be a password: not empty, not too long, no control characters. Composed (NFC, as RFC
    /// 8265 has it), since keyboards differ in how they send an accent.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn new(text: String) -> Result<Self, &'static str> {
        let text = zeroize::Zeroizing::new(text);
        match () {
            () if text.is_empty() => Err("A password is not empty."),
            () if text.chars().count() > LONGEST => Err("A password has at most 1024 characters."),
            () if text.chars().any(char::is_control) => Err("A password has no control characters."),
            () => Ok(Self(zeroize::Zeroizing::new(text.nfc().collect()))),
        }
    }

    /// The same for a password that is to be set, which must be long enough.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn chosen(text: String) -> Result<Self, &'static str> {
        let password = Self::new(text)?;
        let long_enough = password.0.chars().count() >= SHORTEST;
        if long_enough { Ok(password) } else { Err("A password has at least 8 characters.") }
    }

    /// A password of 142 random bits.
    pub fn generate() -> Self {
        let random = counterfoil_domain::plaintext::Plaintext::mint("", &crate::clock::random()).into_shown();
        Self(zeroize::Zeroizing::new(random[..24].to_string()))
    }

    /// Gives it away, to be shown once.
    pub fn into_shown(mut self) -> String {
        std::mem::take(&mut *self.0)
    }

    /// Its hash as a PHC string of argon2id, with the cost that OWASP recommends. It takes a while: on a server, go
    /// through [`Passwords`].
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn hash(&self) -> Result<SecretText, argon2::password_hash::Error> {
        let hash =
            Argon2::default().hash_password_with_salt(self.0.as_bytes(), &crate::clock::random::<16>())?;
        Ok(SecretText(hash.to_string()))
    }

    fn fits(&self, hash: &SecretText) -> bool {
        Argon2::default().verify_password(self.0.as_bytes(), hash.0.as_str()).is_ok()
    }
}

/// Why a password was neither checked nor hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too many at a time.
    #[error("too many passwords are being checked")]
    Busy,
    /// The computation failed.
    #[error("the password could not be hashed")]
    Failed,
}

/// See the module.
#[derive(Clone)]
pub struct Passwords {
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// The hash of a password that nobody has: what is checked for an address that nobody has.
    nobodys: Arc<SecretText>,
}

/// A place in which one password is checked or hashed.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    nobodys: Arc<SecretText>,
}

impl Passwords {
    /// Half of the machine's cores at a time, and at least one: the rest goes on introspecting.
    ///
    /// # Errors
    /// If argon2 does not work here.
    pub fn new() -> Result<Self, PasswordError> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let nobodys = Password::generate().hash().map_err(|_| PasswordError::Failed)?;
        Ok(Self {
            places: Arc::new(Semaphore::new((cores / 2).max(1))),
            waiting: Arc::new(Semaphore::new(WAITING)),
            nobodys: Arc::new(nobodys),
        })
    }

    /// Waits for a place, not for long.
    ///
    /// # Errors
    /// [`PasswordError::Busy`] if too many wait, or it takes too long.
    pub async fn place(&self) -> Result<Place, PasswordError> {
        let _waiting = self.waiting.clone().try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        match tokio::time::timeout(PATIENCE, self.places.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place { _permit: permit, nobodys: self.nobodys.clone() }),
            _ => Err(PasswordError::Busy),
        }
    }
}

impl Place {
    /// Whether a password fits a hash. Without a hash it is compared with nobody's: that takes as long, and fails.
    ///
    /// # Errors
    /// [`PasswordError::Failed`].
    pub async fn fits(
        self,
        password: Password,
        hash: Option<SecretText>,
    ) -> Result<(bool, Place), PasswordError> {
        self.compute(move |nobodys| match &hash {
            Some(hash) => password.fits(hash),
            None => {
                std::hint::black_box(password.fits(nobodys));
                false
            }
        })
        .await
    }

    /// A password's hash.
    ///
    /// # Errors
    /// [`PasswordError::Failed`].
    pub async fn hash(self, password: Password) -> Result<SecretText, PasswordError> {
        let (hash, _) = self.compute(move |_| password.hash()).await?;
        hash.map_err(|_| PasswordError::Failed)
    }

    /// Computes on a thread for such work. The place goes along, and comes back with the result.
    async fn compute<T: Send + 'static>(
        self,
        work: impl FnOnce(&SecretText) -> T + Send + 'static,
    ) -> Result<(T, Self), PasswordError> {
        let computed = tokio::task::spawn_blocking(move || (work(&self.nobodys), self)).await;
        computed.map_err(|_| PasswordError::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_password_has_bounds() {
        for bad in ["", "a\0b", "a\nb", &"x".repeat(1025)] {
            assert!(Password::new(bad.into()).is_err(), "{bad:?}");
        }
        assert!(Password::new("é".repeat(1024)).is_ok());
        assert!(Password::chosen("1234567".into()).is_err());
        assert!(Password::chosen("ééééééé8".into()).is_ok());
    }

    #[test]
    fn an_accent_is_the_same_however_it_is_sent() {
        let hash = Password::new("caf\u{e9}-caf\u{e9}".into()).unwrap().hash().unwrap();
        assert!(Password::new("cafe\u{301}-cafe\u{301}".into()).unwrap().fits(&hash));
        assert!(!Password::new("cafe-cafe".into()).unwrap().fits(&hash));
    }

    #[tokio::test]
    async fn a_place_is_taken_while_its_hash_is_computed() {
        let passwords = Passwords { places: Arc::new(Semaphore::new(1)), ..Passwords::new().unwrap() };
        let (begun, begins) = std::sync::mpsc::channel();
        let (end, ends) = std::sync::mpsc::channel::<()>();
        let place = passwords.place().await.unwrap();
        let request = tokio::spawn(place.compute(move |_| {
            begun.send(()).unwrap();
            ends.recv().unwrap();
        }));
        tokio::task::spawn_blocking(move || begins.recv()).await.unwrap().unwrap();
        // Its client went away.
        request.abort();
        assert!(request.await.is_err());
        assert_eq!(passwords.places.available_permits(), 0);
        end.send(()).unwrap();
        assert!(passwords.place().await.is_ok());
    }

    #[tokio::test]
    async fn only_a_few_wait() {
        let passwords = Passwords { waiting: Arc::new(Semaphore::new(1)), ..Passwords::new().unwrap() };
        let _all: Vec<_> = std::iter::from_fn(|| passwords.places.clone().try_acquire_owned().ok()).collect();
        let mut first = std::pin::pin!(passwords.place());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(matches!(passwords.place().now_or_never(), Some(Err(PasswordError::Busy))));
    }
}
