//! Instants, and the one parser of RFC 3339 that every door uses.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use time::{Date, Month, OffsetDateTime, Time, UtcOffset};

/// An instant in UTC with a resolution of one microsecond, PostgreSQL's own. Finer input is cut, never
/// rounded up: a token must not live longer than was asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since 1970-01-01T00:00:00Z.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The same, if that is one of the years 1 to 9999, which alone can be written back.
    pub fn in_calendar(micros: i64) -> Option<Self> {
        Some(Self(micros)).filter(|instant| (FIRST..=LAST).contains(instant))
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down: the NumericDate of RFC 7519 that introspection answers.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This instant moved by `seconds`, at the ends of the calendar held there.
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// How far apart two instants are, in microseconds.
    pub fn distance(self, other: Self) -> u64 {
        self.0.abs_diff(other.0)
    }

    /// The calendar form, for the database driver.
    pub fn to_offset_date_time(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// From the calendar form. What is finer than a microsecond is cut.
    pub fn from_offset_date_time(value: OffsetDateTime) -> Self {
        Self(value.unix_timestamp_nanos().div_euclid(1000) as i64)
    }

    /// Reads a `date-time` of RFC 3339 section 5.6, and nothing more lenient: a zone is required, an offset
    /// is at most 23:59, the date must exist, and there is no leap second (no clock of ours has one).
    /// Lower-case `t` and `z` are taken, as the RFC allows; a blank in place of `T` is not.
    pub fn parse(text: &str) -> Result<Self, NotATimestamp> {
        let instant = parse(text.as_bytes()).ok_or(NotATimestamp::Malformed)?;
        Self::in_calendar(instant.0).ok_or(NotATimestamp::OutOfRange)
    }
}

/// Why a text is no instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotATimestamp {
    /// It is not a `date-time` of RFC 3339.
    #[error("not an RFC 3339 date-time such as 2027-06-01T00:00:00Z")]
    Malformed,
    /// It is one, and its offset leads out of the years that can be written back.
    #[error("outside of the years 1 to 9999 in UTC")]
    OutOfRange,
}

fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0u32, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u32::from(b - b'0')))
}

fn parse(text: &[u8]) -> Option<Timestamp> {
    let (date_time, rest) = text.split_at_checked(19)?;
    let separators =
        [date_time[4], date_time[7], date_time[10].to_ascii_uppercase(), date_time[13], date_time[16]];
    if separators != *b"--T::" {
        return None;
    }
    let part = |from: usize, to: usize| digits(&date_time[from..to]);
    let month = Month::try_from(u8::try_from(part(5, 7)?).ok()?).ok()?;
    let date = Date::from_calendar_date(part(0, 4)? as i32, month, part(8, 10)? as u8).ok()?;
    let (fraction, zone) = split_fraction(rest)?;
    let time =
        Time::from_hms_micro(part(11, 13)? as u8, part(14, 16)? as u8, part(17, 19)? as u8, fraction).ok()?;
    let offset = parse_zone(zone)?;
    // The arithmetic is in 64 bits, so that an offset cannot leave the calendar on the way.
    let utc = OffsetDateTime::new_in_offset(date, time, UtcOffset::UTC);
    Some(Timestamp::from_offset_date_time(utc).plus_seconds(-offset))
}

/// 0001-01-01T00:00:00Z and the last microsecond of 9999: what can be written back in four digits of year.
const FIRST: Timestamp = Timestamp(-62_135_596_800_000_000);
const LAST: Timestamp = Timestamp(253_402_300_799_999_999);

/// Splits `.123456789Z` into microseconds and the zone.
fn split_fraction(rest: &[u8]) -> Option<(u32, &[u8])> {
    let Some(rest) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    if count == 0 || count > 32 {
        return None;
    }
    let kept = &rest[..count.min(6)];
    let scale = 10u32.pow(6 - kept.len() as u32);
    Some((digits(kept)? * scale, &rest[count..]))
}

/// The offset in seconds east of UTC.
fn parse_zone(zone: &[u8]) -> Option<i64> {
    match zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            let east = i64::from(hours * 3600 + minutes * 60);
            (hours < 24 && minutes < 60).then_some(if *sign == b'-' { -east } else { east })
        }
        _ => None,
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with `Z`; the fraction only where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.to_offset_date_time();
        let (year, month, day) = (t.year(), u8::from(t.month()), t.day());
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", t.hour(), t.minute(), t.second())?;
        let fraction = format!("{:06}", t.microsecond());
        match fraction.trim_end_matches('0') {
            "" => write!(f, "Z"),
            some => write!(f, ".{some}Z"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(crate::read_str(Self::parse))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_rfc_allows_is_taken() {
        for (text, seconds) in [
            ("2028-02-29T00:00:00Z", 1_835_395_200),
            ("2027-06-01T00:30:00+14:00", 1_811_759_400),
            ("2027-12-31T23:30:00-01:00", 1_830_299_400),
            ("2027-06-01T00:00:00.123456789Z", 1_811_808_000),
            ("2027-06-01t00:00:00z", 1_811_808_000),
            ("1970-01-01T00:00:00-00:00", 0),
        ] {
            assert_eq!(Timestamp::parse(text).map(Timestamp::unix_seconds), Ok(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "2027-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2027-06-31T00:00:00Z",
            "2027-06-01",
            "2027-06-01T00:00:00",
            "2027-06-01T00:00:00+0100",
            "2027-06-01T00:00:00+25:00",
            "2027-06-01T00:00:00+01:60",
            "2027-06-01T24:00:00Z",
            "2027-06-01T00:00:00,5Z",
            "2027-06-01T00:00:00.Z",
            "2027-06-01T12:34:60Z",
            " 2027-06-01T00:00:00Z",
            "2027-06-01T00:00:00Z ",
            "2027-06-01 00:00:00Z",
            "",
            "1811808000",
            "10000-01-01T00:00:00Z",
            "٢٠٢٧-06-01T00:00:00Z",
        ] {
            assert_eq!(Timestamp::parse(text), Err(NotATimestamp::Malformed), "{text}");
        }
        for text in ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+00:01", "0000-12-31T23:59:59Z"] {
            assert_eq!(Timestamp::parse(text), Err(NotATimestamp::OutOfRange), "{text}");
        }
    }

    #[test]
    fn an_instant_is_written_in_utc_and_read_back() {
        for (text, written) in [
            ("2027-06-01T00:00:00+02:00", "2027-05-31T22:00:00Z"),
            ("2027-06-01T00:00:00.120Z", "2027-06-01T00:00:00.12Z"),
            ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ] {
            let instant = Timestamp::parse(text).unwrap();
            assert_eq!(instant.to_string(), written);
            assert_eq!(Timestamp::parse(written), Ok(instant));
        }
    }
}
