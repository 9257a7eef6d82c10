//! Bodies: one way to read each kind, with one answer to each mistake.

use super::arriving::Arriving;
use super::places::{Coming, Overloaded};
use super::problem::Problem;
use axum::body::Body;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::{HeaderMap, header};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Bytes of a body of `/v1`.
pub const LIMIT: usize = 64 * 1024;
/// How long a body may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a body was not read.
pub enum BodyError {
    /// It is longer than allowed.
    TooLarge,
    /// It did not come in time.
    Timeout,
    /// The client went away, or broke the framing.
    Broken,
    /// There is no place for it any more.
    Overloaded,
}

impl BodyError {
    /// Why a piece did not come.
    fn of(error: &axum::Error) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if error.is::<Overloaded>() {
                return Self::Overloaded;
            }
            cause = error.source();
        }
        Self::Broken
    }
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// See [`BodyError`].
pub async fn read(mut body: Body, limit: usize) -> Result<Vec<u8>, BodyError> {
    // What says beforehand that it is too long is not waited for.
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge);
    }
    let whole = async {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| BodyError::of(&error))?.into_data() else { continue };
            if bytes.len() + data.len() > limit {
                return Err(BodyError::TooLarge);
            }
            // Copied, since a piece keeps the whole buffer that it came in, and a client may send byte by byte.
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    };
    tokio::time::timeout(TIMEOUT, whole).await.unwrap_or(Err(BodyError::Timeout))
}

/// Reads a body of at most `limit` bytes as it comes from the connection. What has come already is not waited for, and
/// before anything is, `before_waiting` may refuse, or says by what it is bounded.
///
/// # Errors
/// That refusal, or [`BodyError`].
pub(super) async fn read_incoming<E: From<BodyError>>(
    mut body: Arriving,
    limit: usize,
    before_waiting: impl FnOnce() -> Result<Coming, E>,
) -> Result<Bytes, E> {
    let mut bytes = Vec::new();
    // Most bodies come with their head, in one piece: they are not copied, and no timer is made for them.
    let first = poll_fn(|cx| Poll::Ready(ready_now(Pin::new(&mut body).poll_frame(cx)))).await;
    if let Some(first) = first {
        let Some(frame) = first else { return Ok(Bytes::new()) };
        let data = frame.map_err(|_| BodyError::Broken)?.into_data().unwrap_or_default();
        if data.len() > limit {
            return Err(BodyError::TooLarge.into());
        }
        if body.is_end_stream() {
            return Ok(data);
        }
        // Copied, since a piece keeps the whole buffer that it came in.
        bytes.extend_from_slice(&data);
    }
    let mut coming = before_waiting()?;
    let rest = async {
        coming.has_come(bytes.len())?;
        while let Some(frame) = poll_fn(|cx| waited_for(&mut body, &mut coming, cx)).await? {
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
            if bytes.len() + data.len() > limit {
                return Err(BodyError::TooLarge);
            }
            bytes.extend_from_slice(&data);
            coming.has_come(bytes.len())?;
        }
        Ok(bytes.into())
    };
    Ok(tokio::time::timeout(TIMEOUT, rest).await.unwrap_or(Err(BodyError::Timeout))?)
}

/// The next piece of a body, as long as it is waited for.
fn waited_for(
    body: &mut Arriving,
    coming: &mut Coming,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<hyper::Result<Frame<Bytes>>>, Overloaded>> {
    match Pin::new(body).poll_frame(cx) {
        Poll::Ready(frame) => Poll::Ready(Ok(frame)),
        Poll::Pending => {
            coming.waits(cx).map_or_else(|overloaded| Poll::Ready(Err(overloaded)), |()| Poll::Pending)
        }
    }
}

fn ready_now<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

impl From<Overloaded> for BodyError {
    fn from(_: Overloaded) -> Self {
        Self::Overloaded
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::too_large(),
            BodyError::Timeout => Self::timed_out(),
            BodyError::Overloaded => Self::overloaded(),
            BodyError::Broken => Self::malformed("body", "The body ended before its end."),
        }
    }
}

/// The one media type of a request, in lower case and without parameters.
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    let essence = only.to_str().ok()?.split(';').next()?.trim().to_ascii_lowercase();
    Some(essence)
}

