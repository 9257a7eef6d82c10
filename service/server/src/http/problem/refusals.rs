//! What the domain and the writer refuse, as problems.

use super::Problem;
use crate::event_log::batch::Refused;
use crate::event_log::writer::WriteError;
use counterfoil_domain::refusal::Refusal;
use http::StatusCode;

/// What is refused, as a sentence: an error's words begin small and have no full stop, for they stand after others.
fn sentence(refusal: &Refusal) -> String {
    let words = refusal.to_string();
    let mut letters = words.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).chain(['.']).collect()
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = sentence(&refusal);
        let conflict = |slug, title| Self::new(StatusCode::CONFLICT, slug, title, detail.clone());
        match refusal {
            Refusal::Unauthenticated => Self::unauthenticated(),
            Refusal::InsufficientScope(_) => {
                let mut problem = Self::new(
                    StatusCode::FORBIDDEN,
                    "insufficient-scope",
                    "The credential lacks a scope",
                    detail,
                );
                problem.challenge = Some("Bearer realm=\"counterfoil\", error=\"insufficient_scope\"");
                problem
            }
            Refusal::Forbidden => {
                Self::new(StatusCode::FORBIDDEN, "forbidden", "Your role does not allow this", detail)
            }
            Refusal::Stronger => Self::new(
                StatusCode::FORBIDDEN,
                "stronger-than-caller",
                "A token cannot make a stronger one",
                detail,
            )
            .at("scopes"),
            Refusal::NotFound => Self::not_found(),
            Refusal::LimitReached { .. } => {
                conflict("token-limit", "The limit of standing tokens is reached")
            }
            Refusal::Ended => conflict("token-ended", "The token has ended"),
            Refusal::RotatedMeanwhile => conflict("rotated-meanwhile", "The token was rotated meanwhile"),
            Refusal::AlreadyInitialized(_) => {
                conflict("already-initialized", "An organization exists already")
            }
            Refusal::AddressTaken => conflict("address-taken", "The address is taken"),
            Refusal::ChangedMeanwhile => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "changed-meanwhile",
                "It was changed meanwhile",
                detail,
            )
            .at("If-Match"),
            Refusal::UnknownScope(_) => Self::invalid("scopes", "The scopes that exist are read and write."),
            Refusal::Widens("scopes") => {
                Self::invalid("scopes", "They can only be narrowed, to some of those that the token has.")
            }
            // A field's name begins small, in a sentence too.
            Refusal::Widens(field) => Self::invalid(field, "It can only be narrowed."),
            Refusal::ExpiryInPast { .. } => Self::invalid("expires_at", detail),
            Refusal::OverlapTooLong(_) => Self::invalid("overlap", detail),
            Refusal::WrongPassword => {
                Self::new(StatusCode::FORBIDDEN, "wrong-password", "The password is wrong", detail)
                    .at("current_password")
            }
            Refusal::UnknownEnvironment => Self::invalid("environment_id", detail),
            Refusal::ClockUntrusted => Self::clocks_disagree(),
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(Refused::Refusal(refusal)) => refusal.into(),
            WriteError::Refused(Refused::KeyReused) => Self::key_reused(),
            WriteError::NotNow(why) => why.into(),
            WriteError::Internal => Self::internal(),
        }
    }
}
