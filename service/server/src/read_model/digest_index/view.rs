//! Reading the index: what a gateway is told, and who a caller is.

use super::{DigestIndex, read};
use counterfoil_domain::authority::{counts_in, is_marked};
use counterfoil_domain::ids::{GatewayId, OrganizationId, Seq, TokenId, UserId};
use counterfoil_domain::introspection::Active;
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::role::Role;
use counterfoil_domain::scope::Scopes;
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::Kind;
use std::sync::Arc;

/// A gateway that has shown a working credential, with what its organization's marks and its registration were then: it
/// is for the request that showed it, and is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The gateway.
    pub gateway: GatewayId,
    /// The gateway token that it presented.
    pub token: TokenId,
    /// Its organization.
    pub organization: OrganizationId,
    /// The organization's last revoke-all, by which what stems from before it counts no more there.
    revoked_all: Seq,
    /// Whether it may introspect personal tokens.
    sees_personal: bool,
    /// Its number in the directory.
    number: u32,
}

/// What introspection found.
#[derive(Debug, PartialEq, Eq)]
pub enum Introspected {
    /// An active token: the answer was written.
    Active(Use),
    /// A record is held, and it says no.
    Inactive,
    /// A record is held of an earlier plaintext of this token that has ended: inactive, and worth a note.
    Ended(TokenId),
    /// Nothing is held.
    NotHeld,
    /// It may be active, and freshness is not shown: the token may have been ended, or issued, elsewhere a moment ago.
    Unproven,
}

/// The use of a plaintext that works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Its token.
    pub token: TokenId,
    /// Which of the token's plaintexts.
    pub generation: u32,
    /// Where the token was issued.
    pub home: OrganizationId,
    /// Whether this use ends the plaintext before it.
    pub ends_earlier: bool,
    /// Whether it was noted already.
    pub noted: bool,
}

/// A presented plaintext whose record is held.
#[derive(Clone, Debug)]
pub struct Presented {
    /// Its token.
    pub token: TokenId,
    /// Which of the token's plaintexts.
    pub generation: u32,
    /// The token's kind.
    pub kind: Kind,
    /// Its user, for a personal token.
    pub user: Option<UserId>,
    /// Where it was issued.
    pub home: OrganizationId,
    /// What it was narrowed to.
    pub scopes: Arc<Scopes>,
    /// Where its authority stems from.
    pub since: Seq,
    /// Whether it works at the instant that was asked about.
    pub works: bool,
    /// Whether it is an earlier plaintext of a standing token, and works no more.
    pub has_ended: bool,
    /// Whether it is one whose end is in the log. What has ended by the node's clock alone may work by another.
    pub end_is_recorded: bool,
    /// Whether its first use ends the plaintext before it.
    pub awaits_first_use: bool,
}

impl Presented {
    /// Its use.
    pub fn used(&self) -> Use {
        Use {
            token: self.token,
            generation: self.generation,
            home: self.home,
            ends_earlier: self.awaits_first_use,
            noted: false,
        }
    }
}

/// A presented token, as it is looked up.
pub struct Sought {
    digest: Digest,
    hash: u64,
}

impl DigestIndex {
    /// Finds a presented plaintext, whatever its state.
    pub fn find(&self, digest: &Digest, now: Timestamp) -> Option<Presented> {
        let record = self.record(digest)?;
        let directory = read(&self.directory);
        let profile = directory.profile(record.profile);
        let user = (profile.kind == Kind::Personal).then(|| directory.user(record.owner).id);
        Some(Presented {
            token: record.id,
            generation: record.marks.generation(),
            kind: profile.kind,
            user,
            home: profile.home,
            scopes: profile.scopes.clone(),
            since: record.since,
            works: record.works(now),
            has_ended: record.has_ended(now),
            end_is_recorded: record.end_is_recorded(),
            awaits_first_use: record.marks.awaits_first_use(),
        })
    }

    /// The role in which authority from `since` acts for a user in an organization.
    pub fn role(&self, user: UserId, organization: OrganizationId, since: Seq) -> Option<Role> {
        let directory = read(&self.directory);
        directory.role(directory.find_user(user)?, organization, since)
    }

    /// Whether authority from `since` is under a mark there, and so counts no more, whatever was done elsewhere meanwhile.
    pub fn is_marked(&self, user: UserId, organization: OrganizationId, since: Seq) -> bool {
        let directory = read(&self.directory);
        let membership = directory.find_user(user).and_then(|user| user.membership(organization));
        let revoked_all = directory.revoked_all(organization).unwrap_or_default();
        is_marked(since, revoked_all, membership)
    }

