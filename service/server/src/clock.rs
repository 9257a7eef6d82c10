//! Time and randomness. Nothing else reads a clock or the operating system's randomness: everything that decides
//! gets them as arguments, and clippy keeps it so.

use counterfoil_domain::timestamp::Timestamp;
use nix::time::{ClockId, clock_gettime};
use rand::{TryRng, rngs::SysRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// The node's clocks and its randomness. Clones share one offset.
#[derive(Clone, Default)]
pub struct Clock {
    /// Microseconds by which tests move the wall clock. Nobody else writes it.
    offset: Arc<AtomicI64>,
    /// Microseconds by which tests let time pass on every clock. Nobody else writes it.
    passed: Arc<AtomicI64>,
}

impl Clock {
    /// The clock of the operating system.
    pub fn system() -> Self {
        Self::default()
    }

    /// The wall clock. It may jump; what is judged by it is guarded (see the writer).
    pub fn now(&self) -> Timestamp {
        let real = read(ClockId::CLOCK_REALTIME);
        let moved = self.offset.load(Ordering::Relaxed) + self.passed.load(Ordering::Relaxed);
        Timestamp::from_micros(real.as_micros() as i64 + moved)
    }

    /// Time since boot, sleep and suspension included (`CLOCK_BOOTTIME`): for what must not outlive a pause.
    pub fn boottime(&self) -> Duration {
        let passed = self.passed.load(Ordering::Relaxed).try_into().unwrap_or(0);
        read(ClockId::CLOCK_BOOTTIME) + Duration::from_micros(passed)
    }

    /// Moves the wall clock, as a test's way to be an hour or ten years elsewhere.
    pub fn set_offset(&self, micros: i64) {
        self.offset.store(micros, Ordering::Relaxed);
    }

    /// Lets time pass, as a test's way not to wait for it.
    pub fn pass(&self, time: Duration) {
        self.passed.fetch_add(time.as_micros() as i64, Ordering::Relaxed);
    }

    /// A UUIDv7 (RFC 9562 section 5.7): ordered by time, 74 random bits.
    pub fn uuid(&self) -> Uuid {
        let millis = (read(ClockId::CLOCK_REALTIME).as_millis() as u64) & 0xffff_ffff_ffff;
        uuid::Builder::from_unix_timestamp_millis(millis, &random()).into_uuid()
    }
}

/// A request's id: a UUIDv7 whose random bits come from the process's own generator, seeded by the operating system,
/// since there is one a request and it is no secret.
pub fn request_id(now: Timestamp) -> Uuid {
    let millis = (now.micros() / 1000) as u64 & 0xffff_ffff_ffff;
    uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid()
}

fn read(clock: ClockId) -> Duration {
    // The clocks exist on every Linux that we support, and reading them cannot fail otherwise.
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

/// Bytes from the operating system's randomness.
///
/// # Panics
/// If the operating system has none to give: nothing that is secret can be made then.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if SysRng.try_fill_bytes(&mut bytes).is_err() {
        panic!("the operating system gave no randomness");
    }
    bytes
}
