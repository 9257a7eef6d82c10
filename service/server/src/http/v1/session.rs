//! Signing in and out.

use super::token_changes::Nothing;
use super::tokens::shown;
use super::user::{Membership, UserRecord, memberships};
use crate::app::App;
use crate::event_log::batch::Refused;
use crate::event_log::writer::WriteError;
use crate::http::RequestId;
use crate::http::body::Json;
use crate::http::caller::Caller;
use crate::http::callers::SessionCaller;
use crate::http::cookies::{
    SESSION_PREFIX, SESSION_SECONDS, Stems, no_session_cookie, session_cookie, stems,
};
use crate::http::document::examples;
use crate::http::problem::Problem;
use crate::http::query::NoParameters;
use crate::ops::rates::ClientAddress;
use crate::passwords::Password;
use crate::read_model::people::{self, WithPassword};
use crate::read_model::tables::beside::folded;
use crate::sign_in_limit::Attempt;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use counterfoil_domain::actor::Actor;
use counterfoil_domain::command::{Action, Command};
use counterfoil_domain::ids::{OrganizationId, Seq, SessionId};
use counterfoil_domain::people::OpenSession;
use counterfoil_domain::plaintext::Plaintext;
use counterfoil_domain::refusal::Refusal;
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::user::User;
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;
use uuid::Uuid;

/// Who signs in.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({ "email": "owner@example.com", "password": "correct horse battery" }))]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The e-mail address.
    #[schema(
        max_length = 254,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$",
        example = "owner@example.com"
    )]
    email: String,
    /// The password.
    #[schema(format = Password, min_length = 1, max_length = 1024, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$")]
    password: String,
    /// Where the session acts; absent: the oldest organization in which the user is a member.
    #[serde(default)]
    #[schema(value_type = Option<Uuid>)]
    organization: Option<OrganizationId>,
}

/// A session that was opened. Its secret is in the cookie alone.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = examples::signed_in)]
pub struct SignedIn {
    /// Who signed in.
    pub user: UserRecord,
    /// Where the session acts unless a request says otherwise.
    #[schema(value_type = Uuid)]
    pub organization_id: OrganizationId,
    /// Where the user is a member.
    pub organizations: Vec<Membership>,
    /// From when on the session counts no more.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// Who signs in, from where.
struct Door {
    address: ClientAddress,
    key: String,
    attempt: Attempt,
}

/// Signs in.
///
/// The session lives for twelve hours, and its secret is in a cookie that no script can read. A user has a hundred at most;
/// then the oldest ends. An address that is not known
/// is answered as a password that does not fit; whoever fails too often has to wait.
///
/// # Errors
/// As [`Problem`] chooses. An address that is not known costs as much, and is answered by the same bytes, as a
/// password that does not fit.
#[utoipa::path(
    post,
    path = "/v1/session",
    tag = "Session",
    operation_id = "sign_in",
    security(()),
    request_body = SignIn,
    responses(
        (status = 201, description = "A session is open; its secret is in the cookie alone.", body = SignedIn, headers(("Set-Cookie" = String, description = "The session's cookie."))),
    ),
    extensions(("x-refuses" = json!(["sign-in-failed", "cross-origin", "forbidden", "not-found", "invalid", "too-many-failures"]))),
)]
pub async fn sign_in(
    State(app): State<App>,
    _: NoParameters,
    address: Extension<ClientAddress>,
    id: Extension<RequestId>,
    headers: HeaderMap,
    body: Json<SignIn>,
) -> Result<Response, Problem> {
    // A foreign page must not sign its visitor in as somebody else.
    if stems(&headers, &app.issuer) == Stems::Elsewhere {
        return Err(Problem::cross_origin());
    }
    let SignIn { email, password, organization } = body.value;
    if email.chars().count() > 254 || email.chars().any(char::is_control) {
        return Err(Problem::invalid("email", "It is an e-mail address such as owner@example.com."));
    }
    let password = Password::new(password).map_err(|what| Problem::invalid("password", what))?;
    let key = folded(email.trim());
    let attempt = app.failures.attempt(address.0, &key, app.clock.boottime());
    let door = Door { address: address.0, key, attempt };
    let user = with_password(&app, &door, password).await?;
    let organization = home(&user, organization)?;
    open(&app, &user, organization, id.0.0, &door).await
}

