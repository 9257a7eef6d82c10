//! What a command names: the entities that must be loaded before it can be decided.

use crate::actor::Actor;
use crate::command::{Action, Command};
use crate::ids::{EnvironmentId, GatewayId, OrganizationId, SessionId, TokenId, UserId};
use std::collections::BTreeSet;

/// The entities that a batch of commands names, their actors included.
#[derive(Debug, Default)]
pub struct Names {
    /// Tokens, whose owners are to be loaded too.
    pub tokens: BTreeSet<TokenId>,
    /// Tokens whose expiry alone is to be recorded. Their owners are loaded, and nothing else that may be due of theirs:
    /// a sweep ends what it names and no more.
    pub swept: BTreeSet<TokenId>,
    /// Users, with what stands of theirs in outline.
    pub users: BTreeSet<UserId>,
    /// Users all of whose standing tokens are needed in full.
    pub users_in_full: BTreeSet<UserId>,
    /// Organizations.
    pub organizations: BTreeSet<OrganizationId>,
    /// Gateways, with their standing tokens in full.
    pub gateways: BTreeSet<GatewayId>,
    /// Sessions of actors.
    pub sessions: BTreeSet<SessionId>,
    /// Tokens whose note is compared.
    pub notes_of: BTreeSet<TokenId>,
    /// E-mail addresses, folded, whose users are to be known.
    pub sign_in_names: BTreeSet<String>,
    /// Gateways whose name is compared.
    pub names_of: BTreeSet<GatewayId>,
    /// Environments.
    pub environments: BTreeSet<EnvironmentId>,
    /// Whether it must be known if an organization exists.
    pub initialized: bool,
}

impl Names {
    /// Adds what one command names.
    pub fn add(&mut self, command: &Command) {
        self.organizations.insert(command.organization);
        self.users.extend(command.actor.user());
        self.tokens.extend(command.actor.token());
        match &command.actor {
            Actor::Session { session_id, .. } => drop(self.sessions.insert(*session_id)),
            Actor::Gateway { gateway_id, .. } => drop(self.gateways.insert(*gateway_id)),
            _ => {}
        }
        self.add_action(command);
    }

    fn add_action(&mut self, command: &Command) {
        match &command.action {
            Action::ChangeToken(change) => {
                self.tokens.insert(change.id);
                self.notes_of.extend(change.note.is_some().then_some(change.id));
            }
            Action::Rotate(rotate) => drop(self.tokens.insert(rotate.id)),
            Action::Disable { id, .. }
            | Action::Enable { id, .. }
            | Action::Revoke { id, .. }
            | Action::RevokeHeld { id, .. }
            | Action::EndPrevious { id, .. } => drop(self.tokens.insert(*id)),
            Action::RevokeAll { .. } => self.users_in_full.extend(command.actor.user()),
            Action::Sweep { tokens } => self.swept.extend(tokens),
            Action::ChangeGateway(change) => {
                self.gateways.insert(change.id);
                self.names_of.extend(change.name.is_some().then_some(change.id));
                self.environments.extend(change.environment.flatten());
            }
            Action::RemoveGateway { id, .. } => drop(self.gateways.insert(*id)),
            Action::IssueGatewayToken(issue) => {
                self.gateways.insert(issue.gateway);
                self.tokens.insert(issue.token.id);
            }
            Action::RevokeGatewayToken { gateway, id, .. } => {
                self.gateways.insert(*gateway);
                self.tokens.insert(*id);
            }
            Action::SetPassword(set) => drop(self.users.insert(set.user)),
            Action::OpenSession(open) => drop(self.users.insert(open.user)),
            Action::EndSession { id } => drop(self.sessions.insert(*id)),
            Action::AddMember(add) => {
                self.users.insert(add.user);
                self.sign_in_names.insert(add.email_key.clone());
            }
            Action::Bootstrap(_) => self.initialized = true,
            // What is to be new is looked for too, so that the fold can refuse what is not.
            Action::IssuePersonal(issue) => drop(self.tokens.insert(issue.id)),
            Action::RegisterGateway(register) => {
                self.gateways.insert(register.id);
                self.tokens.insert(register.token.id);
                self.environments.extend(register.environment);
            }
            Action::EndAllSessions => {}
        }
    }
}
