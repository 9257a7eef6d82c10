//! A naive model of tokens, which shares no code and no representation with the domain: plain lists, whole seconds,
//! and each plaintext with a life of its own.

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

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Happened,
    AlreadySo,
    Refused(&'static str),
}

use Verdict::{AlreadySo, Happened, Refused};

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

    pub(crate) fn narrow(&mut self, who: Who, token: usize, scopes: u8, dies: Option<i64>) -> Verdict {
        self.try_narrow(who, token, scopes, dies).unwrap_or_else(|refused| refused)
    }

    fn try_narrow(
        &mut self,
        who: Who,
        token: usize,
        scopes: u8,
        dies: Option<i64>,
    ) -> Result<Verdict, Verdict> {
        let user = self.allow_write(who, false)?.user;
        let now = self.now;
        let token = self.own_alive(user, token)?;
        if scopes & !token.scopes != 0 {
            return Err(Refused("widens"));
        }
        let dies = dies.filter(|dies| Some(*dies) != token.dies);
        if let (Some(asked), Some(present)) = (dies, token.dies)
            && asked > present
        {
            return Err(Refused("widens"));
        }
        if dies.is_some_and(|dies| dies <= now) {
            return Err(Refused("past"));
        }
        let changes = dies.is_some() || (scopes != 0 && scopes != token.scopes);
        token.scopes = if scopes == 0 { token.scopes } else { scopes };
        token.dies = dies.or(token.dies);
        Ok(if changes { Happened } else { AlreadySo })
    }

    pub(crate) fn rotate(
        &mut self,
        who: Who,
        token: usize,
        seen: usize,
        dies: Option<Option<i64>>,
        keep: Keep,
        number: u128,
    ) -> Verdict {
        self.try_rotate(who, token, seen, dies, keep, number).map_or_else(|refused| refused, |()| Happened)
    }

    fn try_rotate(
        &mut self,
        who: Who,
        at: usize,
        seen: usize,
        dies: Option<Option<i64>>,
        keep: Keep,
        number: u128,
    ) -> Result<(), Verdict> {
        let allowed = self.allow_write(who, true)?;
        let now = self.now;
        let token = self.own_alive(allowed.user, at)?;
        if token.scopes & !allowed.scopes != 0 {
            return Err(Refused("stronger"));
        }
        if token.secrets.len() != seen {
            return Err(Refused("rotated meanwhile"));
        }
        let new_death = dies.unwrap_or(token.dies);
        if new_death.is_some_and(|dies| dies <= now) {
            return Err(Refused("past"));
        }
        let old_death = token.dies.unwrap_or(i64::MAX);
        let uses_the_last = allowed.shown == Some((at, seen - 1));
        let (last, before) = token.secrets.split_last_mut().unwrap();
        let lost =
            |s: &&mut Secret| !s.dead && s.ends_by_use_of_the_next && s.until.is_none_or(|until| now < until);
        let held = before.iter_mut().find(lost).filter(|_| !uses_the_last);
        match (keep, held) {
            _ if token.off => token.secrets.iter_mut().for_each(|secret| secret.dead = true),
            (Keep::Seconds(0), _) => token.secrets.iter_mut().for_each(|secret| secret.dead = true),
            (Keep::UntilUsed, Some(_)) => last.dead = true,
            (Keep::Seconds(seconds), Some(held)) => {
                (held.until, held.ends_by_use_of_the_next) = (held.until.min(Some(now + seconds)), false);
                last.dead = true;
            }
            (keep, None) => {
                before.iter_mut().for_each(|secret| secret.dead = true);
                let (seconds, by_use) = match keep {
                    Keep::UntilUsed => (86_400, true),
                    Keep::Seconds(seconds) => (seconds, false),
                };
                (last.until, last.ends_by_use_of_the_next) = (Some(old_death.min(now + seconds)), by_use);
            }
        }
        token.secrets.push(Secret { number, until: None, ends_by_use_of_the_next: false, dead: false });
        token.dies = new_death;
        Ok(())
    }

    pub(crate) fn switch(&mut self, who: Who, token: usize, off: bool) -> Verdict {
        let outcome = self.allow_write(who, !off).and_then(|allowed| {
            let token = self.own_alive(allowed.user, token)?;
            if off {
                let before = token.secrets.len() - 1;
                token.secrets[..before].iter_mut().for_each(|secret| secret.dead = true);
            }
            Ok(if std::mem::replace(&mut token.off, off) == off { AlreadySo } else { Happened })
        });
        outcome.unwrap_or_else(|refused| refused)
    }

    pub(crate) fn revoke(&mut self, who: Who, token: usize) -> Verdict {
        let outcome = self.allow(who, false).and_then(|allowed| {
            let itself = allowed.shown.is_some_and(|(shown, _)| shown == token);
            if !itself && allowed.scopes & WRITE == 0 {
                return Err(Refused("scope"));
            }
            let token = self.own(allowed.user, token)?;
            Ok(if std::mem::replace(&mut token.gone, true) { AlreadySo } else { Happened })
        });
        outcome.unwrap_or_else(|refused| refused)
    }

    /// The number of tokens that ended, and the verdict.
    pub(crate) fn revoke_all(&mut self, who: Who, sessions: bool) -> (usize, Verdict) {
        match self.allow_write(who, false) {
            Err(refused) => (0, refused),
            Ok(Allowed { user, .. }) => {
                let count = self.standing(&Owner::User(user));
                let all = self.tokens.iter_mut().flatten();
                all.filter(|token| token.owner == Owner::User(user)).for_each(|token| token.gone = true);
                self.signed_in[user] &= !sessions;
                (count, if count == 0 && !sessions { AlreadySo } else { Happened })
            }
        }
    }

    /// Whoever holds a plaintext ends its token; `through` is a gateway by one of its tokens.
    pub(crate) fn revoke_held(&mut self, through: Option<usize>, token: usize, secret: usize) -> Verdict {
        self.bury();
        if through.is_some_and(|shown| !self.gateway_works(shown)) {
            return Refused("unauthenticated");
        }
        let Some(Some(held)) = self.tokens.get(token) else { return AlreadySo };
        let known = held.secrets.get(secret).is_some_and(|held| self.lives(held));
        let hidden = through.is_some() && matches!(held.owner, Owner::Gateway(_));
        if held.gone || !known || hidden {
            return AlreadySo;
        }
        self.tokens[token].as_mut().unwrap().gone = true;
        Happened
    }

    /// A gateway token that opens the door: it works, and its gateway is there.
    fn gateway_works(&self, token: usize) -> bool {
        let owner = self.tokens.get(token).and_then(Option::as_ref).map(|token| &token.owner);
        matches!(owner, Some(Owner::Gateway(gateway)) if self.gateways[*gateway] == Some(true))
            && self.works(token, 0)
    }

    /// The present plaintext of a token was used.
    pub(crate) fn used(&mut self, token: usize) -> Verdict {
        self.bury();
        let Some(Some(token)) = self.tokens.get_mut(token) else { return AlreadySo };
        let before = token.secrets.len() - 1;
        let waiting = token.secrets[..before].iter_mut().find(|s| !s.dead && s.ends_by_use_of_the_next);
        match waiting {
            Some(secret) if !token.gone => {
                secret.dead = true;
                Happened
            }
            _ => AlreadySo,
        }
    }

    pub(crate) fn register(&mut self, who: Who, number: u128) -> Verdict {
        let outcome = self.allow_manager(who, true);
        self.gateways.push(outcome.is_ok().then_some(true));
        match outcome {
            Ok(_) => self.come(Owner::Gateway(self.gateways.len() - 1), 0, None, number),
            Err(_) => self.tokens.push(None),
        }
        outcome.map_or_else(|refused| refused, |_| Happened)
    }

    pub(crate) fn add_gateway_token(
        &mut self,
        who: Who,
        gateway: usize,
        dies: Option<i64>,
        number: u128,
    ) -> Verdict {
        let outcome = self.allow_manager(who, true).and_then(|_| {
            if self.gateways.get(gateway) != Some(&Some(true)) {
                return Err(Refused("not found"));
            }
            if dies.is_some_and(|dies| dies <= self.now) {
                return Err(Refused("past"));
            }
            let full = self.standing(&Owner::Gateway(gateway)) >= 10;
            if full { Err(Refused("limit")) } else { Ok(()) }
        });
        match outcome {
            Ok(()) => self.come(Owner::Gateway(gateway), 0, dies, number),
            Err(_) => self.tokens.push(None),
        }
        outcome.map_or_else(|refused| refused, |()| Happened)
    }

    pub(crate) fn remove_gateway(&mut self, who: Who, gateway: usize) -> Verdict {
        if let Err(refused) = self.allow_manager(who, false) {
            return refused;
        }
        match self.gateways.get_mut(gateway) {
            None | Some(None) => Refused("not found"),
            Some(Some(false)) => AlreadySo,
            Some(Some(present)) => {
                *present = false;
                let all = self.tokens.iter_mut().flatten();
                all.filter(|token| token.owner == Owner::Gateway(gateway))
                    .for_each(|token| token.gone = true);
                Happened
            }
        }
    }

    pub(crate) fn end_gateway_token(&mut self, who: Who, gateway: usize, token: usize) -> Verdict {
        if let Err(refused) = self.allow_manager(who, false) {
            return refused;
        }
        let found = self.tokens.get_mut(token).and_then(Option::as_mut);
        match found.filter(|token| token.owner == Owner::Gateway(gateway)) {
            None => Refused("not found"),
            Some(token) => {
                if std::mem::replace(&mut token.gone, true) {
                    AlreadySo
                } else {
                    Happened
                }
            }
        }
    }
}
