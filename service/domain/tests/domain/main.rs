//! The rules by histories: given what happened, when a command comes, then these events follow, or this refusal.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers included")]

mod actors;
mod change;
mod clocks;
mod end;
mod fold_errors;
mod gateways;
mod golden;
mod history;
mod issue;
mod model;
mod parsers;
mod people;
mod random_histories;
mod random_steps;
mod rotate;
