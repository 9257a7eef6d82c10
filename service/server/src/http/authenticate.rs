//! Finding out who a request's credential belongs to.

use super::caller::{Caller, Credential};
use super::cookies::{InCookie, SESSION_PREFIX, Stems, changes, in_cookie, stems};
use super::credentials::{Presented, presented, token};
use super::problem::Problem;
use super::seen::Notes;
use crate::app::App;
use crate::ops::metrics::Limited;
use crate::ops::rates::ClientAddress;
use crate::read_model::sessions;
use crate::read_model::tables::LoadError;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::ids::{OrganizationId, Seq, TokenId};
use counterfoil_domain::plaintext::{Digest, has_form};
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::role::Role;
use counterfoil_domain::scope::Scopes;
use counterfoil_domain::token::Kind;
use http::request::Parts;
use sqlx::PgPool;
use std::sync::Arc;
use uuid::Uuid;

/// Finds out who presents this credential: a header's, or a cookie's where no header has one. A token is used
/// once its holder is let in ([`Caller::let_in`]).
///
/// # Errors
/// 401 for what is held and says no; 503 for what cannot be judged now; 403 for a cookie that a foreign page sent.
pub(super) async fn authenticate(parts: &Parts, app: &App) -> Result<Caller, Problem> {
    authenticate_for(parts, app, None).await
}

/// The same at the door where this token may be ended. Whoever ends the one that is presented is not held up by how
/// much is asked with it: the attempts have an allowance of their own, which the handler takes from ([`ending`]).
///
/// # Errors
/// The same.
pub(super) async fn authenticate_for(
    parts: &Parts,
    app: &App,
    ends: Option<TokenId>,
) -> Result<Caller, Problem> {
    match presented(&parts.headers) {
        Presented::Bearer(secret) => by_token(parts, app, secret, ends),
        Presented::Basic(_) | Presented::Foreign => Err(Problem::nothing_presented()),
        Presented::TooLong => Err(Problem::unauthenticated()),
        Presented::Nothing => by_cookie(parts, app, ends).await,
        Presented::Ambiguous => Err(Problem::ambiguous(
            "Authorization",
            "Send one credential, as `Authorization: Bearer …` or as `X-API-KEY`.",
        )),
    }
}

async fn by_cookie(parts: &Parts, app: &App, ends: Option<TokenId>) -> Result<Caller, Problem> {
    let stems = stems(&parts.headers, &app.issuer);
    match in_cookie(&parts.headers, &app.issuer) {
        InCookie::Nothing => Err(Problem::nothing_presented()),
        InCookie::Ambiguous => {
            Err(Problem::ambiguous("Cookie", "Send one credential: the session's cookie or X-API-KEY, once."))
        }
        // A program that keeps its token in a cookie says nothing of pages; a browser does.
        InCookie::Token(secret) => match (stems, token(secret)) {
            (Stems::Elsewhere, _) => Err(Problem::cross_origin()),
            (_, Presented::Bearer(secret)) => by_token(parts, app, secret, ends),
            (_, Presented::TooLong) => Err(Problem::unauthenticated()),
            _ => Err(Problem::ambiguous("Cookie", "The cookie X-API-KEY has no token.")),
        },
        InCookie::Session(_) if changes(&parts.method) && stems != Stems::Here => {
            Err(Problem::cross_origin())
        }
        InCookie::Session(secret) => by_session(parts, app, secret).await,
    }
}

fn by_token(parts: &Parts, app: &App, secret: &[u8], ends: Option<TokenId>) -> Result<Caller, Problem> {
    let (fresh, now) = (app.is_fresh(), app.clock.now());
    let digest = Digest::of(secret);
    let Some(found) = app.index.find(&digest, now) else {
        return Err(if fresh { Problem::unauthenticated() } else { in_doubt(app) });
    };
    if found.has_ended {
        app.note_ended_use(found.token, None, now);
    }
    let user = found
        .user
        .filter(|_| found.kind == Kind::Personal && found.works)
        .ok_or_else(Problem::unauthenticated)?;
    // It works: from here on it is this credential that asks, and not its address, even if it asks in vain.
    Notes::actor(&parts.extensions, "token", found.token.0);
    if ends == Some(found.token) {
        // It counts against the rest all the same.
        let _ = app.rates.credential(found.token.0);
    } else {
        allowed(app, found.token.0)?;
    }
    let organization = organization(parts)?.unwrap_or(found.home);
    let role = app.index.role(user, organization, found.since);
    // Elsewhere its user may have become a member a moment ago, and the organization may have been made.
    if !fresh && !app.index.is_marked(user, organization, found.since) {
        return Err(in_doubt(app));
    }
    let role = match role {
        Some(role) => role,
        // Another organization's existence is nobody's business.
        None if organization != found.home => return Err(Problem::not_found().at("X-Organization")),
        None => return Err(Problem::unauthenticated()),
    };
    Ok(Caller {
        actor: Actor::Token { token_id: found.token, generation: found.generation, user_id: user },
        user,
        credential: Credential::Token { id: found.token, generation: found.generation },
        organization,
        role,
        since: found.since,
        digest,
        used: Some(found.used()),
        scopes: found.scopes,
        request_id: request_id(parts, app),
    })
}

