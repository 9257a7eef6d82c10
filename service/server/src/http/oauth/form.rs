//! The form of a request to introspect or to revoke.

use super::{OauthError, invalid};
use crate::http::body::{self, BodyError, media_type};
use axum::body::Body;
use http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode;
use std::collections::HashMap;

/// Bytes of a form.
const LIMIT: usize = 8 * 1024;

/// The parameters of a form, as bytes: a token may have any. Each may be given once; an empty value counts as absent
/// (RFC 6749 section 3.2), and so does a parameter without a name.
pub(super) struct Form(HashMap<Vec<u8>, Vec<u8>>);

impl Form {
    fn parse(bytes: &[u8]) -> Result<Self, OauthError> {
        let mut fields = HashMap::new();
        for parameter in bytes.split(|byte| *byte == b'&') {
            let equals = parameter.iter().position(|byte| *byte == b'=').unwrap_or(parameter.len());
            let (name, value) =
                (decoded(&parameter[..equals]), parameter.get(equals + 1..).unwrap_or_default());
            if !name.is_empty() && fields.insert(name, decoded(value)).is_some() {
                return Err(invalid("a parameter is given twice"));
            }
        }
        fields.retain(|_, value| !value.is_empty());
        Ok(Self(fields))
    }

    /// A parameter, if it has a value.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name.as_bytes()).map(Vec::as_slice)
    }

    /// Reads the form of a request.
    pub(super) async fn of(headers: &HeaderMap, body: Body) -> Result<Self, OauthError> {
        if media_type(headers).as_deref() != Some("application/x-www-form-urlencoded") {
            return Err(OauthError(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "invalid_request",
                "send one Content-Type, application/x-www-form-urlencoded",
            ));
        }
        let refused = |status, what| Err(OauthError(status, "invalid_request", what));
        match body::read(body, LIMIT).await {
            Ok(bytes) => Self::parse(&bytes),
            Err(BodyError::TooLarge) => refused(StatusCode::PAYLOAD_TOO_LARGE, "a form has at most 8 KiB"),
            Err(BodyError::Timeout) => refused(StatusCode::REQUEST_TIMEOUT, "the form did not come in time"),
            Err(BodyError::Broken) => Err(invalid("the form ended before its end")),
        }
    }
}

/// Form decoding (application/x-www-form-urlencoded): a plus is a blank; a percent sign without two digits is itself.
pub(super) fn decoded(text: &[u8]) -> Vec<u8> {
    let blanks: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&blanks).collect()
}
