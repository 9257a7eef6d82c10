//! The accept loop: what every connection may cost.
