//! Instants as PostgreSQL stores them, in both directions.

use super::Unreadable;
use crate::postgres::copy::EPOCH;
use counterfoil_domain::timestamp::Timestamp;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Postgres, Type};
use time::OffsetDateTime;

/// An instant as the driver takes it.
pub(crate) fn to_sql(at: Timestamp) -> OffsetDateTime {
    at.to_offset_date_time()
}

/// An instant as it is stored: microseconds since 2000, whatever they are. PostgreSQL knows `infinity`, and years of six
/// digits; the driver's own decoding into a calendar panics at them, and whoever may edit a table could stop the service.
pub(crate) struct StoredInstant(i64);

impl StoredInstant {
    /// From the eight bytes that PostgreSQL sends.
    pub(crate) fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(i64::from_be_bytes(bytes))
    }

    /// The instant of a column.
    ///
    /// # Errors
    /// It is not one of the years 1 to 9999, so no fold can have written it.
    pub(crate) fn instant(self, table: &'static str, column: &str) -> Result<Timestamp, Unreadable> {
        self.0
            .checked_add(EPOCH)
            .and_then(Timestamp::in_calendar)
            .ok_or_else(|| Unreadable { table, what: format!("{column} is no instant of the calendar") })
    }
}

impl Type<Postgres> for StoredInstant {
    fn type_info() -> PgTypeInfo {
        <OffsetDateTime as Type<Postgres>>::type_info()
    }
}

impl PgHasArrayType for StoredInstant {
    fn array_type_info() -> PgTypeInfo {
        OffsetDateTime::array_type_info()
    }
}

impl Decode<'_, Postgres> for StoredInstant {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => Ok(Self::from_bytes(value.as_bytes()?.try_into()?)),
            PgValueFormat::Text => Err("an instant came as text".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_of_the_calendar_is_named_and_nothing_panics() {
        let read =
            |micros: i64| StoredInstant::from_bytes(micros.to_be_bytes()).instant("tokens", "expires_at");
        assert_eq!(read(0).unwrap().to_string(), "2000-01-01T00:00:00Z");
        let last = 253_402_300_799_999_999 - EPOCH;
        assert_eq!(read(last).unwrap().to_string(), "9999-12-31T23:59:59.999999Z");
        for outside in [i64::MAX, i64::MIN, i64::MAX - 1, last + 1, -63_082_281_600_000_001] {
            let error = read(outside).unwrap_err().to_string();
            assert_eq!(error, "a row of tokens cannot be read: expires_at is no instant of the calendar");
        }
    }
}
