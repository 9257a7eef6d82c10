//! The first organization, passwords and sessions.

use crate::actor::Actor;
use crate::command::{Answer, Decided, Decision, Effects, SecretText, Write};
use crate::decide::Context;
use crate::event::Event;
use crate::gateway::GatewayRegistered;
use crate::gateway_commands::{NewGatewayToken, token_issued};
use crate::ids::{EnvironmentId, GatewayId, OrganizationId, Seq, SessionId, UserId};
use crate::organization::{EnvironmentCreated, MemberAdded, OrganizationCreated};
use crate::plaintext::Digest;
use crate::policy::Permission;
use crate::refusal::Refusal;
use crate::role::Role;
use crate::scope::Scopes;
use crate::timestamp::Timestamp;
use crate::token::issue::IssuePersonal;
use crate::token::{Kind, Owner, TokenIssued};
use crate::user::{PasswordSet, UserCreated};
use crate::value::Value;

/// Make the first organization with all that a first start needs, in one step.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// The organization's id.
    pub organization: OrganizationId,
    /// Random numbers for the organization, the environment and the membership.
    pub numbers: [i64; 3],
    /// The organization's name.
    pub organization_name: Value,
    /// The owner's id.
    pub owner: UserId,
    /// The owner's e-mail address.
    pub email: Value,
    /// The address folded for comparison.
    pub email_key: String,
    /// The hash of the owner's password, as a PHC string.
    pub password_hash: SecretText,
    /// The owner's first token.
    pub token: IssuePersonal,
    /// The environment `default`.
    pub environment: EnvironmentId,
    /// Its name.
    pub environment_name: Value,
    /// The first gateway.
    pub gateway: GatewayId,
    /// Its name.
    pub gateway_name: Value,
    /// Its first token.
    pub gateway_token: NewGatewayToken,
}

/// Decides [`Bootstrap`]: once in the life of a log.
pub(crate) fn bootstrap(context: &Context<'_>, b: &Bootstrap) -> Decided {
    if !matches!(context.command.actor, Actor::Operator { .. }) {
        return Err(Refusal::Forbidden);
    }
    if context.state.initialized {
        return Err(Refusal::AlreadyInitialized(context.state.organizations.keys().next().copied()));
    }
    let here = Some(b.organization);
    let [organization_number, environment_number, member_number] = b.numbers;
    let mut effects = Effects::default()
        .and(
            here,
            Event::OrganizationCreated(OrganizationCreated {
                id: b.organization,
                number: organization_number,
                name: b.organization_name.reference(),
            }),
        )
        .and(None, Event::UserCreated(UserCreated { id: b.owner, email: b.email.reference() }))
        .and(None, Event::PasswordSet(PasswordSet { user_id: b.owner }))
        .and(
            here,
            Event::MemberAdded(MemberAdded { user_id: b.owner, number: member_number, role: Role::Owner }),
        )
        .and(
            here,
            Event::EnvironmentCreated(EnvironmentCreated {
                id: b.environment,
                number: environment_number,
                name: b.environment_name.reference(),
            }),
        )
        .and(
            here,
            Event::GatewayRegistered(GatewayRegistered {
                id: b.gateway,
                name: b.gateway_name.reference(),
                kinds: [Kind::Personal, Kind::Caller].into(),
                environment: None,
            }),
        );
    let next = |effects: &Effects| context.state.head + 1 + effects.events.len() as Seq;
    let gateway_token = token_issued(b.organization, b.gateway, &b.gateway_token, None, next(&effects));
    effects = effects.and(here, gateway_token);
    let owner_token = first_token(b, next(&effects));
    effects = effects.and(None, owner_token);
    for (subject, value) in [
        (b.organization.0, &b.organization_name),
        (b.owner.0, &b.email),
        (b.organization.0, &b.environment_name),
        (b.organization.0, &b.gateway_name),
    ] {
        effects = effects.value(subject, Some(value));
    }
    effects = effects
        .value(b.owner.0, b.token.note.as_ref())
        .write(Write::SignInName { user: b.owner, key: b.email_key.clone() })
        .write(Write::PasswordHash { user: b.owner, hash: b.password_hash.clone() });
    Ok(Decision::Happened(effects, Answer::Done))
}

