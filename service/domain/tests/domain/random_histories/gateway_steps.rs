//! Steps that are about gateways.

use super::{Both, base};
use crate::history::{at, digest, gateway, gateway_token, token, value};
use crate::model::Owner;
use crate::random_steps::Step;
use counterfoil_domain::command::Action;
use counterfoil_domain::gateway_commands::{IssueGatewayToken, NewGatewayToken, RegisterGateway};
use counterfoil_domain::token::Kind;

impl Both {
    fn gateway_place(&self, number: u8) -> usize {
        usize::from(number) % (self.model.gateways.len() + 1)
    }

    pub(super) fn take_gateway_step(&mut self, step: &Step) {
        match step {
            Step::Register { by } => {
                let ((who, actor), number) = (self.who(by), self.next_plaintext());
                let id = gateway(10 + self.model.gateways.len() as u128);
                let token = NewGatewayToken {
                    id: token(base(self.model.tokens.len())),
                    digest: digest(number),
                    ..gateway_token(0)
                };
                let name = value(number, "gateway");
                let register =
                    RegisterGateway { id, name, kinds: [Kind::Personal].into(), environment: None, token };
                let expected = self.model.register(who, number);
                self.compare(expected, actor, Action::RegisterGateway(register));
            }
            Step::GatewayToken { by, gateway: place, lives } => {
                let ((who, actor), number) = (self.who(by), self.next_plaintext());
                let (place, dies) = (self.gateway_place(*place), self.dies(*lives));
                let token = NewGatewayToken {
                    id: token(base(self.model.tokens.len())),
                    digest: digest(number),
                    expires_at: dies.map(at),
                    ..gateway_token(0)
                };
                let expected = self.model.add_gateway_token(who, place, dies, number);
                let gateway = gateway(10 + place as u128);
                self.compare(
                    expected,
                    actor,
                    Action::IssueGatewayToken(IssueGatewayToken { gateway, token }),
                );
            }
            Step::RemoveGateway { by, gateway: place } => {
                let ((who, actor), place) = (self.who(by), self.gateway_place(*place));
                let expected = self.model.remove_gateway(who, place);
                let id = gateway(10 + place as u128);
                self.compare(expected, actor, Action::RemoveGateway { id, if_match: None, reason: None });
            }
            Step::EndGatewayToken { by, token: number } => {
                let ((who, actor), place) = (self.who(by), self.place(*number));
                let owner = self.model.tokens.get(place).and_then(Option::as_ref).map(|token| &token.owner);
                let of = if let Some(Owner::Gateway(of)) = owner { *of } else { 0 };
                let expected = self.model.end_gateway_token(who, of, place);
                let (gateway, id) = (gateway(10 + of as u128), token(base(place)));
                self.compare(
                    expected,
                    actor,
                    Action::RevokeGatewayToken { gateway, id, if_match: None, reason: None },
                );
            }
            other => unreachable!("{other:?}"),
        }
    }
}
