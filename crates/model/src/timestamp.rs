//! Moments in the two spellings of the protocols.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// A moment, exact to the millisecond, from 1970 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// The last millisecond of the year 9999, beyond which the spelling would change its length.
const LAST_MILLIS: u64 = 253_402_300_799_999;

impl Timestamp {
    pub fn from_millis(millis: u64) -> Self {
        Self(millis.min(LAST_MILLIS))
    }

    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// The moment as EDS writes it: `2013-06-28T16:38:32.369Z`, always three digits (`eds.md` §4.1).
    /// Sorting these texts sorts the moments.
    pub fn to_millis_text(self) -> String {
        let at = self.date_time();
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond()
        )
    }

    /// Reads what [`Timestamp::to_millis_text`] wrote.
    pub fn from_millis_text(text: &str) -> Option<Self> {
        let digits = |range: std::ops::Range<usize>| -> Option<u32> {
            let part = text.get(range)?;
            part.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| part.parse().ok())?
        };
        let small = |range| digits(range).and_then(|number| u8::try_from(number).ok());
        let month = time::Month::try_from(small(5..7)?).ok()?;
        let date = time::Date::from_calendar_date(
            i32::try_from(digits(0..4)?).ok()?,
            month,
            small(8..10)?,
        )
        .ok()?;
        let millis = u16::try_from(digits(20..23)?).ok()?;
        let clock =
            time::Time::from_hms_milli(small(11..13)?, small(14..16)?, small(17..19)?, millis)
                .ok()?;
        let nanos = OffsetDateTime::new_utc(date, clock).unix_timestamp_nanos();
        let moment = Self::from_millis(u64::try_from(nanos / 1_000_000).ok()?);
        (moment.to_millis_text() == text).then_some(moment)
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self::from_millis(
            self.0
                .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    fn date_time(self) -> OffsetDateTime {
        let nanos = i128::from(self.0) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .expect("a timestamp ends with the year 9999")
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The spelling of MWS and the platform: `2014-03-14T06:33:51Z` (`mws.md` §6, `platform.md` §10).
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.date_time();
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings() {
        let moment = Timestamp::from_millis(1_372_437_512_369);
        assert_eq!(moment.to_millis_text(), "2013-06-28T16:38:32.369Z");
        assert_eq!(moment.to_string(), "2013-06-28T16:38:32Z");
        assert_eq!(
            Timestamp::from_millis_text("2013-06-28T16:38:32.369Z"),
            Some(moment)
        );
        assert_eq!(
            Timestamp::from_millis(u64::MAX).to_millis_text(),
            "9999-12-31T23:59:59.999Z"
        );
    }

    #[test]
    fn only_the_exact_spelling_is_read() {
        for wrong in [
            "",
            "2013",
            "2013-06-28T16:38:32Z",
            "2013-13-28T16:38:32.369Z",
            "2013-06-28 16:38:32.369Z",
        ] {
            assert_eq!(Timestamp::from_millis_text(wrong), None, "{wrong}");
        }
    }
}
