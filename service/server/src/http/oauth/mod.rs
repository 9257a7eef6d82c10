//! Introspection (RFC 7662), revocation (RFC 7009) and the metadata that leads to them (RFC 8414).

mod client;
mod form;

use super::admission::Notes;
use super::problem::FailedAuthentication;
use crate::app::App;
use crate::event_log::writer::WriteError;
use crate::ops::metrics::{Limited, Outcome};
use crate::read_model::digest_index::Introspected;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use client::{client, in_header, judge};
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Command};
use counterfoil_domain::ids::OrganizationId;
use counterfoil_domain::introspection::INACTIVE;
use counterfoil_domain::plaintext::Digest;
use form::Form;
use http::{HeaderValue, StatusCode, header};

/// An error of RFC 6749 section 5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OauthError(StatusCode, &'static str, &'static str);

const BAD_CLIENT: OauthError =
    OauthError(StatusCode::UNAUTHORIZED, "invalid_client", "the client's credentials are not valid");
const UNAVAILABLE: OauthError = OauthError(
    StatusCode::SERVICE_UNAVAILABLE,
    "temporarily_unavailable",
    "this cannot be judged now; try again in a moment",
);

const TOO_MANY: OauthError = OauthError(
    StatusCode::TOO_MANY_REQUESTS,
    "temporarily_unavailable",
    "there were too many requests; the header Retry-After says how long to wait",
);

fn invalid(what: &'static str) -> OauthError {
    OauthError(StatusCode::BAD_REQUEST, "invalid_request", what)
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let document = serde_json::json!({ "error": self.1, "error_description": self.2 });
        let mut response = json(self.0, document.to_string().into_bytes());
        if self.0 == StatusCode::UNAUTHORIZED {
            response.extensions_mut().insert(FailedAuthentication);
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"counterfoil\", Bearer realm=\"counterfoil\""),
            );
        }
        if matches!(self.0, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `POST /oauth2/introspect`
pub async fn introspect(State(app): State<App>, request: Request) -> Response {
    introspected(&app, request).await.unwrap_or_else(|error| {
        let unavailable = error.0 == StatusCode::SERVICE_UNAVAILABLE;
        app.metrics.introspection(if unavailable { Outcome::Unavailable } else { Outcome::Refused });
        error.into_response()
    })
}

async fn introspected(app: &App, request: Request) -> Result<Response, OauthError> {
    let (parts, body) = request.into_parts();
    let header = in_header(&parts.headers)?;
    // What is wrong with the header is said before the body is waited for.
    if !header.is_empty() {
        judge(app, &header)?;
    }
    let form = Form::of(&parts.headers, body).await?;
    let client = client(app, &header, &form)?.ok_or(BAD_CLIENT)?;
    Notes::actor(&parts.extensions, "gateway", client.gateway.0);
    let token = form.get("token").ok_or(invalid("the parameter token is missing"))?;
    let now = app.clock.now();
    let mut answer = Vec::with_capacity(512);
    let found = app.index.introspect(&client, token, now, &app.issuer, &mut answer);
    match found {
        Introspected::Active(_) | Introspected::NotHeld if !app.is_fresh() => Err(UNAVAILABLE),
        Introspected::Active(used) => {
            app.note_use(used, Some(client.gateway), now);
            app.metrics.introspection(Outcome::Active);
            Ok(json(StatusCode::OK, answer))
        }
        Introspected::Inactive | Introspected::Ended(_) | Introspected::NotHeld => {
            if let Introspected::Ended(token) = found {
                app.note_ended_use(token, Some(client.gateway), now);
            }
            app.metrics.introspection(Outcome::Inactive);
            Ok(json(StatusCode::OK, INACTIVE.as_bytes().to_vec()))
        }
    }
}

/// `POST /oauth2/revoke`
pub async fn revoke(State(app): State<App>, request: Request) -> Response {
    revoked(&app, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn revoked(app: &App, request: Request) -> Result<Response, OauthError> {
    let (parts, body) = request.into_parts();
    let mut header = in_header(&parts.headers)?;
    // A Bearer may be the token itself, which only the body shows.
    if header.iter().any(|credentials| credentials.id.is_some()) {
        judge(app, &header)?;
    }
    let form = Form::of(&parts.headers, body).await?;
    let token = form.get("token").ok_or(invalid("the parameter token is missing"))?;
    // A Bearer equal to the token is its holder, who needs nothing else.
    header.retain(|credentials| !(credentials.id.is_none() && credentials.secret == token));
    let client = client(app, &header, &form)?;
    if let Some(client) = &client {
        Notes::actor(&parts.extensions, "gateway", client.gateway.0);
        app.rates.credential(client.token.0).map_err(|_| {
            app.metrics.rate_limited(Limited::Credential);
            TOO_MANY
        })?;
    }
    let digest = Digest::of(token);
    let Some(found) = app.index.find(&digest, app.clock.now()) else {
        return if app.is_fresh() { Ok(json(StatusCode::OK, b"{}".to_vec())) } else { Err(UNAVAILABLE) };
    };
    if client.is_none() {
        Notes::actor(&parts.extensions, "token", found.token.0);
    }
    let actor = match client {
        Some(client) => Actor::Gateway { gateway_id: client.gateway, token_id: client.token },
        None => Actor::Holder { token_id: found.token },
    };
    let organization: OrganizationId = client.map_or(found.home, |client| client.organization);
    let request_id = parts.extensions.get::<super::RequestId>().map_or_else(|| app.clock.uuid(), |id| id.0);
    let command =
        Command { actor, request_id, organization, action: Action::RevokeHeld { id: found.token, digest } };
    match app.writer.write(command, None).await {
        Ok(_) => Ok(json(StatusCode::OK, b"{}".to_vec())),
        Err(WriteError::Refused(_)) => Err(BAD_CLIENT),
        Err(WriteError::Unavailable | WriteError::Internal) => Err(UNAVAILABLE),
    }
}

/// Where the metadata of an issuer is (RFC 8414 section 3.1): for one with a path, the well-known part comes before the
/// path; OpenID discovery appends it, and some clients do so for both. A proxy that cuts the path off finds them too.
pub fn metadata_paths(issuer: &str) -> Vec<String> {
    let path = issuer.parse::<http::Uri>().map(|uri| uri.path().trim_end_matches('/').to_string());
    let path = path.unwrap_or_default();
    let mut paths = Vec::new();
    for document in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        for place in [document.to_string(), format!("{document}{path}"), format!("{path}{document}")] {
            if !paths.contains(&place) {
                paths.push(place);
            }
        }
    }
    paths
}

/// `GET /.well-known/oauth-authorization-server` and `/.well-known/openid-configuration`
pub async fn metadata(State(app): State<App>) -> Response {
    let base = app.issuer.trim_end_matches('/');
    let methods = ["client_secret_basic", "client_secret_post", "bearer"];
    let document = serde_json::json!({
        "issuer": &*app.issuer,
        "introspection_endpoint": format!("{base}/oauth2/introspect"),
        "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint": format!("{base}/oauth2/revoke"),
        "revocation_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post", "bearer"],
        "response_types_supported": [],
    });
    json(StatusCode::OK, document.to_string().into_bytes())
}
