//! Every route on one screen, by listener.

pub mod edge;
