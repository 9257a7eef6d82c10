//! Passwords: argon2id, a few at a time.
//!
//! A hash costs 19 MiB and some 20 ms of a core, for strangers too. So only a few are computed at once, a few more
//! requests may wait for a short while, and whoever comes on top is told to come back later. For one account one is
//! computed or waits, and a few stand in line behind it: however often its owner signs in, there is room for others. A place belongs to the
//! computation and not to the request: a client that goes away does not make room for the next while its hash is
//! still being computed.

use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use counterfoil_domain::command::SecretText;
use counterfoil_domain::ids::UserId;
use std::collections::HashMap;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use unicode_normalization::UnicodeNormalization;

/// Characters of a new password, at least.
pub const SHORTEST: usize = 8;
/// Characters of a password, at most.
pub const LONGEST: usize = 1024;
/// How many may wait for a place.
const WAITING: usize = 16;
/// How many may stand in line for the turn of one account, the one whose turn it is included.
const LINE: usize = 4;
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
    /// Accounts that have a turn now, each with its line.
    turns: Turns,
    /// The hash of a password that nobody has: what is checked for an address that nobody has.
    nobodys: Arc<SecretText>,
}

/// Whose turn it is: an account, as strangers try it; the same, from where it has signed in; or a user who changes the
/// password. So strangers take no owner's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Turn {
    /// By the digest of what was typed.
    Strangers([u8; 32]),
    /// The same.
    Known([u8; 32]),
    /// By id.
    User(UserId),
}

type Turns = Arc<Mutex<HashMap<Turn, Line>>>;

/// One account's turn, and how many stand in line for it.
#[derive(Clone)]
struct Line {
    turn: Arc<Semaphore>,
    standing: usize,
}

/// A stand in an account's line.
struct Stand {
    turns: Turns,
    of: Turn,
    turn: Arc<Semaphore>,
}

impl Stand {
    fn take(turns: &Turns, of: Turn) -> Option<Self> {
        let mut lines = turns.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry(of).or_insert_with(|| Line { turn: Arc::new(Semaphore::new(1)), standing: 0 });
        (line.standing < LINE).then(|| {
            line.standing += 1;
            Self { turns: turns.clone(), of, turn: line.turn.clone() }
        })
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let mut lines = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get_mut(&self.of) {
            line.standing -= 1;
            if line.standing == 0 {
                lines.remove(&self.of);
            }
        }
    }
}

/// A place in which one password is checked or hashed.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
    _stand: Stand,
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
            turns: Arc::default(),
            nobodys: Arc::new(nobodys),
        })
    }

    /// Waits for an account's turn and then for a place, not for long.
    ///
    /// # Errors
    /// [`PasswordError::Busy`] if too many wait, or it takes too long.
    pub async fn place(&self, of: Turn) -> Result<Place, PasswordError> {
        let stand = Stand::take(&self.turns, of).ok_or(PasswordError::Busy)?;
        let place = async {
            let turn = stand.turn.clone().acquire_owned().await.map_err(|_| PasswordError::Busy)?;
            let _waiting = self.waiting.clone().try_acquire_owned().map_err(|_| PasswordError::Busy)?;
            let permit = self.places.clone().acquire_owned().await.map_err(|_| PasswordError::Busy)?;
            Ok((permit, turn))
        };
        let (permit, turn) =
            tokio::time::timeout(PATIENCE, place).await.unwrap_or(Err(PasswordError::Busy))?;
        Ok(Place { _permit: permit, _turn: turn, _stand: stand, nobodys: self.nobodys.clone() })
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

    fn turn(of: u8) -> Turn {
        Turn::Known([of; 32])
    }

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
        let place = passwords.place(turn(1)).await.unwrap();
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
        assert!(passwords.place(turn(1)).await.is_ok());
        // The thread that computed gives its stand back last, and may not have come to that.
        let empty = async {
            while !passwords.turns.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, empty).await.is_ok());
    }

    #[tokio::test]
    async fn an_account_takes_turns_and_leaves_the_other_places() {
        let passwords = Passwords { places: Arc::new(Semaphore::new(2)), ..Passwords::new().unwrap() };
        let first = passwords.place(turn(1)).await.unwrap();
        let mut line: Vec<_> = (1..LINE).map(|_| Box::pin(passwords.place(turn(1)))).collect();
        for waits in &mut line {
            assert!(waits.as_mut().now_or_never().is_none());
        }
        assert!(matches!(passwords.place(turn(1)).now_or_never(), Some(Err(PasswordError::Busy))));
        assert!(passwords.place(turn(2)).now_or_never().is_some_and(|place| place.is_ok()));
        drop(first);
        assert!(line.remove(0).await.is_ok());
        drop(line);
        assert!(passwords.turns.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn only_a_few_wait() {
        let passwords = Passwords { waiting: Arc::new(Semaphore::new(1)), ..Passwords::new().unwrap() };
        let _all: Vec<_> = std::iter::from_fn(|| passwords.places.clone().try_acquire_owned().ok()).collect();
        let mut first = std::pin::pin!(passwords.place(turn(1)));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(matches!(passwords.place(turn(2)).now_or_never(), Some(Err(PasswordError::Busy))));
    }
}
