//! Another plaintext for a token: `/v1/user/tokens/{id}/rotate` and `/v1/token/rotate`.

use super::conditions::{idempotency, if_match};
use super::fields::{InstantText, nullable, nullable_instant, token_id};
use super::record::{Record, own, tag, written};
use super::tokens::{not_repeated, shown};
use crate::app::App;
use crate::event_log::batch::Outcome;
use crate::http::body::Json;
use crate::http::caller::Caller;
use crate::http::callers::TokenCaller;
use crate::http::document::names::Overlap as OverlapName;
use crate::http::document::params::{Conditional, Idempotent, TokenPath};
use crate::http::problem::Problem;
use axum::extract::{OriginalUri, Path, State};
use axum::response::Response;
use counterfoil_domain::command::Action;
use counterfoil_domain::ids::TokenId;
use counterfoil_domain::token::Kind;
use counterfoil_domain::token::rotate::{Overlap, Rotate};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// How to rotate.
#[derive(Deserialize, ToSchema)]
#[schema(as = RotateToken, example = json!({ "overlap": 3600 }))]
#[serde(deny_unknown_fields)]
pub struct RotateBody {
    /// The new expiry; null for none; absent: as it is.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Option<InstantText>>,
    /// How long the earlier plaintext goes on working; absent: `until_used`.
    #[serde(default)]
    #[schema(value_type = Option<OverlapName>)]
    overlap: Option<OverlapBody>,
}

/// `"until_used"`, or seconds, as it was written: a JSON number has as many digits as it likes, and a type of Rust
/// would not hold them all. What is neither gets a refusal that names the field.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct OverlapBody(Box<RawValue>);

impl OverlapBody {
    /// A number that is too large is an integer all the same. One of 3600.0 is the integer 3600.
    fn checked(self) -> Result<Overlap, Problem> {
        const MEANT: &str = "It is \"until_used\", or 0 to 2592000 seconds.";
        let text = self.0.get();
        if text.starts_with('"') {
            let word: String = serde_json::from_str(text).unwrap_or_default();
            let known = word == "until_used";
            return if known { Ok(Overlap::UntilUsed) } else { Err(Problem::invalid("overlap", MEANT)) };
        }
        let seconds: Option<f64> = text
            .parse()
            .ok()
            .filter(|_| text.starts_with(|first: char| first == '-' || first.is_ascii_digit()));
        let whole = seconds.filter(|seconds| seconds.fract() == 0.0 || seconds.is_infinite());
        // What is too small for its digits is no zero.
        let whole = whole.filter(|seconds| *seconds != 0.0 || is_zero(text));
        let seconds = whole.ok_or_else(|| Problem::malformed("overlap", MEANT))?;
        if (0.0..=f64::from(u32::MAX)).contains(&seconds) {
            Ok(Overlap::Seconds(seconds as u32))
        } else {
            Err(Problem::invalid("overlap", MEANT))
        }
    }
}

/// Whether no digit of a number, before its exponent, is another than zero.
fn is_zero(number: &str) -> bool {
    let digits = number.split(['e', 'E']).next().unwrap_or_default();
    !digits.bytes().any(|byte| matches!(byte, b'1'..=b'9'))
}

/// Gives one of the caller's tokens another plaintext.
///
/// Id, note, scopes and owner stay. Of two rotations at once, one is refused. A disabled token stays disabled.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    post,
    path = "/v1/user/tokens/{id}/rotate",
    tag = "Tokens",
    operation_id = "rotate_token",
    security(("bearer" = ["write"]), ("session" = ["write"])),
    params(TokenPath, Idempotent, Conditional),
    request_body(content = Option<RotateBody>),
    responses(
        (status = 200, description = "The token with its new plaintext, which is not shown again.", body = Record, headers(
            ("ETag" = String, description = "The version that `If-Match` takes."),
            ("Link" = String, description = "To a repeated request: how to get another plaintext.")
        ), links(
            ("get" = (operation_id = "get_token", parameters(("id" = "$response.body#/id")))),
            ("revoke" = (operation_id = "revoke_token", parameters(("id" = "$response.body#/id")))),
            ("introspect" = (operation_id = "introspect", request_body = json!({ "token": "$response.body#/plaintext" }))),
        )),
    ),
    extensions(("x-refuses" = json!(["token-ended", "rotated-meanwhile", "stronger-than-caller", "invalid"]))),
)]
pub async fn rotate(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    uri: OriginalUri,
    headers: HeaderMap,
    body: Json<RotateBody>,
) -> Result<Response, Problem> {
    let id = token_id(&id)?;
    rotated(&app, &caller, id, uri.path(), &headers, body).await
}

/// Gives the presented token another plaintext.
///
/// It needs `write`, so that a token that leaked and may only read cannot prolong itself. Otherwise it is as the rotation
/// of any token.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    post,
    path = "/v1/token/rotate",
    tag = "Token",
    operation_id = "rotate_this_token",
    security(("bearer" = ["write"])),
    params(Idempotent, Conditional),
    request_body(content = Option<RotateBody>),
    responses(
        (status = 200, description = "The token with its new plaintext, which is not shown again.", body = Record, headers(
            ("ETag" = String, description = "The version that `If-Match` takes."),
            ("Link" = String, description = "To a repeated request: how to get another plaintext.")
        )),
    ),
    extensions(("x-refuses" = json!(["token-ended", "rotated-meanwhile", "token-needed", "invalid"]))),
)]
pub async fn rotate_itself(
    State(app): State<App>,
    TokenCaller(caller, id): TokenCaller,
    uri: OriginalUri,
    headers: HeaderMap,
    body: Json<RotateBody>,
) -> Result<Response, Problem> {
    rotated(&app, &caller, id, uri.path(), &headers, body).await
}

async fn rotated(
    app: &App,
    caller: &Caller,
    id: TokenId,
    path: &str,
    headers: &HeaderMap,
    body: Json<RotateBody>,
) -> Result<Response, Problem> {
    let key = idempotency(caller, "POST", path, headers, &body.bytes)?;
    let RotateBody { expires_at, overlap } = body.value;
    let overlap = overlap.map_or(Ok(Overlap::UntilUsed), OverlapBody::checked)?;
    // The plaintext that was the present one when this request came.
    let seen = own(app, caller.user, id).await?;
    let (plaintext, hint) = app.mint(Kind::Personal);
    let action = Action::Rotate(Rotate {
        id,
        generation: seen.token.generation,
        if_match: if_match(headers),
        digest: plaintext.digest(),
        hint,
        expires_at: nullable_instant(expires_at)?,
        overlap,
    });
    let reply = app.writer.write(caller.command(action), key).await?;
    if reply.outcome == Outcome::Repeated {
        return Ok(not_repeated(app, own(app, caller.user, id).await.map_err(Problem::after_a_write)?));
    }
    let listed = written(app, seen, reply.token, None).await?;
    let tag = tag(&listed.token);
    let mut record = Record::new(listed, app.clock.now());
    record.plaintext = Some(plaintext.into_shown());
    Ok(shown(StatusCode::OK, &record, &tag))
}
