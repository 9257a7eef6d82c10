//! Who calls: a handler that takes a [`Caller`] can be reached by nobody else.

use super::admission::Notes;
use super::cookies::{InCookie, Stems, changes, in_cookie, stems};
use super::credentials::{Presented, presented, token};
use super::problem::Problem;
use crate::app::App;
use crate::ops::metrics::Limited;
use crate::read_model::digest_index::Use;
use crate::read_model::sessions;
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
use counterfoil_domain::token::Kind;
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
    /// A token's use, which counts once the scope was accepted too.
    used: Option<Use>,
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

/// A caller whose scopes were not looked at: for what needs none, a token's own end.
pub struct AnyCaller(pub Caller);

impl Caller {
    /// Notes the use of the token; a session has none.
    fn used(self, app: &App) -> Self {
        if let Some(used) = self.used {
            app.note_use(used, None, app.clock.now());
        }
        self
    }

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

    fn needs(self, scope: &'static str) -> Result<Self, Problem> {
        if self.scopes.has(scope) { Ok(self) } else { Err(Refusal::InsufficientScope(scope).into()) }
    }
}

/// Finds out who presents this credential: a header's, or a cookie's where no header has one. A token is used
/// once its scope is accepted too ([`Caller::used`]).
///
/// # Errors
/// 401 for what is held and says no; 503 for what cannot be judged now; 403 for a cookie that a foreign page sent.
async fn authenticate(parts: &Parts, app: &App) -> Result<Caller, Problem> {
    match presented(&parts.headers) {
        Presented::Bearer(secret) => by_token(parts, app, secret),
        Presented::Basic(_) | Presented::TooLong => Err(Problem::unauthenticated()),
        Presented::Nothing => by_cookie(parts, app).await,
        Presented::Ambiguous => Err(Problem::malformed(
            "Authorization",
            "Send one credential, as `Authorization: Bearer …` or as `X-API-KEY`.",
        )),
    }
}

async fn by_cookie(parts: &Parts, app: &App) -> Result<Caller, Problem> {
    let stems = stems(&parts.headers, &app.issuer);
    match in_cookie(&parts.headers, &app.issuer) {
        InCookie::Nothing => Err(Problem::unauthenticated()),
        InCookie::Ambiguous => Err(Problem::malformed("Cookie", "A credential's cookie is there twice.")),
        // A program that keeps its token in a cookie says nothing of pages; a browser does.
        InCookie::Token(secret) => match (stems, token(secret)) {
            (Stems::Elsewhere, _) => Err(Problem::cross_origin()),
            (_, Presented::Bearer(secret)) => by_token(parts, app, secret),
            _ => Err(Problem::malformed("Cookie", "The cookie X-API-KEY has no token.")),
        },
        InCookie::Session(_) if changes(&parts.method) && stems != Stems::Here => {
            Err(Problem::cross_origin())
        }
        InCookie::Session(secret) => by_session(parts, app, secret).await,
    }
}

fn by_token(parts: &Parts, app: &App, secret: &[u8]) -> Result<Caller, Problem> {
    let (fresh, now) = (app.is_fresh(), app.clock.now());
    let Some(found) = app.index.find(&Digest::of(secret), now) else {
        return Err(if fresh { Problem::unauthenticated() } else { in_doubt(app) });
    };
    if found.has_ended {
        app.note_ended_use(found.token, None, now);
    }
    let user = found
        .user
        .filter(|_| found.kind == Kind::Personal && found.works)
        .ok_or_else(Problem::unauthenticated)?;
    let organization = organization(parts)?.unwrap_or(found.home);
    let role = app.index.role(user, organization, found.since);
    let role = match role {
        Some(role) => role,
        // Another organization's existence is nobody's business.
        None if organization != found.home => return Err(Problem::not_found()),
        None => return Err(Problem::unauthenticated()),
    };
    if !fresh {
        return Err(in_doubt(app));
    }
    admit(parts, app, "token", found.token.0)?;
    Ok(Caller {
        actor: Actor::Token { token_id: found.token, generation: found.generation, user_id: user },
        user,
        credential: Credential::Token { id: found.token, generation: found.generation },
        organization,
        role,
        since: found.since,
        used: Some(found.used()),
        scopes: found.scopes,
        request_id: request_id(parts, app),
    })
}

fn in_doubt(app: &App) -> Problem {
    Problem::in_doubt(app.freshness.doubt())
}

async fn by_session(parts: &Parts, app: &App, secret: &[u8]) -> Result<Caller, Problem> {
    let found = sessions::find(&app.pool, &Digest::of(secret)).await?;
    let session = found.filter(|session| app.clock.now() < session.expires_at);
    let session = session.ok_or_else(Problem::unauthenticated)?;
    if !app.is_fresh() {
        return Err(in_doubt(app));
    }
    let organization = organization(parts)?.unwrap_or(session.home);
    let role = match app.index.role(session.user, organization, Seq::MAX) {
        Some(role) => role,
        None if organization != session.home => return Err(Problem::not_found()),
        None => return Err(Refusal::Forbidden.into()),
    };
    admit(parts, app, "session", session.id.0)?;
    Ok(Caller {
        actor: Actor::Session { session_id: session.id, user_id: session.user },
        user: session.user,
        credential: Credential::Session { id: session.id, expires_at: session.expires_at },
        organization,
        role,
        since: Seq::MAX,
        used: None,
        scopes: Arc::new(Scopes::read_write()),
        request_id: request_id(parts, app),
    })
}

/// Notes who asks, and takes the request from the credential's allowance.
fn admit(parts: &Parts, app: &App, kind: &str, id: Uuid) -> Result<(), Problem> {
    Notes::actor(&parts.extensions, kind, id);
    app.rates.credential(id).map_err(|wait| {
        app.metrics.rate_limited(Limited::Credential);
        Problem::too_many(wait)
    })
}

/// The request's id, which the accept loop made.
fn request_id(parts: &Parts, app: &App) -> Uuid {
    parts.extensions.get::<super::RequestId>().map_or_else(|| app.clock.uuid(), |id| id.0)
}

fn organization(parts: &Parts) -> Result<Option<OrganizationId>, Problem> {
    let mut values = parts.headers.get_all("x-organization").iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let id = value.to_str().ok().and_then(|text| text.parse().ok());
            id.map(Some).ok_or_else(|| Problem::malformed("X-Organization", "It is an organization's id."))
        }
        _ => Err(Problem::malformed("X-Organization", "Send it once.")),
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let needed = if changes(&parts.method) { WRITE } else { READ };
        Ok(authenticate(parts, app).await?.needs(needed)?.used(app))
    }
}

impl FromRequestParts<App> for AnyCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Ok(Self(authenticate(parts, app).await?.used(app)))
    }
}
