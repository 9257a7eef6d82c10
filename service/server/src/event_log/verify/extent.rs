//! How far a download reaches: by the events that it has, and by what its last line says.

use counterfoil_domain::ids::Seq;
use serde::Deserialize;

/// The last line of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// The last position that was looked at, whether or not its reader was shown it.
    pub next_after: Seq,
    /// Whether there was more of what was asked for.
    pub more: bool,
    /// The head of the log as of the request.
    pub head: Seq,
}

impl End {
    /// The last position that the download speaks of. It may have been asked for from beyond the head.
    pub fn looked(self) -> Seq {
        self.next_after.min(self.head)
    }
}

/// How far a download reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Positions that it looked at and that are not there, up to the moment that was asked for, if one was. Its reader
    /// may not see them, it was filtered, or they were taken out.
    pub missing: u64,
    /// Events that could not be folded because they depend on missing ones.
    pub unfolded: u64,
    /// The last event that is there; 0 if there is none.
    pub last: Seq,
    /// Its last line; `None` if it was cut before that.
    pub end: Option<End>,
}

impl Extent {
    /// Whether its last event is the head of the log as of the download: nothing was left out after it.
    pub fn reaches_head(&self) -> bool {
        self.end.is_some_and(|end| self.last == end.head)
    }
}
