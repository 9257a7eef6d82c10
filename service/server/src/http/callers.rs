//! Callers whose role lets them do what a handler does. Whom it does not let is told so before anything else of the
//! request is looked at: what a door takes is said to who may use it.

use super::caller::Caller;
use super::problem::Problem;
use crate::app::App;
use axum::extract::FromRequestParts;
use counterfoil_domain::policy::Permission;
use http::request::Parts;

/// Who may list gateways.
pub struct GatewayReader(pub Caller);

/// Who may register, change and remove gateways and their tokens.
pub struct GatewayManager(pub Caller);

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
