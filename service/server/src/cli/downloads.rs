//! What a download of the feed shows, and what it cannot: the same sentences wherever a file is looked at.

use super::document;
use counterfoil::event_log::verify::{End, Extent};

/// Says it of a download in which nothing is wrong, as far as it was walked: up to `last`.
pub(crate) fn said(extent: &Extent, last: u64) {
    if let Some(end) = extent.end.filter(|_| !extent.reaches_head()) {
        document(&short(end));
    }
    let Extent { missing, unfolded, .. } = extent;
    document(&if *missing == 0 {
        format!(
            "the download has every event up to {last}: its chain shows that none of them was changed, added or left out"
        )
    } else {
        format!(
            "{missing} events are not in the download: its reader may not see them, it was filtered, or they were \
             taken out of it. Events that follow each other are held by the chain; whether anything was left out, and \
             what comes after a gap, is not. {unfolded} events depend on missing ones and could not be folded"
        )
    });
}

/// What a download does not prove from which events are missing, and what takes it for that.
pub(crate) fn lacking(extent: &Extent) -> String {
    format!(
        "{} events are not in the download: tokens that it shows as live may have ended by them, and others may be \
         missing. If its reader may not see them, or it was filtered, say --partial",
        extent.missing
    )
}

fn short(end: End) -> String {
    let (looked, head) = (end.looked(), end.head);
    if looked < head {
        format!("the download ends at event {looked}, before the head as of then, which was event {head}")
    } else {
        format!("the head as of then, event {head}, is not in the download")
    }
}
