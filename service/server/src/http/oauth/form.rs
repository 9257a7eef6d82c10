//! The form of a request to introspect or to revoke.

use super::error::{OauthError, invalid, no_form};
use crate::http::body::{self, media_type};
use axum::body::Body;
use http::{HeaderMap, header};
use percent_encoding::percent_decode;
use std::borrow::Cow;

/// Bytes of a form.
pub(crate) const LIMIT: usize = 8 * 1024;
/// Parameters of a form: each is compared with those before it.
const PARAMETERS: usize = 32;

/// A name or a value.
type Text<'a> = Cow<'a, [u8]>;

/// The parameters of a form, as bytes: a token may have any. Each may be given once; an empty value counts as absent
/// (RFC 6749 section 3.2), and so does a parameter without a name.
pub(super) struct Form<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'a> Form<'a> {
    /// Reads a form's bytes.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, OauthError> {
        let mut fields: Vec<(Text<'a>, Text<'a>)> = Vec::with_capacity(2);
        for parameter in bytes.split(|byte| *byte == b'&') {
            let equals = parameter.iter().position(|byte| *byte == b'=').unwrap_or(parameter.len());
            let name = decoded(&parameter[..equals]);
            if name.is_empty() {
                continue;
            }
            if fields.iter().any(|(given, _)| *given == name) {
                return Err(invalid("a parameter is given twice"));
            }
            if fields.len() == PARAMETERS {
                return Err(invalid("a form has at most 32 parameters"));
            }
            fields.push((name, decoded(parameter.get(equals + 1..).unwrap_or_default())));
        }
        Ok(Self(fields))
    }

    /// A parameter, if it has a value.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|(given, _)| **given == *name.as_bytes());
        found.map(|(_, value)| &**value).filter(|value| !value.is_empty())
    }
}

/// Requires the media type of a form. A request without a body has none to name.
pub(super) fn check_media_type(headers: &HeaderMap, is_empty: bool) -> Result<(), OauthError> {
    const FORM: &str = "application/x-www-form-urlencoded";
    let mut lines = headers.get_all(header::CONTENT_TYPE).iter();
    let usual = lines.next().is_some_and(|line| line == FORM) && lines.next().is_none();
    let none = is_empty && !headers.contains_key(header::CONTENT_TYPE);
    if usual || none || media_type(headers).as_deref() == Some(FORM) {
        return Ok(());
    }
    Err(no_form())
}

/// Reads the bytes of a request's form.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, OauthError> {
    // A wrong one is refused before the form is waited for.
    if headers.contains_key(header::CONTENT_TYPE) {
        check_media_type(headers, false)?;
    }
    let bytes = body::read(body, LIMIT).await?;
    check_media_type(headers, bytes.is_empty())?;
    Ok(bytes)
}

/// Whether decoding would change a text. Without a branch a byte, so that many bytes are looked at in one instruction.
pub(super) fn is_encoded(text: &[u8]) -> bool {
    text.iter().fold(false, |found, byte| found | (*byte == b'%') | (*byte == b'+'))
}

/// Form decoding (application/x-www-form-urlencoded): a plus is a blank; a percent sign without two digits is itself.
pub(super) fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !is_encoded(text) {
        return Cow::Borrowed(text);
    }
    let blanks: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    Cow::Owned(percent_decode(&blanks).collect())
}
