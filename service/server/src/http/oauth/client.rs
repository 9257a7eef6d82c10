//! Who asks: a gateway, by the header, by the form, or by both if they say the same.

use super::error::{BAD_CLIENT, OauthError, in_doubt};
use super::form::{Form, decoded, is_encoded};
use crate::app::{App, At};
use crate::http::credentials::{Presented, presented};
use crate::read_model::digest_index::Client;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use counterfoil_domain::ids::GatewayId;
use http::HeaderMap;
use std::borrow::Cow;

/// A client id, if one was given, and a secret.
struct Credentials<'a> {
    /// The client id. A Bearer has none: its gateway token says whose it is.
    id: Option<Cow<'a, [u8]>>,
    /// The gateway token.
    secret: Cow<'a, [u8]>,
}

/// The credentials of the header.
pub(super) enum InHeader<'a> {
    /// None.
    Nothing,
    /// A gateway token, or at the door that revokes the token itself.
    Bearer(&'a [u8]),
    /// A client id and a secret, decoded, and where the colon between them is.
    Basic(Vec<u8>, usize),
}

impl InHeader<'_> {
    /// The credentials as they are and form-decoded (RFC 6749 section 2.3.1): clients send either.
    fn readings(&self) -> impl Iterator<Item = Credentials<'_>> {
        let plain = match self {
            Self::Nothing => None,
            Self::Bearer(secret) => Some(Credentials { id: None, secret: Cow::Borrowed(secret) }),
            Self::Basic(pair, colon) => {
                let (id, secret) = (Cow::Borrowed(&pair[..*colon]), Cow::Borrowed(&pair[colon + 1..]));
                Some(Credentials { id: Some(id), secret })
            }
        };
        let form = match self {
            Self::Basic(pair, colon) if is_encoded(pair) => {
                let (id, secret) = (decoded(&pair[..*colon]), decoded(&pair[colon + 1..]));
                Some(Credentials { id: Some(id), secret })
            }
            _ => None,
        };
        plain.into_iter().chain(form)
    }
}

/// Reads the credentials of the header.
pub(super) fn in_header(headers: &HeaderMap) -> Result<InHeader<'_>, OauthError> {
    match presented(headers) {
        Presented::Nothing => Ok(InHeader::Nothing),
        Presented::Basic(encoded) => {
            let pair = STANDARD.decode(encoded).map_err(|_| BAD_CLIENT)?;
            let colon = pair.iter().position(|byte| *byte == b':').ok_or(BAD_CLIENT)?;
            Ok(InHeader::Basic(pair, colon))
        }
        Presented::Bearer(secret) => Ok(InHeader::Bearer(secret)),
        Presented::Foreign | Presented::Ambiguous | Presented::TooLong => Err(BAD_CLIENT),
    }
}

/// The credentials of the form. A client id alone proves nothing; a secret alone lacks one.
fn in_form<'a>(form: &'a Form<'_>) -> Result<Option<Credentials<'a>>, OauthError> {
    match (form.get("client_id"), form.get("client_secret")) {
        (_, None) => Ok(None),
        (None, Some(_)) => Err(BAD_CLIENT),
        (Some(id), Some(secret)) => {
            Ok(Some(Credentials { id: Some(Cow::Borrowed(id)), secret: Cow::Borrowed(secret) }))
        }
    }
}

/// The gateway that a client id names.
fn named(id: &[u8]) -> Option<GatewayId> {
    std::str::from_utf8(id).ok().and_then(GatewayId::from_client_id)
}

/// Judges the credentials of one place, in whichever reading is right. Those that work are taken even while nothing is
/// fresh: what is then answered to them is "inactive" at most, or is judged again by the writer.
fn judge<'a>(
    app: &App,
    at: At,
    readings: impl Iterator<Item = Credentials<'a>>,
) -> Result<Client, OauthError> {
    let (mut held, mut meant) = (false, false);
    for reading in readings {
        let id = match reading.id.as_deref().map(named) {
            Some(None) => continue,
            Some(id) => id,
            None => None,
        };
        meant = true;
        match app.index.client(id, &reading.secret, at.now) {
            Ok(client) => return Ok(client),
            Err(known) => held |= known,
        }
    }
    // A digest that is not held may have been issued elsewhere a moment ago.
    Err(if held || !meant || at.fresh { BAD_CLIENT } else { in_doubt(app) })
}

/// Judges the credentials of the header, if there are any.
pub(super) fn judge_header(app: &App, at: At, header: &InHeader<'_>) -> Result<Option<Client>, OauthError> {
    if matches!(header, InHeader::Nothing) { Ok(None) } else { judge(app, at, header.readings()).map(Some) }
}

/// Adds what the form says of the client to what the header said, if either does.
pub(super) fn with_form(
    app: &App,
    at: At,
    from_header: Option<Client>,
    form: &Form<'_>,
) -> Result<Option<Client>, OauthError> {
    let from_form =
        in_form(form)?.map(|credentials| judge(app, at, std::iter::once(credentials))).transpose()?;
    let client = match (from_header, from_form) {
        (Some(a), Some(b)) if a.token != b.token => return Err(BAD_CLIENT),
        (client, other) => client.or(other),
    };
    let Some(client) = client else { return Ok(None) };
    let same = form.get("client_id").is_none_or(|id| named(id) == Some(client.gateway));
    if same { Ok(Some(client)) } else { Err(BAD_CLIENT) }
}
