//! The rules of Counterfoil, pure: no clock, no randomness, no I/O.
//!
//! Commands are decided on the state that came before them ([`decide::decide`]), what happens is events
//! ([`event::Event`]), and events fold into the next state ([`fold::fold`]). Reading order: a token's life in
//! [`token`], then `decide` and `fold`, then what an answer to a gateway is made of in [`introspection`].

pub mod ids;
pub mod plaintext;
pub mod policy;
pub mod role;
pub mod scope;
pub mod timestamp;
pub mod value;

pub mod actor;
pub mod event;
pub mod gateway;
pub mod organization;
pub mod token;
pub mod user;

pub mod authority;
pub mod command;
pub mod decide;
pub mod fold;
pub mod gateway_commands;
pub mod if_match;
pub mod introspection;
pub mod members;
pub mod names;
pub mod people;
pub mod refusal;
pub mod state;

/// A visitor that parses text where it lies: a log is read quicker without a copy of every field.
pub(crate) fn read_str<T, E: std::fmt::Display>(
    parse: impl Fn(&str) -> Result<T, E>,
) -> impl for<'de> serde::de::Visitor<'de, Value = T> {
    struct Parse<F>(F);

    impl<T, E: std::fmt::Display, F: Fn(&str) -> Result<T, E>> serde::de::Visitor<'_> for Parse<F> {
        type Value = T;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<Error: serde::de::Error>(self, text: &str) -> Result<T, Error> {
            (self.0)(text).map_err(Error::custom)
        }
    }

    Parse(parse)
}