/// The user whose password this is.
async fn with_password(app: &App, door: &Door, password: Password) -> Result<User, Problem> {
    checked(app, &door.attempt)?;
    let place = app.passwords.place(door.attempt.turn).await?;
    // Again, for those that waited while others failed; and none beside more than may fail.
    let under_way = app.failures.begin(&door.attempt, app.clock.boottime()).map_err(too_early)?;
    let found = people::by_address(&app.pool, &door.key).await?;
    let (user, hash) = match found {
        Some(WithPassword { user, hash }) => (Some(user), hash),
        None => (None, None),
    };
    let (fits, _place) = place.fits(password, hash).await?;
    match user.filter(|_| fits) {
        Some(user) => Ok(user),
        None => {
            app.failures.failed(&door.attempt, app.clock.boottime());
            drop(under_way);
            Err(Problem::sign_in_failed())
        }
    }
}

/// Whether an attempt may be looked at.
///
/// # Errors
/// 429.
pub(super) fn checked(app: &App, attempt: &Attempt) -> Result<(), Problem> {
    let refused = app.failures.check(attempt, app.clock.boottime());
    refused.map_err(too_early)
}

fn too_early(left: Duration) -> Problem {
    Problem::too_many_failures(left.as_secs() + 1)
}

/// Where a session acts: where the user asks for, or in the oldest organization of the user's.
fn home(user: &User, asked: Option<OrganizationId>) -> Result<OrganizationId, Problem> {
    let member = |id: &OrganizationId| user.role_in(*id).is_some();
    match asked {
        Some(id) if member(&id) => Ok(id),
        Some(_) => Err(Problem::not_found().at("organization")),
        None => user.memberships.keys().copied().find(member).ok_or_else(|| Refusal::Forbidden.into()),
    }
}

async fn open(
    app: &App,
    user: &User,
    organization: OrganizationId,
    request_id: Uuid,
    door: &Door,
) -> Result<Response, Problem> {
    let secret = Plaintext::mint(SESSION_PREFIX, &crate::clock::random());
    let (id, expires_at) = (SessionId(app.clock.uuid()), app.clock.now().plus_seconds(SESSION_SECONDS));
    let action = Action::OpenSession(OpenSession {
        id,
        user: user.id,
        organization,
        digest: secret.digest(),
        expires_at,
        password_set: user.password_set,
    });
    // Read before anything is done: what was committed is answered, whatever becomes of the database then.
    let document = SignedIn {
        user: UserRecord { id: user.id, email: people::address(&app.pool, user).await? },
        organization_id: organization,
        organizations: memberships(app, user, Seq::MAX).await?,
        expires_at,
    };
    let actor = Actor::Session { session_id: id, user_id: user.id };
    let opened = app.writer.write(Command { actor, request_id, organization, action }, None).await;
    // The password was changed meanwhile: this one fits no more.
    if let Err(WriteError::Refused(Refused::Refusal(Refusal::Unauthenticated))) = opened {
        app.failures.failed(&door.attempt, app.clock.boottime());
        return Err(Problem::sign_in_failed());
    }
    opened?;
    app.failures.succeeded(door.address, &door.key, app.clock.boottime());
    app.sessions.add(secret.digest(), id, expires_at, app.clock.now());
    let mut response = shown(StatusCode::CREATED, &document, "");
    let cookie = session_cookie(&app.issuer, secret).ok_or_else(Problem::internal)?;
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// Signs out: ends the presented session.
///
/// It needs the session's cookie: a token has no session to end.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    delete,
    path = "/v1/session",
    tag = "Session",
    operation_id = "sign_out",
    security(("session" = ["write"])),
    request_body(content = Option<Nothing>),
    responses((status = 204, description = "The session has ended.", headers(("Set-Cookie" = String, description = "Takes the session's cookie away.")))),
    extensions(("x-refuses" = json!(["session-needed"]))),
)]
pub async fn sign_out(
    State(app): State<App>,
    SessionCaller(caller, id): SessionCaller,
    _: Json<Nothing>,
) -> Result<Response, Problem> {
    app.writer.write(caller.command(Action::EndSession { id }), None).await?;
    Ok(signed_out(&app))
}

/// Ends all of the caller's sessions, the presented one included.
///
/// The caller's tokens go on working.
///
/// # Errors
/// As [`Problem`] chooses.
#[utoipa::path(
    delete,
    path = "/v1/user/sessions",
    tag = "Session",
    operation_id = "end_all_sessions",
    security(("bearer" = ["write"]), ("session" = ["write"])),
    request_body(content = Option<Nothing>),
    responses((status = 204, description = "They have ended.", headers(("Set-Cookie" = String, description = "Takes the session's cookie away.")))),
)]
pub async fn end_all(State(app): State<App>, caller: Caller, _: Json<Nothing>) -> Result<Response, Problem> {
    app.writer.write(caller.command(Action::EndAllSessions), None).await?;
    Ok(signed_out(&app))
}

fn signed_out(app: &App) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(cookie) = no_session_cookie(&app.issuer) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