/// 503, and why.
pub(super) fn in_doubt(app: &App) -> Problem {
    Problem::in_doubt(app.freshness.doubt())
}

async fn by_session(parts: &Parts, app: &App, secret: &[u8]) -> Result<Caller, Problem> {
    let digest = Digest::of(secret);
    let session = session(parts, app, secret, digest).await?;
    Notes::actor(&parts.extensions, "session", session.id.0);
    if !app.is_fresh() {
        return Err(in_doubt(app));
    }
    let organization = organization(parts)?.unwrap_or(session.home);
    let role = match app.index.role(session.user, organization, Seq::MAX) {
        Some(role) => role,
        None if organization != session.home => return Err(Problem::not_found().at("X-Organization")),
        None => return Err(Refusal::Forbidden.into()),
    };
    Ok(Caller {
        actor: Actor::Session { session_id: session.id, user_id: session.user },
        user: session.user,
        credential: Credential::Session { id: session.id, expires_at: session.expires_at },
        organization,
        role,
        since: Seq::MAX,
        digest,
        used: None,
        scopes: Arc::new(Scopes::read_write()),
        request_id: request_id(parts, app),
    })
}

/// The session of a cookie's secret. Anybody can make cookies up, and only the database knows which are good: so what
/// has not the form of a secret is refused without it, and what has not worked here before counts as a failure of its
/// address before it is looked up. A session that has worked is looked up whatever its neighbours do, as often as its own
/// allowance lets it.
async fn session(
    parts: &Parts,
    app: &App,
    secret: &[u8],
    digest: Digest,
) -> Result<sessions::Found, Problem> {
    if !has_form(SESSION_PREFIX, secret) {
        return Err(Problem::unauthenticated());
    }
    let known = app.sessions.get(&digest);
    if let Some(id) = known {
        allowed(app, id.0)?;
    } else {
        let address = parts.extensions.get::<ClientAddress>().ok_or_else(Problem::internal)?;
        app.rates.failure(*address).map_err(|wait| {
            app.metrics.rate_limited(Limited::Address);
            Problem::too_many(wait)
        })?;
    }
    let now = app.clock.now();
    match sessions::find(&app.pool, &digest).await?.filter(|session| now < session.expires_at) {
        Some(session) => {
            app.sessions.add(digest, session.id, session.expires_at, now);
            if known.is_none() {
                allowed(app, session.id.0)?;
            }
            Ok(session)
        }
        None => {
            app.sessions.forget(&digest);
            let refused = Problem::unauthenticated();
            Err(if known.is_some() { refused } else { refused.counted() })
        }
    }
}

/// The role that a caller's credential still gives, for an answer that goes on for long: none once it has ended, counts
/// no more where it acts, or lacks the scope. None where nothing is fresh, too. Sessions are looked up in `pool`.
///
/// # Errors
/// The database's, which says neither yes nor no.
pub(super) async fn role_still(
    caller: &Caller,
    app: &App,
    pool: &PgPool,
    scope: &str,
) -> Result<Option<Role>, LoadError> {
    let now = app.clock.now();
    let counts = match caller.credential {
        Credential::Token { id, .. } => app
            .index
            .find(&caller.digest, now)
            .is_some_and(|found| found.token == id && found.works && found.scopes.has(scope)),
        Credential::Session { expires_at, .. } => {
            now < expires_at && sessions::find(pool, &caller.digest).await?.is_some()
        }
    };
    let role = app.index.role(caller.user, caller.organization, caller.since);
    Ok(role.filter(|_| counts && app.is_fresh()))
}

/// Takes a request from the credential's allowance.
fn allowed(app: &App, id: Uuid) -> Result<(), Problem> {
    app.rates.credential(id).map_err(|wait| {
        app.metrics.rate_limited(Limited::Credential);
        Problem::too_many(wait)
    })
}

/// Takes an attempt to end the presented token from the allowance for that.
///
/// # Errors
/// 429.
pub(super) fn ending(app: &App, token: TokenId, generation: u32) -> Result<(), Problem> {
    app.rates.ending(token.0, generation).map_err(|wait| {
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
