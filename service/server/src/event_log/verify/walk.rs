//! The walk: every event in order, checked and folded from nothing.

use super::decode::{Read, Stored};
use super::extent::{End, Extent};
use super::findings::Findings;
use crate::event_log::append::about;
use counterfoil_domain::event::{CHAIN_START, Event, Recorded};
use counterfoil_domain::fold::{FoldError, fold};
use counterfoil_domain::ids::{Seq, UserId, ValueId};
use counterfoil_domain::plaintext::Digest;
use counterfoil_domain::state::State;
use counterfoil_domain::timestamp::Timestamp;
use counterfoil_domain::token::Owner;
use counterfoil_domain::user::User;
use counterfoil_domain::value::ValueRef;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// Where a walk ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After this event.
    Seq(Seq),
    /// Before the first event that was decided at this instant or later.
    Instant(Timestamp),
}

/// A personal value that an event commits to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Committed {
    pub(crate) commitment: Digest,
    /// Whose it is: erased with that subject.
    pub(crate) subject: Option<Uuid>,
    /// The event.
    pub(crate) seq: Seq,
}

/// See the module.
#[derive(Default)]
pub struct Walk {
    /// What the events fold into.
    pub state: State,
    /// What was wrong.
    pub findings: Findings,
    /// How many events there were.
    pub events: u64,
    /// The last position, and its chain value and instant.
    pub last: Option<(Seq, Digest, Timestamp)>,
    /// What a download lacks.
    pub extent: Extent,
    /// The personal values that must be there.
    pub(crate) values: HashMap<ValueId, Committed>,
    pub(crate) until: Option<Until>,
    /// Whether the events are a download, which may lack what its reader may not see.
    pub(crate) is_download: bool,
    pub(crate) stopped: bool,
}

impl Walk {
    /// The last position; 0 if there was no event.
    pub fn head(&self) -> Seq {
        self.last.map_or(0, |(seq, ..)| seq)
    }

    /// The chain value of the last event.
    pub fn chain(&self) -> Digest {
        self.last.map_or(CHAIN_START, |(_, chain, _)| chain)
    }

    /// What was wrong. The rest is given up on a thread of its own: a million tokens take half a second to give up, and
    /// nobody waits for that.
    pub(crate) fn into_findings(self) -> Findings {
        let Self { state, findings, values, .. } = self;
        std::thread::spawn(move || drop((state, values)));
        findings
    }

    /// Takes what was read next.
    pub(crate) fn take(&mut self, read: Read) {
        match read {
            Read::Event(stored) => {
                // Where downloads were put together, the last one's end counts.
                self.extent.end = None;
                self.extent.last = self.extent.last.max(stored.seq);
                self.event(stored);
            }
            Read::End(end) => self.end(end),
            Read::Strange(number, what) => self.findings.line(number, what),
            Read::Cut => self.extent.end = None,
        }
    }

    fn end(&mut self, end: End) {
        self.extent.end = Some(end);
        if end.next_after < self.extent.last {
            self.findings.event(self.extent.last, "the stream's last line says that it ended before this");
        }
    }

    /// Ends a download: notes what it lacks after its last event, and what of it is no download.
    pub(crate) fn conclude(&mut self) {
        if let Some(end) = self.extent.end
            && !self.stopped
        {
            let last = match self.until {
                Some(Until::Seq(until)) => until.min(end.looked()),
                _ => end.looked(),
            };
            self.gap(self.head(), last.saturating_add(1));
        }
        let what = match (self.extent.last, self.extent.end) {
            (0, _) if self.findings.count > 0 => return,
            (0, None) => "the file has no event and no last line: it is no download, or one that was cut",
            (0, Some(_)) => "the file has no event: nothing can be shown by it",
            (_, None) => "the download has no last line that says where it ended: it was cut",
            (_, Some(_)) => return,
        };
        self.findings.file(what);
    }

    /// The last position that a download can speak of.
    pub(crate) fn reached(&self) -> Seq {
        self.extent.last.max(self.extent.end.map_or(0, End::looked))
    }

