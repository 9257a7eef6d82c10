//! What is done to gateways, in the model.

use super::Verdict::{AlreadySo, Happened, Refused};
use super::{Model, Owner, Verdict, Who};

impl Model {
    /// A gateway token that opens the door: it works, and its gateway is there.
    pub(super) fn gateway_works(&self, token: usize) -> bool {
        let owner = self.tokens.get(token).and_then(Option::as_ref).map(|token| &token.owner);
        matches!(owner, Some(Owner::Gateway(gateway)) if self.gateways[*gateway] == Some(true))
            && self.works(token, 0)
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
