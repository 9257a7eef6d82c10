//! The steps of random histories, and how likely each is.

use proptest::prelude::*;

/// One step. Numbers name what there is by its place, so that any of them means something.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Wait(u16),
    Clocks(bool),
    SignIn(u8),
    Issue {
        by: By,
        scopes: u8,
        lives: Option<i16>,
    },
    /// Enough to come to the limit.
    IssueMany {
        by: By,
        count: u8,
    },
    Narrow {
        by: By,
        token: u8,
        scopes: u8,
        lives: Option<i16>,
    },
    Rotate {
        by: By,
        token: u8,
        stale: bool,
        lives: Option<Option<i16>>,
        keep: u8,
    },
    Switch {
        by: By,
        token: u8,
        off: bool,
    },
    Revoke {
        by: By,
        token: u8,
    },
    RevokeAll {
        by: By,
        sessions: bool,
    },
    Held {
        through: Option<u8>,
        token: u8,
        secret: u8,
    },
    Used {
        token: u8,
    },
    Register {
        by: By,
    },
    GatewayToken {
        by: By,
        gateway: u8,
        lives: Option<i16>,
    },
    RemoveGateway {
        by: By,
        gateway: u8,
    },
    EndGatewayToken {
        by: By,
        token: u8,
    },
}

/// Who does it: a user by session, or the holder of a plaintext.
#[derive(Clone, Debug)]
pub(crate) enum By {
    User(u8),
    Holder { token: u8, secret: u8 },
}

fn by() -> impl Strategy<Value = By> {
    prop_oneof![
        3 => (0u8..3).prop_map(By::User),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(token, secret)| By::Holder { token, secret }),
    ]
}

fn lives() -> impl Strategy<Value = Option<i16>> {
    prop::option::of(-5i16..300)
}

/// Any step.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    let token = any::<u8>;
    prop_oneof![
        4 => (0u16..200).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Clocks),
        1 => (0u8..3).prop_map(Step::SignIn),
        8 => (by(), 0u8..4, lives()).prop_map(|(by, scopes, lives)| Step::Issue { by, scopes, lives }),
        1 => (by(), 30u8..60).prop_map(|(by, count)| Step::IssueMany { by, count }),
        4 => (by(), token(), 0u8..4, lives())
            .prop_map(|(by, token, scopes, lives)| Step::Narrow { by, token, scopes, lives }),
        8 => (by(), token(), prop::bool::weighted(0.1), prop::option::of(lives()), 0u8..4)
            .prop_map(|(by, token, stale, lives, keep)| Step::Rotate { by, token, stale, lives, keep }),
        4 => (by(), token(), any::<bool>()).prop_map(|(by, token, off)| Step::Switch { by, token, off }),
        4 => (by(), token()).prop_map(|(by, token)| Step::Revoke { by, token }),
        1 => (by(), any::<bool>()).prop_map(|(by, sessions)| Step::RevokeAll { by, sessions }),
        2 => (prop::option::of(token()), token(), any::<u8>())
            .prop_map(|(through, token, secret)| Step::Held { through, token, secret }),
        4 => token().prop_map(|token| Step::Used { token }),
        1 => by().prop_map(|by| Step::Register { by }),
        2 => (by(), any::<u8>(), lives())
            .prop_map(|(by, gateway, lives)| Step::GatewayToken { by, gateway, lives }),
        1 => (by(), any::<u8>()).prop_map(|(by, gateway)| Step::RemoveGateway { by, gateway }),
        2 => (by(), token()).prop_map(|(by, token)| Step::EndGatewayToken { by, token }),
    ]
}