    fn ends_before(&self, stored: &Stored) -> bool {
        match (self.until, &stored.event) {
            (Some(Until::Seq(until)), _) => stored.seq > until,
            (Some(Until::Instant(until)), Ok(recorded)) => recorded.decided_at >= until,
            _ => false,
        }
    }

    fn event(&mut self, stored: Stored) {
        let (seq, head) = (stored.seq, self.head());
        if !self.stopped && self.ends_before(&stored) {
            self.stopped = true;
            // What is not there up to here may have happened before the moment.
            self.gap(
                head,
                if let Some(Until::Seq(until)) = self.until { until.saturating_add(1) } else { seq },
            );
        }
        if self.stopped {
            return;
        }
        self.events += 1;
        if seq <= head {
            self.findings.event(seq, format!("it comes after event {head}: the order is broken"));
            return;
        }
        self.gap(head, seq);
        if stored.follows == Some(false) {
            let what =
                "its chain value does not follow from its record and the value before: one was changed";
            self.findings.event(seq, what);
        }
        for column in &stored.wrong {
            self.findings.event(seq, format!("the column {column} differs from the record"));
        }
        let before = self.last.map(|(_, _, at)| at);
        let at = match &stored.event {
            Ok(recorded) => self.recorded(recorded, before, stored.about),
            Err(error) => {
                self.findings.event(seq, error.to_string());
                before.unwrap_or(Timestamp::from_micros(i64::MIN))
            }
        };
        self.last = Some((seq, stored.chain, at));
    }

    /// Notes the positions between two.
    pub(crate) fn gap(&mut self, head: Seq, seq: Seq) {
        let missing = seq.saturating_sub(head.saturating_add(1));
        if missing == 0 {
            return;
        }
        self.extent.missing += missing;
        if self.is_download {
            return;
        }
        let range = if missing == 1 { String::new() } else { format!(" to {}", seq - 1) };
        self.findings.event(head + 1, format!("missing{range}: the log has a gap"));
    }

    fn recorded(
        &mut self,
        recorded: &Recorded,
        before: Option<Timestamp>,
        copies: Option<(Uuid, Option<Uuid>)>,
    ) -> Timestamp {
        let (seq, at) = (recorded.seq, recorded.decided_at);
        if before.is_some_and(|before| at < before) {
            self.findings.event(seq, "it was decided before the event before it");
        }
        self.fold(recorded);
        let (subject, user) = about(&self.state, &recorded.event);
        if let Some(copies) = copies {
            for (column, same) in
                [("subject_id", copies.0 == subject), ("user_id", copies.1 == user.map(|u| u.0))]
            {
                if !same {
                    self.findings.event(seq, format!("the column {column} differs from the record"));
                }
            }
        }
        if let Some(ValueRef { id, commitment }) = recorded.event.value() {
            let subject = user.map(|id| id.0).or(recorded.organization.map(|id| id.0));
            self.values.insert(id, Committed { commitment, subject, seq });
        }
        at
    }

    /// Folds an event, over a gap if need be. What does not fit is named, and the walk goes on, so that the rest is
    /// looked at too.
    fn fold(&mut self, recorded: &Recorded) {
        self.state.head = recorded.seq.saturating_sub(1);
        let partial = self.is_download && self.extent.missing > 0;
        if partial {
            self.assume_owner(recorded);
        }
        match fold(&mut self.state, recorded) {
            Ok(()) => {}
            Err(FoldError::Missing { .. } | FoldError::Impossible { .. }) if partial => {
                self.extent.unfolded += 1
            }
            Err(error) => self.findings.event(recorded.seq, error.to_string()),
        }
    }

    /// A download may begin after its tokens' user: that the user exists is taken for granted then.
    fn assume_owner(&mut self, recorded: &Recorded) {
        let Event::TokenIssued(body) = &recorded.event else { return };
        let Owner::User(id) = body.owner else { return };
        self.state.users.entry(id).or_insert_with(|| unknown(id));
    }
}

fn unknown(id: UserId) -> User {
    User {
        id,
        email: ValueRef { id: ValueId(Uuid::nil()), commitment: CHAIN_START },
        memberships: BTreeMap::new(),
        password_set: 0,
        standing: BTreeMap::new(),
        seq: 0,
    }
}
