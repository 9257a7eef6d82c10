//! What many tokens share: their users, organizations, gateways and what they were narrowed to.

use super::super::client_uses::{ClientUse, ClientUses};
use counterfoil_domain::authority::counts_in;
use counterfoil_domain::gateway::Gateway;
use counterfoil_domain::ids::{GatewayId, OrganizationId, Seq, TokenId, UserId};
use counterfoil_domain::organization::{Membership, Organization};
use counterfoil_domain::role::Role;
use counterfoil_domain::scope::Scopes;
use counterfoil_domain::token::Kind;
use counterfoil_domain::user::User;
use smallvec::SmallVec;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// See the module. Numbers are places in its lists and are never given twice.
#[derive(Default)]
pub struct Directory {
    users: Vec<UserEntry>,
    user_numbers: HashMap<UserId, u32>,
    gateways: Vec<GatewayEntry>,
    gateway_numbers: HashMap<GatewayId, u32>,
    profiles: Vec<Profile>,
    profile_numbers: HashMap<(Kind, OrganizationId, Scopes), u32>,
    revoked_all: HashMap<OrganizationId, Seq>,
}

/// A user. One that is not known yet is a member of nothing.
pub(crate) struct UserEntry {
    /// Its id.
    pub(crate) id: UserId,
    /// Its e-mail address, as UTF-8. Most lie here.
    email: SmallVec<[u8; 48]>,
    /// Its places in organizations: mostly one, which lies here, and not somewhere else that would be waited for.
    pub(crate) memberships: SmallVec<[(OrganizationId, Membership); 1]>,
}

impl UserEntry {
    /// Its e-mail address.
    pub(crate) fn email(&self) -> &str {
        // It was a text when it was put here.
        std::str::from_utf8(&self.email).unwrap_or_default()
    }

    /// Its place in an organization, present or former.
    pub(crate) fn membership(&self, organization: OrganizationId) -> Option<&Membership> {
        self.memberships.iter().find(|(id, _)| *id == organization).map(|(_, membership)| membership)
    }
}

pub(crate) struct GatewayEntry {
    pub(crate) id: GatewayId,
    /// `None` until the gateway is known, and once it is removed.
    pub(crate) present: Option<(OrganizationId, BTreeSet<Kind>)>,
    /// Where the uses of its standing tokens are counted: few, so they are looked through.
    pub(crate) uses: Vec<(TokenId, Arc<ClientUse>)>,
}

impl GatewayEntry {
    /// Where the uses of one of its tokens are counted.
    pub(crate) fn uses_of(&self, token: TokenId) -> Option<&ClientUse> {
        self.uses.iter().find(|(id, _)| *id == token).map(|(_, uses)| &**uses)
    }
}

pub(crate) struct Profile {
    pub(crate) kind: Kind,
    pub(crate) home: OrganizationId,
    pub(crate) scopes: Arc<Scopes>,
    /// The scopes as introspection answers them.
    pub(crate) scope: String,
}

impl Directory {
    pub(crate) fn user_number(&mut self, id: UserId) -> u32 {
        *self.user_numbers.entry(id).or_insert_with(|| {
            self.users.push(UserEntry { id, email: SmallVec::new(), memberships: SmallVec::new() });
            self.users.len() as u32 - 1
        })
    }

    pub(crate) fn gateway_number(&mut self, id: GatewayId) -> u32 {
        *self.gateway_numbers.entry(id).or_insert_with(|| {
            self.gateways.push(GatewayEntry { id, present: None, uses: Vec::new() });
            self.gateways.len() as u32 - 1
        })
    }

    pub(crate) fn profile_number(&mut self, kind: Kind, home: OrganizationId, scopes: &Scopes) -> u32 {
        if let Some(number) = self.profile_numbers.get(&(kind, home, scopes.clone())) {
            return *number;
        }
        let number = self.profiles.len() as u32;
        self.profiles.push(Profile {
            kind,
            home,
            scopes: Arc::new(scopes.clone()),
            scope: scopes.to_string(),
        });
        self.profile_numbers.insert((kind, home, scopes.clone()), number);
        number
    }

    pub(crate) fn put_user(&mut self, user: &User, email: &str) {
        let number = self.user_number(user.id);
        let memberships = user.memberships.iter().map(|(id, membership)| (*id, *membership)).collect();
        self.users[number as usize] =
            UserEntry { id: user.id, email: SmallVec::from_slice(email.as_bytes()), memberships };
    }

    pub(crate) fn put_organization(&mut self, organization: &Organization) {
        self.revoked_all.insert(organization.id, organization.revoked_all);
    }

    pub(crate) fn put_gateway(&mut self, gateway: &Gateway) {
        let number = self.gateway_number(gateway.id);
        let kinds = || gateway.kinds.iter().copied().filter(|kind| gateway.sees(*kind)).collect();
        let present = gateway.removed.is_none().then(|| (gateway.organization, kinds()));
        self.gateways[number as usize].present = present;
    }

    /// Counts the uses of a gateway token from now on.
    pub(crate) fn keep_uses(&mut self, gateway: GatewayId, token: TokenId, all: &ClientUses) {
        let number = self.gateway_number(gateway) as usize;
        if self.gateways[number].uses_of(token).is_none() {
            self.gateways[number].uses.push((token, all.of(token, gateway)));
        }
    }

    /// Counts no uses of a gateway token any more: it has ended.
    pub(crate) fn drop_uses(&mut self, gateway: GatewayId, token: TokenId) {
        let number = self.gateway_number(gateway) as usize;
        self.gateways[number].uses.retain(|(id, _)| *id != token);
    }

    pub(crate) fn user(&self, number: u32) -> &UserEntry {
        &self.users[number as usize]
    }

    pub(crate) fn gateway(&self, number: u32) -> &GatewayEntry {
        &self.gateways[number as usize]
    }

    pub(crate) fn profile(&self, number: u32) -> &Profile {
        &self.profiles[number as usize]
    }

    /// A user by id.
    pub(crate) fn find_user(&self, id: UserId) -> Option<&UserEntry> {
        self.user_numbers.get(&id).map(|number| self.user(*number))
    }

    /// An organization's last revoke-all; `None` for an organization that is not known.
    pub(crate) fn revoked_all(&self, organization: OrganizationId) -> Option<Seq> {
        self.revoked_all.get(&organization).copied()
    }

    /// The role in which authority from `since` acts for a user in an organization.
    pub(crate) fn role(&self, user: &UserEntry, organization: OrganizationId, since: Seq) -> Option<Role> {
        let revoked_all = self.revoked_all(organization)?;
        counts_in(since, revoked_all, user.membership(organization)?)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let of_users: usize = self
            .users
            .iter()
            .map(|user| {
                let memberships = if user.memberships.spilled() { user.memberships.capacity() } else { 0 };
                let email = if user.email.spilled() { user.email.capacity() } else { 0 };
                email + memberships * size_of::<(OrganizationId, Membership)>()
            })
            .sum();
        let tables = (self.user_numbers.capacity() + self.gateway_numbers.capacity())
            * (size_of::<(UserId, u32)>() + 1)
            * 8
            / 7;
        let of_gateways: usize = self
            .gateways
            .iter()
            .map(|gateway| gateway.uses.capacity() * (size_of::<(TokenId, Arc<ClientUse>)>() + 64))
            .sum();
        of_users
            + of_gateways
            + tables
            + self.users.capacity() * size_of::<UserEntry>()
            + self.gateways.capacity() * size_of::<GatewayEntry>()
            + self.profiles.capacity() * (size_of::<Profile>() + 64)
    }
}
