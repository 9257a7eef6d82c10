//! Introspection (RFC 7662), revocation (RFC 7009) and the metadata that leads to them (RFC 8414).

use super::admission::Notes;
use super::body::{self, BodyError, media_type};
use super::credentials::{Presented, presented};
use super::problem::FailedAuthentication;
use crate::app::App;
use crate::event_log::writer::WriteError;
use crate::ops::metrics::{Limited, Outcome};
use crate::read_model::digest_index::{Client, Introspected};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Command};
use counterfoil_domain::ids::{GatewayId, OrganizationId};
use counterfoil_domain::introspection::INACTIVE;
use counterfoil_domain::plaintext::Digest;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use percent_encoding::percent_decode;
use std::collections::HashMap;

/// Bytes of a form.
const LIMIT: usize = 8 * 1024;

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

/// The parameters of a form. Each may be given once; an empty value counts as absent (RFC 6749 section 3.2).
struct Form(HashMap<String, String>);

impl Form {
    fn parse(bytes: &[u8]) -> Result<Self, OauthError> {
        let mut fields = HashMap::new();
        for (name, value) in form_urlencoded::parse(bytes).filter(|(name, _)| !name.is_empty()) {
            if fields.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(invalid("a parameter is given twice"));
            }
        }
        fields.retain(|_, value| !value.is_empty());
        Ok(Self(fields))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Reads the form of a request. A client's credentials in the header are judged before the body is waited for.
async fn form(headers: &HeaderMap, body: Body) -> Result<Form, OauthError> {
    if media_type(headers).as_deref() != Some("application/x-www-form-urlencoded") {
        return Err(OauthError(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "invalid_request",
            "send one Content-Type, application/x-www-form-urlencoded",
        ));
    }
    match body::read(body, LIMIT).await {
        Ok(bytes) => Form::parse(&bytes),
        Err(BodyError::TooLarge) => {
            Err(OauthError(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", "a form has at most 8 KiB"))
        }
        Err(BodyError::Timeout) => {
            Err(OauthError(StatusCode::REQUEST_TIMEOUT, "invalid_request", "the form did not come in time"))
        }
        Err(BodyError::Broken) => Err(invalid("the form ended before its end")),
    }
}

/// A client id, if one was given, and a secret.
#[derive(PartialEq, Eq)]
struct Credentials {
    id: Option<String>,
    secret: Vec<u8>,
}

/// Basic credentials, as they are and form-decoded (RFC 6749 section 2.3.1): clients send either.
fn basic(encoded: &[u8]) -> Result<Vec<Credentials>, OauthError> {
    let decoded = STANDARD.decode(encoded).map_err(|_| BAD_CLIENT)?;
    let colon = decoded.iter().position(|byte| *byte == b':').ok_or(BAD_CLIENT)?;
    let (id, secret) = (&decoded[..colon], &decoded[colon + 1..]);
    let raw = Credentials { id: Some(String::from_utf8_lossy(id).into_owned()), secret: secret.to_vec() };
    let form_decoded = |bytes: &[u8]| percent_decode(bytes).collect::<Vec<u8>>();
    let decoded = Credentials {
        id: Some(String::from_utf8_lossy(&form_decoded(id)).into_owned()),
        secret: form_decoded(secret),
    };
    Ok(if raw == decoded { vec![raw] } else { vec![raw, decoded] })
}

fn in_header(headers: &HeaderMap) -> Result<Vec<Credentials>, OauthError> {
    match presented(headers) {
        Presented::Nothing => Ok(Vec::new()),
        Presented::Basic(encoded) => basic(encoded),
        Presented::Bearer(secret) => Ok(vec![Credentials { id: None, secret: secret.to_vec() }]),
        Presented::Ambiguous | Presented::TooLong => Err(BAD_CLIENT),
    }
}

fn in_form(form: &Form) -> Option<Credentials> {
    let secret = form.get("client_secret")?.as_bytes().to_vec();
    Some(Credentials { id: Some(form.get("client_id")?.to_string()), secret })
}

/// Judges the credentials of one place, in whichever reading is right.
fn judge(app: &App, readings: &[Credentials]) -> Result<Client, OauthError> {
    let now = app.clock.now();
    let mut held = false;
    for reading in readings {
        let id = match reading.id.as_deref().map(GatewayId::from_client_id) {
            Some(None) => continue,
            Some(id) => id,
            None => None,
        };
        match app.index.client(id, &reading.secret, now) {
            Ok(client) if app.is_fresh() => return Ok(client),
            Ok(_) => return Err(UNAVAILABLE),
            Err(known) => held |= known,
        }
    }
    // A digest that is not held may have been issued elsewhere a moment ago.
    let decoded_ids = readings
        .iter()
        .any(|reading| reading.id.as_deref().is_none_or(|id| GatewayId::from_client_id(id).is_some()));
    Err(if held || !decoded_ids || app.is_fresh() { BAD_CLIENT } else { UNAVAILABLE })
}

/// Authenticates the client by header, by form, or by both if they say the same.
fn client(app: &App, header: &[Credentials], form: &Form) -> Result<Client, OauthError> {
    let from_header = if header.is_empty() { None } else { Some(judge(app, header)?) };
    let from_form = in_form(form).map(|credentials| judge(app, &[credentials])).transpose()?;
    match (from_header, from_form) {
        (Some(a), Some(b)) if a != b => Err(BAD_CLIENT),
        (Some(client), _) | (None, Some(client)) => Ok(client),
        (None, None) => Err(BAD_CLIENT),
    }
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
    if !header.is_empty() {
        judge(app, &header)?;
    }
    let form = form(&parts.headers, body).await?;
    let client = client(app, &header, &form)?;
    Notes::actor(&parts.extensions, "gateway", client.gateway.0);
    let token = form.get("token").ok_or(invalid("the parameter token is missing"))?;
    let now = app.clock.now();
    let mut answer = Vec::with_capacity(512);
    let found = app.index.introspect(&client, token.as_bytes(), now, &app.issuer, &mut answer);
    match found {
        Introspected::Active(_) | Introspected::NotHeld if !app.is_fresh() => Err(UNAVAILABLE),
        Introspected::Active(used) => {
            app.note_use(used);
            app.metrics.introspection(Outcome::Active);
            Ok(json(StatusCode::OK, answer))
        }
        Introspected::Inactive | Introspected::NotHeld => {
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
    let form = form(&parts.headers, body).await?;
    let token = form.get("token").ok_or(invalid("the parameter token is missing"))?;
    // A Bearer equal to the token is its holder, who needs nothing else.
    header.retain(|credentials| !(credentials.id.is_none() && credentials.secret == token.as_bytes()));
    let client =
        if header.is_empty() && in_form(&form).is_none() { None } else { Some(client(app, &header, &form)?) };
    if let Some(client) = &client {
        Notes::actor(&parts.extensions, "gateway", client.gateway.0);
        app.rates.credential(client.token.0).map_err(|_| {
            app.metrics.rate_limited(Limited::Credential);
            TOO_MANY
        })?;
    }
    let digest = Digest::of(token.as_bytes());
    let Some(found) = app.index.find(&digest, app.clock.now()) else {
        return if app.is_fresh() { Ok(json(StatusCode::OK, b"{}".to_vec())) } else { Err(UNAVAILABLE) };
    };
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
