//! Where in the frames of HTTP/2 a connection's bytes stand.
//!
//! The library that reads them waits for the rest of a head for ever. To bound that wait it is enough to know where a
//! frame begins and ends, and whether a head goes on in the next one.

/// Bytes before a frame's payload (RFC 9113 section 4.1).
const PREFIX: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// See the module.
#[derive(Default)]
pub(super) struct Frames {
    prefix: [u8; PREFIX],
    /// How much of it has come.
    came: usize,
    /// How much of the payload has not.
    left: usize,
    /// Whether a head goes on in the next frame.
    head_goes_on: bool,
}

impl Frames {
    /// Whether something has begun that is to be whole within the time for a head: a frame or a head. A body has a time
    /// of its own.
    pub(super) fn is_within(&self) -> bool {
        let in_data = self.came == PREFIX && self.prefix[3] == DATA;
        self.head_goes_on || self.came > 0 && !in_data
    }

    /// Takes in what has come. Says whether something was whole meanwhile, so that what has begun since has its own time.
    pub(super) fn came(&mut self, mut bytes: &[u8]) -> bool {
        let mut whole = false;
        while !bytes.is_empty() {
            let wanted = if self.came < PREFIX { PREFIX - self.came } else { self.left };
            let (these, others) = bytes.split_at(wanted.min(bytes.len()));
            bytes = others;
            if self.came < PREFIX {
                self.prefix[self.came..][..these.len()].copy_from_slice(these);
                self.came += these.len();
                if self.came == PREFIX {
                    self.begins();
                }
            } else {
                self.left -= these.len();
            }
            if self.came == PREFIX && self.left == 0 {
                self.came = 0;
                whole |= !self.head_goes_on;
            }
        }
        whole
    }

    /// A frame's prefix is here.
    fn begins(&mut self) {
        let [a, b, c, kind, flags, ..] = self.prefix;
        self.left = u32::from_be_bytes([0, a, b, c]) as usize;
        if matches!(kind, HEADERS | CONTINUATION) {
            self.head_goes_on = flags & END_HEADERS == 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0, 0, payload as u8, kind, flags, 0, 0, 0, 1];
        frame.resize(PREFIX + payload, 7);
        frame
    }

    /// What holds after each byte.
    fn after_each(bytes: &[u8]) -> Vec<bool> {
        let mut frames = Frames::default();
        let within = |byte| {
            frames.came(&[byte]);
            frames.is_within()
        };
        bytes.iter().copied().map(within).collect()
    }

    #[test]
    fn a_frame_is_to_be_whole_and_the_payload_of_data_has_its_own_time() {
        for (kind, flags, within) in [(HEADERS, END_HEADERS, true), (6, 0, true), (DATA, 0, false)] {
            let mut expected = vec![true; 8];
            expected.extend([within; 3]);
            expected.push(false);
            assert_eq!(after_each(&frame(kind, flags, 3)), expected, "{kind}");
        }
        assert_eq!(after_each(&frame(4, 1, 0)).last(), Some(&false));
    }

    #[test]
    fn a_head_goes_on_until_its_last_frame() {
        let mut frames = Frames::default();
        assert!(!frames.came(&frame(HEADERS, 0, 20)) && frames.is_within());
        assert!(!frames.came(&frame(CONTINUATION, 0, 20)) && frames.is_within());
        assert!(frames.came(&frame(CONTINUATION, END_HEADERS, 20)) && !frames.is_within());
        // However the bytes are cut: what was whole is told, and what has begun since is seen.
        let two = [frame(HEADERS, END_HEADERS, 20), frame(HEADERS, 0, 20)].concat();
        assert!(frames.came(&two[..40]) && frames.is_within());
        assert!(!frames.came(&two[40..]) && frames.is_within());
    }
}
