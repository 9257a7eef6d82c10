//! Every route on one screen, by listener.
