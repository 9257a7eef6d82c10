//! Who may do what: one table.

use crate::role::Role;

/// What a role may be allowed to do in an organization.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Permission {
    /// Issue, list, narrow, rotate and end one's own personal tokens.
    OwnTokens,
    /// List gateways.
    ReadGateways,
    /// Register, change and remove gateways and their tokens.
    ManageGateways,
    /// Read every event of the organization, and its members'.
    ReadAllEvents,
}

impl Permission {
    /// Every permission, in the order of the snapshot.
    pub const ALL: [Self; 4] =
        [Self::OwnTokens, Self::ReadGateways, Self::ManageGateways, Self::ReadAllEvents];
}

/// Whether a role has a permission. What is not said here is denied.
pub fn allows(role: Role, permission: Permission) -> bool {
    use Permission::{ManageGateways, OwnTokens, ReadAllEvents, ReadGateways};
    use Role::{Admin, Auditor, Member, Owner};
    match permission {
        OwnTokens => matches!(role, Owner | Admin | Member | Auditor),
        ReadGateways | ReadAllEvents => matches!(role, Owner | Admin | Auditor),
        ManageGateways => matches!(role, Owner | Admin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table as a reader would draw it. A change here is a change of what people may do.
    #[test]
    fn the_table_is_this_one() {
        let line =
            |permission| Role::ALL.map(|role| if allows(role, permission) { "✓" } else { "✗" }).join(" ");
        let table: Vec<String> = Permission::ALL.map(|p| format!("{} {p:?}", line(p))).to_vec();
        assert_eq!(
            table,
            [
                // owner, admin, member, auditor
                "✓ ✓ ✓ ✓ OwnTokens",
                "✓ ✓ ✗ ✓ ReadGateways",
                "✓ ✓ ✗ ✗ ManageGateways",
                "✓ ✓ ✗ ✓ ReadAllEvents",
            ]
        );
    }
}
