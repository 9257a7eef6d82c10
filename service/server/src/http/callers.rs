//! Callers who may do what a handler does, where that is more than a scope says, or less. Who may not is told so before
//! anything else of the request is looked at: what a door takes is said to who may use it.

use super::authenticate::{authenticate, authenticate_for, ending};
use super::caller::{Caller, Credential};
use super::problem::Problem;
use crate::app::App;
use axum::extract::{FromRequestParts, Path};
use counterfoil_domain::ids::{SessionId, TokenId};
use counterfoil_domain::policy::Permission;
use counterfoil_domain::scope::WRITE;
use http::header;
use http::request::Parts;

/// Who may list gateways.
pub struct GatewayReader(pub Caller);

/// Who may register, change and remove gateways and their tokens.
pub struct GatewayManager(pub Caller);

/// A token, whatever its scopes: its look at itself needs none.
pub struct AnyToken(pub Caller, pub TokenId);

/// A token with the scope for the request's method.
pub struct TokenCaller(pub Caller, pub TokenId);

/// A session.
pub struct SessionCaller(pub Caller, pub SessionId);

/// Who may end the token of the path: whoever may change things, and that token itself, whatever its scopes.
pub struct Ender {
    caller: Caller,
    /// Whether it is the presented token that ends, and nothing that it says can keep it from that.
    ends: bool,
}

impl Ender {
    /// The caller, once the request was found to be right: only such a one counts as an attempt of a token to end
    /// itself, so that nobody uses up those of a stolen token and leaves it as it is.
    ///
    /// # Errors
    /// 429.
    pub fn attempt(self, app: &App) -> Result<Caller, Problem> {
        if let (true, Credential::Token { id, generation }) = (self.ends, self.caller.credential) {
            ending(app, id, generation)?;
        }
        Ok(self.caller)
    }
}

impl FromRequestParts<App> for Ender {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let id = Path::<String>::from_request_parts(parts, app).await.ok();
        let id: Option<TokenId> = id.and_then(|Path(text)| text.parse().ok());
        // A condition may not hold, however right the request is: it is counted as any other.
        let surely = id.filter(|_| !parts.headers.contains_key(header::IF_MATCH));
        let caller = authenticate_for(parts, app, surely).await?;
        let itself = id.is_some() && caller.token().ok() == id;
        let caller = if itself { caller } else { caller.needs(WRITE)? };
        Ok(Self { caller: caller.let_in(parts, app)?, ends: itself && surely.is_some() })
    }
}

async fn permitted(parts: &Parts, app: &App, permission: Permission) -> Result<Caller, Problem> {
    let caller = Caller::of(parts, app).await?;
    caller.may(permission)?;
    caller.let_in(parts, app)
}

impl FromRequestParts<App> for GatewayReader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        permitted(parts, app, Permission::ReadGateways).await.map(Self)
    }
}

impl FromRequestParts<App> for GatewayManager {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        permitted(parts, app, Permission::ManageGateways).await.map(Self)
    }
}

impl FromRequestParts<App> for AnyToken {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = authenticate(parts, app).await?;
        let id = caller.token()?;
        Ok(Self(caller.let_in(parts, app)?, id))
    }
}

impl FromRequestParts<App> for TokenCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = Caller::of(parts, app).await?;
        let id = caller.token()?;
        Ok(Self(caller.let_in(parts, app)?, id))
    }
}

impl FromRequestParts<App> for SessionCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = Caller::of(parts, app).await?;
        let Credential::Session { id, .. } = caller.credential else { return Err(Problem::session_needed()) };
        Ok(Self(caller.let_in(parts, app)?, id))
    }
}