    /// Authenticates a gateway by a gateway token, and by its client id where one was given.
    ///
    /// # Errors
    /// `Err(true)` if a record is held that says no; `Err(false)` if nothing is held.
    pub fn client(
        &self,
        client_id: Option<GatewayId>,
        secret: &[u8],
        now: Timestamp,
    ) -> Result<Client, bool> {
        let record = self.record(&Digest::of(secret)).ok_or(false)?;
        let directory = read(&self.directory);
        if directory.profile(record.profile).kind != Kind::Gateway || !record.works(now) {
            return Err(true);
        }
        let gateway = directory.gateway(record.owner);
        let same = client_id.is_none_or(|id| id == gateway.id);
        match &gateway.present {
            Some((organization, kinds)) if same => Ok(Client {
                gateway: gateway.id,
                token: record.id,
                organization: *organization,
                revoked_all: directory.revoked_all(*organization).ok_or(true)?,
                sees_personal: kinds.contains(&Kind::Personal),
                number: record.owner,
            }),
            _ => Err(true),
        }
    }

    /// Notes that a gateway's credential was used.
    pub fn note_client(&self, client: &Client, now: Timestamp) {
        read(&self.directory).note_client(client, now);
    }

    /// A presented token, to be introspected in a moment: what that reads first is asked for.
    pub fn seek(&self, presented: &[u8]) -> Sought {
        let digest = Digest::of(presented);
        let hash = self.seed.of_digest(&digest);
        read(&self.shards[Self::shard_of(hash)]).fetch_entry(hash);
        Sought { digest, hash }
    }

    /// Asks for what introspection reads then.
    pub fn come_closer(&self, sought: &Sought) {
        read(&self.shards[Self::shard_of(sought.hash)]).fetch_record(sought.hash);
    }

    /// Introspects a presented token for a gateway, whose own credential is used by that. An active answer is written to
    /// `out`, and its use is noted; for nothing else is anything written. What could be active is only with `fresh`, which
    /// says that freshness is shown.
    pub fn introspect(
        &self,
        client: &Client,
        Sought { digest, hash }: &Sought,
        (now, fresh): (Timestamp, bool),
        issuer: &str,
        out: &mut Vec<u8>,
    ) -> Introspected {
        let shard = read(&self.shards[Self::shard_of(*hash)]);
        let place = shard.find(*hash, digest);
        let directory = read(&self.directory);
        if fresh {
            directory.note_client(client, now);
        }
        let Some(place) = place else {
            return if fresh { Introspected::NotHeld } else { Introspected::Unproven };
        };
        let record = shard.at(place);
        let profile = directory.profile(record.profile);
        if profile.kind != Kind::Personal {
            return Introspected::Inactive;
        }
        let user = directory.user(record.owner);
        let membership = user.membership(client.organization);
        let role = membership.and_then(|place| counts_in(record.since, client.revoked_all, place));
        let Some(role) = role.filter(|_| client.sees_personal) else {
            // What a gateway sees, and who is a member, may have become more elsewhere a moment ago; a record that says
            // no and a mark stay.
            let ended = !record.works(now) || is_marked(record.since, client.revoked_all, membership);
            return if fresh || ended { Introspected::Inactive } else { Introspected::Unproven };
        };
        if record.has_ended(now) {
            return Introspected::Ended(record.id);
        }
        if !record.works(now) {
            return Introspected::Inactive;
        }
        if !fresh {
            return Introspected::Unproven;
        }
        let mut ids = [[0; 36]; 3];
        let [sub, jti, organization] = &mut ids;
        let sub: &str = user.id.0.hyphenated().encode_lower(sub);
        let answer = Active {
            active: true,
            scope: &profile.scope,
            client_id: sub,
            sub,
            username: user.email(),
            token_type: "Bearer",
            iat: record.issued_at.into(),
            exp: (record.ends_at != i64::MAX).then(|| Timestamp::from_micros(record.ends_at).unix_seconds()),
            iss: issuer,
            jti: record.id.0.hyphenated().encode_lower(jti),
            organization_id: client.organization.0.hyphenated().encode_lower(organization),
            kind: profile.kind.name(),
            role: Some(role.name()),
        };
        answer.write(out);
        Introspected::Active(Use {
            token: record.id,
            generation: record.marks.generation(),
            home: profile.home,
            ends_earlier: record.marks.awaits_first_use(),
            noted: shard.note(place, now, client.number),
        })
    }
}

impl super::Directory {
    fn note_client(&self, client: &Client, now: Timestamp) {
        if let Some(uses) = self.gateway(client.number).uses_of(client.token) {
            uses.note(now);
        }
    }
}
