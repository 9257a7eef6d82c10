//! A naive model of tokens, which shares no code and no representation with the domain: plain lists, whole seconds,
//! and each plaintext with a life of its own.

mod gateways;
mod tokens;

/// Bits of scopes.
pub(crate) const READ: u8 = 1;
pub(crate) const WRITE: u8 = 2;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    /// A signed-in user.
    User(usize),
    /// The holder of a token's plaintext, by their numbers.
    Holder(usize, usize),
}

/// How long the plaintext before goes on working.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keep {
    UntilUsed,
    Seconds(i64),
}

impl Keep {
    /// For how many seconds at most, and whether a use of the next ends it.
    fn lasts(self) -> (i64, bool) {
        match self {
            Self::UntilUsed => (86_400, true),
            Self::Seconds(seconds) => (seconds, false),
        }
    }
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Happened,
    AlreadySo,
    Refused(&'static str),
}

use Verdict::{Happened, Refused};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    User(usize),
    Gateway(usize),
}

/// One plaintext.
#[derive(Clone, Debug)]
pub(crate) struct Secret {
    /// Which of all plaintexts in the world.
    pub(crate) number: u128,
    until: Option<i64>,
    ends_by_use_of_the_next: bool,
    dead: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) owner: Owner,
    pub(crate) scopes: u8,
    pub(crate) dies: Option<i64>,
    pub(crate) gone: bool,
    pub(crate) off: bool,
    pub(crate) secrets: Vec<Secret>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) now: i64,
    pub(crate) trusted: bool,
    pub(crate) signed_in: Vec<bool>,
    pub(crate) tokens: Vec<Option<Token>>,
    /// Which gateways were registered and not removed; `None` was never registered.
    pub(crate) gateways: Vec<Option<bool>>,
}

/// Who asks, with what it may.
struct Allowed {
    user: usize,
    scopes: u8,
    /// The token and the plaintext that were presented.
    shown: Option<(usize, usize)>,
}

impl Model {
    pub(crate) fn works(&self, token: usize, secret: usize) -> bool {
        let Some(Some(token)) = self.tokens.get(token) else { return false };
        let alive = !token.gone && !token.off && token.dies.is_none_or(|dies| self.now < dies);
        alive && token.secrets.get(secret).is_some_and(|secret| self.lives(secret))
    }

    fn lives(&self, secret: &Secret) -> bool {
        !secret.dead && secret.until.is_none_or(|until| self.now < until)
    }

    /// What the writer does before anything else.
    pub(crate) fn bury(&mut self) {
        for token in self.tokens.iter_mut().flatten() {
            token.gone |= self.trusted && token.dies.is_some_and(|dies| dies <= self.now);
        }
    }

    /// Judges who asks; `widens` is refused while the clocks cannot be trusted.
    fn allow(&mut self, who: Who, widens: bool) -> Result<Allowed, Verdict> {
        self.bury();
        let allowed = match who {
            Who::User(user) if self.signed_in[user] => Allowed { user, scopes: READ | WRITE, shown: None },
            Who::Holder(token, secret) if self.works(token, secret) => {
                let shown = self.tokens[token].as_ref().unwrap();
                let Owner::User(user) = shown.owner else { return Err(Refused("unauthenticated")) };
                Allowed { user, scopes: shown.scopes, shown: Some((token, secret)) }
            }
            _ => return Err(Refused("unauthenticated")),
        };
        if widens && !self.trusted { Err(Refused("clocks")) } else { Ok(allowed) }
    }

    fn allow_write(&mut self, who: Who, widens: bool) -> Result<Allowed, Verdict> {
        let allowed = self.allow(who, widens)?;
        if allowed.scopes & WRITE == 0 { Err(Refused("scope")) } else { Ok(allowed) }
    }

    /// Only the first user, the owner, manages gateways.
    fn allow_manager(&mut self, who: Who, widens: bool) -> Result<Allowed, Verdict> {
        let allowed = self.allow_write(who, widens)?;
        if allowed.user == 0 { Ok(allowed) } else { Err(Refused("forbidden")) }
    }

    fn own(&mut self, user: usize, token: usize) -> Result<&mut Token, Verdict> {
        let found = self.tokens.get_mut(token).and_then(Option::as_mut);
        found.filter(|token| token.owner == Owner::User(user)).ok_or(Refused("not found"))
    }

    fn own_alive(&mut self, user: usize, token: usize) -> Result<&mut Token, Verdict> {
        let now = self.now;
        let token = self.own(user, token)?;
        let alive = !token.gone && token.dies.is_none_or(|dies| now < dies);
        if alive { Ok(token) } else { Err(Refused("ended")) }
    }

    pub(crate) fn standing(&self, owner: &Owner) -> usize {
        self.tokens.iter().flatten().filter(|token| !token.gone && token.owner == *owner).count()
    }

    fn come(&mut self, owner: Owner, scopes: u8, dies: Option<i64>, number: u128) {
        let secret = Secret { number, until: None, ends_by_use_of_the_next: false, dead: false };
        self.tokens.push(Some(Token { owner, scopes, dies, gone: false, off: false, secrets: vec![secret] }));
    }

    /// Every call of an issuing command takes a number, whether it succeeds or not.
    pub(crate) fn issue(&mut self, who: Who, scopes: u8, dies: Option<i64>, number: u128) -> Verdict {
        let outcome = self.may_issue(who, scopes, dies);
        match outcome {
            Ok((user, scopes)) => self.come(Owner::User(user), scopes, dies, number),
            Err(_) => self.tokens.push(None),
        }
        outcome.map_or_else(|refused| refused, |_| Happened)
    }

    fn may_issue(&mut self, who: Who, scopes: u8, dies: Option<i64>) -> Result<(usize, u8), Verdict> {
        let allowed = self.allow_write(who, true)?;
        if scopes & !allowed.scopes != 0 {
            return Err(Refused("stronger"));
        }
        if dies.is_some_and(|dies| dies <= self.now) {
            return Err(Refused("past"));
        }
        if self.standing(&Owner::User(allowed.user)) >= 50 {
            return Err(Refused("limit"));
        }
        Ok((allowed.user, if scopes == 0 { allowed.scopes } else { scopes }))
    }
}
