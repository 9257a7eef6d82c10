//! Who asks: a gateway, by the header, by the form, or by both if they say the same.

use super::error::{BAD_CLIENT, OauthError, UNAVAILABLE};
use super::form::{Form, decoded};
use crate::app::{App, At};
use crate::http::credentials::{Presented, presented};
use crate::read_model::digest_index::Client;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use counterfoil_domain::ids::GatewayId;
use http::HeaderMap;

/// A client id, if one was given, and a secret.
#[derive(PartialEq, Eq)]
pub(super) struct Credentials {
    /// The client id. A Bearer has none: its gateway token says whose it is.
    pub(super) id: Option<Vec<u8>>,
    /// The gateway token.
    pub(super) secret: Vec<u8>,
}

/// Basic credentials, as they are and form-decoded (RFC 6749 section 2.3.1): clients send either.
fn basic(encoded: &[u8]) -> Result<Vec<Credentials>, OauthError> {
    let pair = STANDARD.decode(encoded).map_err(|_| BAD_CLIENT)?;
    let colon = pair.iter().position(|byte| *byte == b':').ok_or(BAD_CLIENT)?;
    let (id, secret) = (&pair[..colon], &pair[colon + 1..]);
    let mut readings = vec![Credentials { id: Some(id.to_vec()), secret: secret.to_vec() }];
    if pair.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        let (id, secret) = (decoded(id).into_owned(), decoded(secret).into_owned());
        readings.push(Credentials { id: Some(id), secret });
    }
    Ok(readings)
}

/// The credentials of the header, in each of their readings.
pub(super) fn in_header(headers: &HeaderMap) -> Result<Vec<Credentials>, OauthError> {
    match presented(headers) {
        Presented::Nothing => Ok(Vec::new()),
        Presented::Basic(encoded) => basic(encoded),
        Presented::Bearer(secret) => Ok(vec![Credentials { id: None, secret: secret.to_vec() }]),
        Presented::Ambiguous | Presented::TooLong => Err(BAD_CLIENT),
    }
}

/// The credentials of the form. A client id alone proves nothing; a secret alone lacks one.
fn in_form(form: &Form<'_>) -> Result<Option<Credentials>, OauthError> {
    match (form.get("client_id"), form.get("client_secret")) {
        (_, None) => Ok(None),
        (None, Some(_)) => Err(BAD_CLIENT),
        (Some(id), Some(secret)) => Ok(Some(Credentials { id: Some(id.to_vec()), secret: secret.to_vec() })),
    }
}

/// The gateway that a client id names.
fn named(id: &[u8]) -> Option<GatewayId> {
    std::str::from_utf8(id).ok().and_then(GatewayId::from_client_id)
}

/// Judges the credentials of one place, in whichever reading is right.
fn judge(app: &App, at: At, readings: &[Credentials]) -> Result<Client, OauthError> {
    let (mut held, mut meant) = (false, false);
    for reading in readings {
        let id = match reading.id.as_deref().map(named) {
            Some(None) => continue,
            Some(id) => id,
            None => None,
        };
        meant = true;
        match app.index.client(id, &reading.secret, at.now) {
            Ok(client) if at.fresh => return Ok(client),
            Ok(_) => return Err(UNAVAILABLE),
            Err(known) => held |= known,
        }
    }
    // A digest that is not held may have been issued elsewhere a moment ago.
    Err(if held || !meant || at.fresh { BAD_CLIENT } else { UNAVAILABLE })
}

/// Judges the credentials of the header, if there are any.
pub(super) fn judge_header(app: &App, at: At, header: &[Credentials]) -> Result<Option<Client>, OauthError> {
    if header.is_empty() { Ok(None) } else { judge(app, at, header).map(Some) }
}

/// Adds what the form says of the client to what the header said, if either does.
pub(super) fn with_form(
    app: &App,
    at: At,
    from_header: Option<Client>,
    form: &Form<'_>,
) -> Result<Option<Client>, OauthError> {
    let from_form = in_form(form)?.map(|credentials| judge(app, at, &[credentials])).transpose()?;
    let client = match (from_header, from_form) {
        (Some(a), Some(b)) if a != b => return Err(BAD_CLIENT),
        (client, other) => client.or(other),
    };
    let Some(client) = client else { return Ok(None) };
    let same = form.get("client_id").is_none_or(|id| named(id) == Some(client.gateway));
    if same { Ok(Some(client)) } else { Err(BAD_CLIENT) }
}
