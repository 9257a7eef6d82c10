//! Which versions of PostgreSQL are supported.

use super::connect::DatabaseError;
use super::private::OLDEST;

/// Whether a version is, by its number: 140005 is 14.5, and 90624 was 9.6.24.
pub(crate) fn is_supported(number: u32) -> bool {
    number / 10_000 >= OLDEST
}

/// Refuses a server that is too old.
pub(crate) fn refuse_old(number: u32) -> Result<(), DatabaseError> {
    if is_supported(number) { Ok(()) } else { Err(DatabaseError::TooOld(text(number))) }
}

/// A version as people write it.
pub(crate) fn text(number: u32) -> String {
    match number {
        100_000.. => format!("{}.{}", number / 10_000, number % 10_000),
        _ => format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_refused_by_its_version() {
        for number in [140_000, 150_008, 180_001, 190_000] {
            assert!(refuse_old(number).is_ok(), "{number}");
        }
        for (number, text) in
            [(139_999, "13.9999"), (130_014, "13.14"), (100_001, "10.1"), (90_624, "9.6.24")]
        {
            let said = refuse_old(number).unwrap_err().to_string();
            assert!(
                said.starts_with(&format!("the database is PostgreSQL {text}, and it must be 14 or newer")),
                "{said}"
            );
        }
    }
}