/// A JSON body, with the digest of its bytes for idempotency. An empty one stands for `{}`.
pub struct Json<T> {
    /// The value.
    pub value: T,
    /// The bytes, as they came.
    pub bytes: Vec<u8>,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let media_type = media_type(&parts.headers);
        let bytes = read(body, LIMIT).await?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        if !bytes.is_empty()
            && !media_type.is_some_and(|essence| essence == "application/json" || essence.ends_with("+json"))
        {
            return Err(Problem::not_json());
        }
        // Fields have names: serde would also take them from an array, by place.
        if text.trim_ascii_start().first() != Some(&b'{') {
            let said = match serde_json::from_slice::<IgnoredAny>(text) {
                Ok(_) => "The body is a JSON object.".into(),
                Err(error) => explain(&error),
            };
            return Err(Problem::malformed("body", said));
        }
        let mut json = serde_json::Deserializer::from_slice(text);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| wrong(&error))?;
        json.end().map_err(|error| Problem::malformed("body", explain(&error)))?;
        Ok(Self { value, bytes })
    }
}

/// What is wrong with a JSON text: a member by its name, where it is one of ours, and not one that was sent.
fn wrong(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let words = error.inner().to_string();
    let named = |before: &str| words.strip_prefix(before).and_then(|rest| rest.split('`').next());
    if let Some(name) = named("missing field `") {
        return Problem::malformed(name, "It is missing.");
    }
    if let Some(name) = named("duplicate field `") {
        return Problem::malformed(name, "It is given twice.");
    }
    // A member is one of ours once its value is looked at.
    let path = error.path().to_string();
    if error.inner().is_data() && !words.starts_with("unknown field `") && path != "." {
        let detail = format!("It is of the wrong type or form: {}.", place(error.inner()));
        return Problem::malformed(&path, detail);
    }
    if words.starts_with("unknown field `") {
        let detail = format!("A member is unknown: {}. {}", place(error.inner()), members(&words));
        return Problem::malformed("body", detail);
    }
    Problem::malformed("body", explain(error.inner()))
}

/// The members that there are: what serde says of them last is from our types, and not from what was sent.
fn members(words: &str) -> String {
    let ours = words.rsplit_once(", expected ").map_or("", |(_, ours)| ours);
    let names: Vec<&str> = ours.split('`').skip(1).step_by(2).collect();
    if names.is_empty() { "There is none.".into() } else { format!("There are: {}.", names.join(", ")) }
}

fn place(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

/// What is wrong with a JSON text, and where. serde's own words may repeat what was sent, so they are not used.
fn explain(error: &serde_json::Error) -> String {
    let place = place(error);
    match error.classify() {
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
            format!("The body is not JSON (RFC 8259): {place}.")
        }
        serde_json::error::Category::Eof => format!("The JSON ends early: {place}."),
        serde_json::error::Category::Data => {
            format!("Something is of the wrong type: {place}.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "what is read is not looked at")]
    struct Example {
        note: Option<String>,
        scopes: Option<Vec<String>>,
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_body_is_said_without_what_was_sent() {
        for (body, said) in [
            (r#"{"secret":1}"#, "A member is unknown: line 1, column 9. There are: note, scopes."),
            (r#"{"a`, expected one of `secret`":1}"#, "There are: note, scopes."),
            (r#"{"note":1}"#, "It is of the wrong type or form: line 1, column 9."),
            ("[]", "The body is a JSON object."),
            (" null", "The body is a JSON object."),
            ("secret", "The body is not JSON (RFC 8259): line 1, column 1."),
            ("[[[", "The JSON ends early: line 1, column 3."),
            ("{} {}", "The body is not JSON (RFC 8259): line 1, column 4."),
        ] {
            let body = Body::new(Full::from(body));
            let request = Request::builder().header("content-type", "application/json").body(body).unwrap();
            let refused =
                Json::<Example>::from_request(request, &()).await.map(|read| read.value).unwrap_err();
            let told = refused.document().to_string();
            assert!(told.contains(said) && !told.contains("secret"), "{told}");
        }
    }
}
