//! Introspection (RFC 7662).

use super::client::{in_header, judge_header, with_form};
use super::error::{BAD_CLIENT, MISSING_TOKEN, OauthError, in_doubt, json};
use super::form::{Form, check_media_type, read};
use crate::app::App;
use crate::http::document::schemas::{IntrospectionDocument, TokenForm};
use crate::http::seen::Notes;
use crate::ops::metrics::Outcome;
use crate::read_model::digest_index::Introspected;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use counterfoil_domain::ids::GatewayId;
use counterfoil_domain::introspection::INACTIVE;
use http::{HeaderMap, StatusCode};

/// What a gateway is answered: 200 with this document.
pub(crate) struct Answered {
    /// The document.
    pub(crate) body: Vec<u8>,
    /// Who asked.
    pub(crate) gateway: GatewayId,
}

/// Tells a gateway whether a token is active, and what it may do (RFC 7662).
///
/// Whatever is not an active token of the gateway's own gets one answer, `{"active":false}`. 503 says that this cannot be
/// judged now: deny, and ask again. A form has at most 8 KiB and 32 parameters, each given once.
#[utoipa::path(
    post,
    path = "/oauth2/introspect",
    tag = "OAuth",
    operation_id = "introspect",
    security(("gateway_basic" = []), ("gateway_bearer" = [])),
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "What the token is to this gateway.", body = IntrospectionDocument)),
)]
pub async fn introspect(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answered = async {
        early(&app, &parts.headers)?;
        read(&parts.headers, body).await
    };
    let answered = match answered.await {
        Ok(form) => answer(&app, &parts.headers, &form),
        Err(error) => Err(error),
    };
    match answered {
        Ok(answered) => {
            Notes::actor(&parts.extensions, "gateway", answered.gateway.0);
            json(StatusCode::OK, answered.body)
        }
        Err(error) => refused(&app, error),
    }
}

/// Judges what the header says of the client: a stranger's form is not waited for.
///
/// # Errors
/// RFC 6749's.
pub(crate) fn early(app: &App, headers: &HeaderMap) -> Result<(), OauthError> {
    judge_header(app, app.at(), &in_header(headers)?).map(drop)
}

/// A refusal, counted.
pub(crate) fn refused(app: &App, error: OauthError) -> Response {
    let outcome = if error.is_unavailable() { Outcome::Unavailable } else { Outcome::Refused };
    app.metrics.introspection(outcome);
    error.into_response()
}

/// Answers a request that has been read completely. Whoever reads it, every check is made here; it waits for nothing, and
/// writes nothing but counters.
///
/// # Errors
/// RFC 6749's.
pub(crate) fn answer(app: &App, headers: &HeaderMap, form: &[u8]) -> Result<Answered, OauthError> {
    let at = app.at();
    let is_empty = form.is_empty();
    // What is wrong with it is said in its turn.
    let form = Form::parse(form);
    let token = form.as_ref().ok().and_then(|form| form.get("token")).map(|token| app.index.seek(token));
    let in_header = in_header(headers)?;
    token.iter().for_each(|token| app.index.come_closer(token));
    let in_header = judge_header(app, at, &in_header)?;
    check_media_type(headers, is_empty)?;
    let form = form?;
    let client = with_form(app, at, in_header, &form)?.ok_or(BAD_CLIENT)?;
    let token = token.ok_or(MISSING_TOKEN)?;
    let mut body = Vec::with_capacity(512);
    let found = app.index.introspect(&client, &token, (at.now, at.fresh), &app.issuer, &mut body);
    match found {
        Introspected::Unproven => return Err(in_doubt(app)),
        Introspected::Active(used) => {
            app.note_use(used, Some(client.gateway), at.now);
            app.metrics.introspection(Outcome::Active);
        }
        Introspected::Inactive | Introspected::Ended(_) | Introspected::NotHeld => {
            if let Introspected::Ended(token) = found {
                app.note_ended_use(token, Some(client.gateway), at.now);
            }
            app.metrics.introspection(Outcome::Inactive);
            body.extend_from_slice(INACTIVE.as_bytes());
        }
    }
    Ok(Answered { body, gateway: client.gateway })
}
