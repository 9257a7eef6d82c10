//! People beside the owner: members that are managed directly, without a password.

use crate::actor::Actor;
use crate::command::{Answer, Decided, Decision, Effects, Write};
use crate::decide::Context;
use crate::event::Event;
use crate::ids::UserId;
use crate::organization::MemberAdded;
use crate::refusal::Refusal;
use crate::role::Role;
use crate::user::UserCreated;
use crate::value::Value;

/// Make an account without a password, as a member of the command's organization.
#[derive(Clone, Debug)]
pub struct AddMember {
    /// The new user's id.
    pub user: UserId,
    /// Its e-mail address.
    pub email: Value,
    /// The address folded for comparison: nobody else's.
    pub email_key: String,
    /// The membership's random number.
    pub number: i64,
    /// The role.
    pub role: Role,
}

/// Decides [`AddMember`]: from the command line only.
pub(crate) fn add_member(context: &Context<'_>, add: &AddMember) -> Decided {
    if !matches!(context.command.actor, Actor::Operator { .. }) {
        return Err(Refusal::Forbidden);
    }
    let organization = context.command.organization;
    if !context.state.organizations.contains_key(&organization) {
        return Err(Refusal::NotFound);
    }
    if context.state.sign_in_names.contains_key(&add.email_key) {
        return Err(Refusal::AddressTaken);
    }
    let member = MemberAdded { user_id: add.user, number: add.number, role: add.role };
    let effects =
        Effects::event(None, Event::UserCreated(UserCreated { id: add.user, email: add.email.reference() }))
            .and(Some(organization), Event::MemberAdded(member))
            .value(add.user.0, Some(&add.email))
            .write(Write::SignInName { user: add.user, key: add.email_key.clone() });
    Ok(Decision::Happened(effects, Answer::Done))
}
