//! Who calls: a handler that takes a [`Caller`] can be reached by nobody else.

use super::admission::Notes;
use super::credentials::{Presented, presented};
use super::problem::Problem;
use crate::app::App;
use crate::ops::metrics::Limited;
use crate::read_model::digest_index::Use;
use axum::extract::FromRequestParts;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Command};
use counterfoil_domain::ids::{OrganizationId, TokenId, UserId};
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::role::Role;
use counterfoil_domain::scope::{READ, Scopes, WRITE};
use counterfoil_domain::token::Kind;
use http::Method;
use http::request::Parts;
use std::sync::Arc;
use uuid::Uuid;

/// The holder of a personal token, in an organization. The scope for the request's method was checked.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who asks, for commands: judged again where they are decided.
    pub actor: Actor,
    /// The user that it acts as.
    pub user: UserId,
    /// The presented token.
    pub token: TokenId,
    /// Which of its plaintexts.
    pub generation: u32,
    /// The organization in which it acts.
    pub organization: OrganizationId,
    /// The user's role there.
    pub role: Role,
    /// What the token was narrowed to.
    pub scopes: Arc<Scopes>,
    /// Its use, which counts once the scope was accepted too.
    used: Use,
    /// The request's id.
    pub request_id: Uuid,
}

/// A caller whose scopes were not looked at: for what needs none, a token's own end.
pub struct AnyCaller(pub Caller);

impl Caller {
    /// Notes the use of the token.
    fn used(self, app: &App) -> Self {
        app.note_use(self.used, None, app.clock.now());
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
}

/// Finds out who presents this token. It is used once its scope is accepted too ([`Caller::used`]).
///
/// # Errors
/// 401 for what is held and says no; 503 for what cannot be judged now.
fn authenticate(parts: &Parts, app: &App) -> Result<Caller, Problem> {
    let secret = match presented(&parts.headers) {
        Presented::Bearer(secret) => secret,
        Presented::Nothing | Presented::Basic(_) | Presented::TooLong => {
            return Err(Problem::unauthenticated());
        }
        Presented::Ambiguous => {
            return Err(Problem::malformed(
                "Authorization",
                "Send one credential, as `Authorization: Bearer …` or as `X-API-KEY`.",
            ));
        }
    };
    let (fresh, now) = (app.is_fresh(), app.clock.now());
    let Some(found) = app.index.find(&Digest::of(secret), now) else {
        return Err(if fresh { Problem::unauthenticated() } else { Problem::unavailable() });
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
        return Err(Problem::unavailable());
    }
    Notes::actor(&parts.extensions, "token", found.token.0);
    app.rates.credential(found.token.0).map_err(|wait| {
        app.metrics.rate_limited(Limited::Credential);
        Problem::too_many(wait)
    })?;
    let actor = Actor::Token { token_id: found.token, generation: found.generation, user_id: user };
    let request_id = parts.extensions.get::<super::RequestId>().map_or_else(|| app.clock.uuid(), |id| id.0);
    Ok(Caller {
        actor,
        user,
        token: found.token,
        generation: found.generation,
        organization,
        role,
        used: found.used(),
        scopes: found.scopes,
        request_id,
    })
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
        let caller = authenticate(parts, app)?;
        let needed = if matches!(parts.method, Method::GET | Method::HEAD) { READ } else { WRITE };
        if !caller.scopes.has(needed) {
            return Err(Refusal::InsufficientScope(needed).into());
        }
        Ok(caller.used(app))
    }
}

impl FromRequestParts<App> for AnyCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        authenticate(parts, app).map(|caller| Self(caller.used(app)))
    }
}