fn first_token(b: &Bootstrap, since: Seq) -> Event {
    Event::TokenIssued(TokenIssued {
        id: b.token.id,
        token_kind: Kind::Personal,
        owner: Owner::User(b.owner),
        home: b.organization,
        digest: b.token.digest,
        hint: b.token.hint.clone(),
        scopes: Scopes::read_write(),
        expires_at: b.token.expires_at,
        note: b.token.note.as_ref().map(Value::reference),
        issued_by: None,
        since,
    })
}

/// Set a user's password. It ends the user's other sessions; tokens stay.
#[derive(Clone, Debug)]
pub struct SetPassword {
    /// Whose.
    pub user: UserId,
    /// The new hash, as a PHC string.
    pub hash: SecretText,
    /// The present password that was checked ([`crate::user::User::password_set`]): a newer one refuses this. An
    /// operator needs none.
    pub checked: Option<Seq>,
}

/// Decides [`SetPassword`].
pub(crate) fn set_password(context: &Context<'_>, set: &SetPassword) -> Decided {
    let by_operator = matches!(context.command.actor, Actor::Operator { .. });
    if !by_operator {
        let authority = context.authority()?;
        authority.may_change(Permission::OwnTokens)?;
        if authority.user != set.user {
            return Err(Refusal::NotFound);
        }
    }
    let user = context.state.users.get(&set.user).ok_or(Refusal::NotFound)?;
    if !by_operator && (user.password_set == 0 || set.checked != Some(user.password_set)) {
        return Err(Refusal::WrongPassword);
    }
    let except = match context.command.actor {
        Actor::Session { session_id, .. } => Some(session_id),
        _ => None,
    };
    let effects = Effects::event(None, Event::PasswordSet(PasswordSet { user_id: user.id }))
        .write(Write::PasswordHash { user: user.id, hash: set.hash.clone() })
        .write(Write::EndSessionsOf { user: user.id, except });
    Ok(Decision::Happened(effects, Answer::Done))
}

/// Open a session, after the password was checked outside the order.
#[derive(Clone, Debug)]
pub struct OpenSession {
    /// The session's id.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// Where it acts unless a request says otherwise: an organization of the user's.
    pub organization: OrganizationId,
    /// SHA-256 of the session's secret.
    pub digest: Digest,
    /// From when on it counts no more.
    pub expires_at: Timestamp,
    /// The password that was checked ([`crate::user::User::password_set`]): a newer one refuses this.
    pub password_set: Seq,
}

/// Decides [`OpenSession`].
pub(crate) fn open_session(context: &Context<'_>, open: &OpenSession) -> Decided {
    let user = context.state.users.get(&open.user).ok_or(Refusal::Unauthenticated)?;
    if user.password_set != open.password_set || open.password_set == 0 {
        return Err(Refusal::Unauthenticated);
    }
    user.role_in(open.organization).ok_or(Refusal::Forbidden)?;
    let effects = Effects::default().write(Write::OpenSession(open.clone()));
    Ok(Decision::Happened(effects, Answer::Done))
}

/// Decides that a session ends. The same again is fine.
pub(crate) fn end_session(context: &Context<'_>, id: SessionId) -> Decided {
    let Some(session) = context.state.sessions.get(&id) else { return Ok(Decision::AlreadySo(Answer::Done)) };
    if context.command.actor.user() != Some(session.user) {
        return Err(Refusal::NotFound);
    }
    Ok(Decision::Happened(Effects::default().write(Write::EndSession(id)), Answer::Done))
}

/// Decides that all of the actor's sessions end, the presented one included.
pub(crate) fn end_all_sessions(context: &Context<'_>) -> Decided {
    let authority = context.authority()?;
    authority.may_change(Permission::OwnTokens)?;
    let effects = Effects::default().write(Write::EndSessionsOf { user: authority.user, except: None });
    Ok(Decision::Happened(effects, Answer::Done))
}
