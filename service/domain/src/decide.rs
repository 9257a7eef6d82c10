//! Deciding: a command and the state before it, to what happens. Pure, and tested by histories.

use crate::authority::judge;
use crate::command::{Action, Answer, Command, Decided, Decision};
use crate::event::Event;
use crate::ids::{OrganizationId, TokenId};
use crate::refusal::Refusal;
use crate::state::{Clock, State};
use crate::token::{TokenExpired, change, end, issue, rotate};
use crate::{gateway_commands, members, people};

/// What every decision may look at.
pub struct Context<'a> {
    /// What was so before.
    pub state: &'a State,
    /// The clocks.
    pub clock: &'a Clock,
    /// The command, for its actor and organization.
    pub command: &'a Command,
    /// Configured limits.
    pub limits: Limits,
}

/// Limits that an operator may lower.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Standing personal tokens per user, at most [`crate::user::STANDING_TOKENS`].
    pub tokens_per_user: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tokens_per_user: crate::user::STANDING_TOKENS }
    }
}

impl Context<'_> {
    /// Judges the command's actor as a user.
    ///
    /// # Errors
    /// [`Refusal::Unauthenticated`] if its credential does not count at this position.
    pub fn authority(&self) -> Result<crate::authority::Authority, Refusal> {
        judge(self.state, self.clock, self.command.organization, &self.command.actor)
    }
}

/// Decides one command. The state must hold what the command names ([`crate::names::Names`]), with every due token
/// expired ([`due`]).
///
/// # Errors
/// The refusal, which is this caller's answer and touches nobody else.
pub fn decide(context: &Context<'_>) -> Decided {
    let action = &context.command.action;
    if !context.clock.trusted && !action.narrows() {
        // Judged first all the same: a stranger learns nothing about the clocks.
        if !matches!(
            action,
            Action::Bootstrap(_)
                | Action::AddMember(_)
                | Action::SetPassword(_)
                | Action::OpenSession(_)
                | Action::Sweep { .. }
        ) {
            context.authority()?;
        }
        return Err(Refusal::ClockUntrusted);
    }
    match action {
        Action::IssuePersonal(issue) => issue::issue_personal(context, issue),
        Action::ChangeToken(change) => change::change(context, change),
        Action::Rotate(rotate) => rotate::rotate(context, rotate),
        Action::Disable { id, if_match, reason } => change::disable(context, *id, if_match, reason.as_ref()),
        Action::Enable { id, if_match } => change::enable(context, *id, if_match),
        Action::Revoke { id, if_match, reason } => end::revoke(context, *id, if_match, reason.as_ref()),
        Action::RevokeAll { reason, sessions } => end::revoke_all(context, reason.as_ref(), *sessions),
        Action::RevokeHeld { id, digest } => end::revoke_held(context, *id, digest),
        Action::EndPrevious { id, generation } => end::end_previous(context, *id, *generation),
        Action::Sweep { .. } => Ok(Decision::AlreadySo(Answer::Done)),
        Action::RegisterGateway(register) => gateway_commands::register(context, register),
        Action::ChangeGateway(change) => gateway_commands::change(context, change),
        Action::RemoveGateway { id, if_match, reason } => {
            gateway_commands::remove(context, *id, if_match, reason.as_ref())
        }
        Action::IssueGatewayToken(issue) => gateway_commands::issue_token(context, issue),
        Action::RevokeGatewayToken { gateway, id, if_match, reason } => {
            gateway_commands::revoke_token(context, (*gateway, *id), if_match, reason.as_ref())
        }
        Action::Bootstrap(bootstrap) => people::bootstrap(context, bootstrap),
        Action::AddMember(add) => members::add_member(context, add),
        Action::SetPassword(set) => people::set_password(context, set),
        Action::OpenSession(open) => people::open_session(context, open),
        Action::EndSession { id } => people::end_session(context, *id),
        Action::EndAllSessions => people::end_all_sessions(context),
    }
}

/// The expiries to record before anything else is decided: of every loaded standing token whose time has come by
/// both clocks. Empty while the clocks are not trusted, for nothing may end for good then, and without the tokens that
/// are older than the watch of them ([`Clock::ends_after`]).
pub fn due(state: &State, clock: &Clock) -> Vec<(Option<OrganizationId>, Event)> {
    if !clock.trusted {
        return Vec::new();
    }
    let mut due: Vec<(Option<OrganizationId>, TokenId)> = state
        .tokens
        .values()
        .filter(|token| token.stands() && token.is_due(clock.earliest()))
        .filter(|token| token.issued_seq > clock.ends_after)
        .map(|token| (token.event_organization(), token.id))
        .collect();
    due.sort_by_key(|(_, id)| *id);
    due.into_iter()
        .map(|(organization, id)| (organization, Event::TokenExpired(TokenExpired { id })))
        .collect()
}
