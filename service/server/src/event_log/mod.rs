//! The event log: its contract, in prose.
//!
//! **Order.** An append takes `pg_advisory_xact_lock` on [`APPEND_LOCK`]; the head is read in the *next* statement,
//! whose snapshot is younger than the lock. seq is head + 1, so it has no gaps. The order is never taken from an
//! identity column or a timestamp, and the head is never kept in a row that every commit updates.
//!
//! **Durability.** An answer follows COMMIT, and the applier: whoever is told of a success, or of a refusal, can
//! introspect and see it. A commit whose outcome is unknown is resolved before anything else is done: the old
//! backend is ended, the lock taken, and the log read from the batch's first position on. If it is not there, the batch is
//! decided once more, for those who still wait.
//!
//! **Who may call at once.** Anyone, through [`writer::Writer`], which is a queue. One task decides, in batches of
//! one transaction each. A command that fails is isolated from its batch: the others are decided again without it.

pub mod append;
pub mod batch;
pub mod clocks;
pub mod failure;
pub mod feed;
mod node;
mod queue;
pub mod read;
pub mod rebuild;
pub mod replay;
pub mod session;
pub mod steps;
pub mod sweeper;
pub mod verify;
pub mod writer;

/// The key of the advisory lock under which events are appended, held for one transaction.
pub const APPEND_LOCK: i64 = 0x0063_665f_6170_7064;
/// The key of the advisory lock of the node that serves, held by the writer's session.
pub const SERVING_LOCK: i64 = 0x0063_665f_7365_7276;
