//! The date and time of a run, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment to the minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self::of_unix_time(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()))
    }

    /// Days are counted from 1 March of year 0, so that a leap day ends its year (Howard Hinnant,
    /// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
    fn of_unix_time(seconds: u64) -> Self {
        let days = seconds / 86_400 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let months_since_march = (5 * day_of_year + 2) / 153;
        let month = if months_since_march < 10 { months_since_march + 3 } else { months_since_march - 9 };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * months_since_march + 2) / 5 + 1,
            hour: seconds / 3_600 % 24,
            minute: seconds / 60 % 60,
        }
    }

    /// As in ISO 8601.
    pub(crate) fn iso(self) -> String {
        let Self { year, month, day, hour, minute } = self;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}Z")
    }

    /// For the name of a file.
    pub(crate) fn file_name(self) -> String {
        let Self { year, month, day, hour, minute } = self;
        format!("{year:04}-{month:02}-{day:02}-{hour:02}{minute:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_gregorian_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00Z"),
            (951_782_399, "2000-02-28T23:59Z"),
            (951_782_400, "2000-02-29T00:00Z"),
            (1_735_689_599, "2024-12-31T23:59Z"),
            (1_772_323_200, "2026-03-01T00:00Z"),
        ] {
            assert_eq!(Moment::of_unix_time(seconds).iso(), expected);
        }
    }
}
