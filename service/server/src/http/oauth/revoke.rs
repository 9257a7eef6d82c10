//! Revocation (RFC 7009).

use super::client::{InHeader, in_header, judge_header, with_form};
use super::error::{BAD_CLIENT, MISSING_TOKEN, OauthError, TOO_MANY, in_doubt, json, not_now, unavailable};
use super::form::{Form, read};
use crate::app::App;
use crate::event_log::writer::WriteError;
use crate::http::RequestId;
use crate::http::document::schemas::{RevokedDocument, TokenForm};
use crate::http::seen::Notes;
use crate::ops::metrics::Limited;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Command};
use counterfoil_domain::ids::OrganizationId;
use counterfoil_domain::plaintext::Digest;
use http::StatusCode;
use std::time::Duration;

/// Ends a token for its holder, who needs nothing but the token, or for a gateway (RFC 7009).
///
/// From the answer on, the token is inactive at every gateway. To what is no token, or has ended, the answer is the
/// same, and so it is to a gateway about a token that it does not see, which goes on working. A form has at most 8 KiB
/// and 32 parameters, each given once.
#[utoipa::path(
    post,
    path = "/oauth2/revoke",
    tag = "OAuth",
    operation_id = "revoke",
    security((), ("gateway_basic" = []), ("gateway_bearer" = [])),
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "What the caller may end has ended. To whatever else was sent, the answer is \
        the same (RFC 7009 section 2.2).", body = RevokedDocument)),
)]
pub async fn revoke(State(app): State<App>, request: Request) -> Response {
    revoked(&app, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn revoked(app: &App, request: Request) -> Result<Response, OauthError> {
    let (parts, body) = request.into_parts();
    let mut header = in_header(&parts.headers)?;
    // A Bearer may be the token itself, which only the body shows.
    if matches!(header, InHeader::Basic(..)) {
        judge_header(app, app.at(), &header)?;
    }
    let form = read(&parts.headers, body).await?;
    let form = Form::parse(&form)?;
    let token = form.get("token").ok_or(MISSING_TOKEN)?;
    // A Bearer equal to the token is its holder, who needs nothing else.
    if matches!(header, InHeader::Bearer(secret) if secret == token) {
        header = InHeader::Nothing;
    }
    let at = app.at();
    let client = with_form(app, at, judge_header(app, at, &header)?, &form)?;
    if let Some(client) = &client {
        Notes::actor(&parts.extensions, "gateway", client.gateway.0);
        limited(app, app.rates.credential(client.token.0))?;
        if at.fresh {
            app.index.note_client(client, at.now);
        }
    }
    let digest = Digest::of(token);
    let Some(found) = app.index.find(&digest, app.clock.now()) else {
        return if app.is_fresh() { Ok(json(StatusCode::OK, b"{}".to_vec())) } else { Err(in_doubt(app)) };
    };
    if found.end_is_recorded {
        app.note_ended_use(found.token, client.map(|client| client.gateway), at.now);
        // An earlier plaintext after its end ends nothing: whoever has one must not keep the writer busy. Where only the
        // clock says that it is over, the writer asks both.
        return if app.is_fresh() { Ok(json(StatusCode::OK, b"{}".to_vec())) } else { Err(in_doubt(app)) };
    }
    if client.is_none() {
        Notes::actor(&parts.extensions, "token", found.token.0);
        limited(app, app.rates.ending(found.token.0, found.generation))?;
    }
    let actor = match client {
        Some(client) => Actor::Gateway { gateway_id: client.gateway, token_id: client.token },
        None => Actor::Holder { token_id: found.token },
    };
    let organization: OrganizationId = client.map_or(found.home, |client| client.organization);
    let request_id = parts.extensions.get::<RequestId>().map_or_else(|| app.clock.uuid(), |id| id.0);
    let command =
        Command { actor, request_id, organization, action: Action::RevokeHeld { id: found.token, digest } };
    match app.writer.write(command, None).await {
        Ok(_) => Ok(json(StatusCode::OK, b"{}".to_vec())),
        Err(WriteError::Refused(_)) => Err(BAD_CLIENT),
        Err(WriteError::NotNow(why)) => Err(not_now(why)),
        Err(WriteError::Internal) => {
            Err(unavailable("the token could not be ended; the failure is in the service's log", 5))
        }
    }
}

/// A credential's limit, or that of a token's ends.
fn limited(app: &App, taken: Result<(), Duration>) -> Result<(), OauthError> {
    taken.map_err(|_| {
        app.metrics.rate_limited(Limited::Credential);
        TOO_MANY
    })
}
