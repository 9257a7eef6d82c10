//! Who calls: a handler that takes a [`Caller`] can be reached by nobody else.

use super::authenticate::authenticate;
use super::cookies::changes;
use super::problem::Problem;
use super::query::refuse_unknown;
use crate::app::App;
use crate::read_model::digest_index::Use;
use axum::extract::FromRequestParts;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Command};
use counterfoil_domain::ids::{OrganizationId, Seq, SessionId, TokenId, UserId};
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::policy::{Permission, allows};
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::role::Role;
use counterfoil_domain::scope::{READ, Scopes, WRITE};
use counterfoil_domain::timestamp::Timestamp;
use http::request::Parts;
use std::sync::Arc;
use uuid::Uuid;

/// The holder of a personal token or of a session, in an organization. The scope for the request's method was
/// checked.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who asks, for commands: judged again where they are decided.
    pub actor: Actor,
    /// The user that it acts as.
    pub user: UserId,
    /// What was presented.
    pub credential: Credential,
    /// The organization in which it acts.
    pub organization: OrganizationId,
    /// The user's role there.
    pub role: Role,
    /// Where its authority stems from: it counts only where that is younger than the last mark.
    pub since: Seq,
    /// What the credential was narrowed to.
    pub scopes: Arc<Scopes>,
    /// The digest of what was presented, by which it is looked up again.
    pub(super) digest: Digest,
    /// A token's use, which counts once the caller is let in.
    pub(super) used: Option<Use>,
    /// The request's id.
    pub request_id: Uuid,
}

/// What a caller presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// A personal token.
    Token {
        /// Which.
        id: TokenId,
        /// Which of its plaintexts.
        generation: u32,
    },
    /// A session, in a cookie.
    Session {
        /// Which.
        id: SessionId,
        /// From when on it counts no more.
        expires_at: Timestamp,
    },
}

impl Caller {
    /// A command of this caller's.
    pub fn command(&self, action: Action) -> Command {
        Command {
            actor: self.actor.clone(),
            request_id: self.request_id,
            organization: self.organization,
            action,
        }
    }

    /// Requires a permission. The early answer: a command is judged again where it is decided.
    ///
    /// # Errors
    /// 403.
    pub fn may(&self, permission: Permission) -> Result<(), Problem> {
        if allows(self.role, permission) { Ok(()) } else { Err(Refusal::Forbidden.into()) }
    }

    /// The presented token.
    ///
    /// # Errors
    /// 403 for a session.
    pub fn token(&self) -> Result<TokenId, Problem> {
        match self.credential {
            Credential::Token { id, .. } => Ok(id),
            Credential::Session { .. } => Err(Problem::token_needed()),
        }
    }

    /// Who asks, with the scope for the request's method.
    ///
    /// # Errors
    /// 401, 403, or 503.
    pub(super) async fn of(parts: &Parts, app: &App) -> Result<Self, Problem> {
        let needed = if changes(&parts.method) { WRITE } else { READ };
        authenticate(parts, app).await?.needs(needed)
    }

    /// Lets the caller in, who may do what is asked: only now are the request's parameters judged, and only this counts
    /// as a use of the token. A session has none.
    ///
    /// # Errors
    /// 400.
    pub(super) fn let_in(self, parts: &Parts, app: &App) -> Result<Self, Problem> {
        refuse_unknown(parts)?;
        if let Some(used) = self.used {
            app.note_use(used, None, app.clock.now());
        }
        Ok(self)
    }

    /// Requires a scope.
    ///
    /// # Errors
    /// 403.
    pub(super) fn needs(self, scope: &'static str) -> Result<Self, Problem> {
        if self.scopes.has(scope) { Ok(self) } else { Err(Refusal::InsufficientScope(scope).into()) }
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Self::of(parts, app).await?.let_in(parts, app)
    }
}
