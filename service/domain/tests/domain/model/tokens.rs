//! What is done to tokens, in the model.

use super::Verdict::{AlreadySo, Happened, Refused};
use super::{Allowed, Keep, Model, Owner, Secret, Verdict, WRITE, Who};

impl Model {
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
        let held = before.iter_mut().enumerate().find(|(place, secret)| {
            let is_shown = allowed.shown == Some((at, *place));
            let was_lost = is_shown || secret.ends_by_use_of_the_next && !uses_the_last;
            !secret.dead && was_lost && secret.until.is_none_or(|until| now < until)
        });
        let held = held.map(|(_, secret)| secret);
        match (keep, held) {
            _ if token.off => token.secrets.iter_mut().for_each(|secret| secret.dead = true),
            (Keep::Seconds(0), _) => token.secrets.iter_mut().for_each(|secret| secret.dead = true),
            (keep, Some(held)) => {
                let (seconds, by_use) = keep.lasts();
                (held.until, held.ends_by_use_of_the_next) = (held.until.min(Some(now + seconds)), by_use);
                last.dead = true;
            }
            (keep, None) => {
                before.iter_mut().for_each(|secret| secret.dead = true);
                let (seconds, by_use) = keep.lasts();
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
}
