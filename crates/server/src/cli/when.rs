//! Times as people write them.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, read from such a number, from `2026-01-31T12:00:00Z`, or from `2h`, which is that long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    At(i64),
    Ago(Duration),
}

impl When {
    pub(super) fn timestamp_ms(self, now: SystemTime) -> i64 {
        match self {
            When::At(timestamp_ms) => timestamp_ms,
            When::Ago(duration) => millis(now).saturating_sub(duration.as_millis() as i64),
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<When, String> {
        if let Ok(timestamp_ms @ 0..) = text.parse() {
            return Ok(When::At(timestamp_ms));
        }
        if let Ok(time) = humantime::parse_rfc3339_weak(text) {
            return Ok(When::At(millis(time)));
        }
        humantime::parse_duration(text).map(When::Ago).map_err(|_| {
            "expected milliseconds since 1970, a time like 2026-01-31T12:00:00Z, or 2h for so long ago".into()
        })
    }
}

/// For people; a number that is no time stays a number.
pub(super) fn written(timestamp_ms: i64) -> String {
    match u64::try_from(timestamp_ms) {
        // The year 9999 is the last that can be written.
        Ok(millis @ ..253_402_300_800_000) => {
            humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(millis)).to_string()
        }
        _ => timestamp_ms.to_string(),
    }
}

fn millis(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_a_date_or_so_long_ago() {
        check("1700000000123", Ok(1_700_000_000_123));
        check("2023-11-14T22:13:20Z", Ok(1_700_000_000_000));
        check("2023-11-14 22:13:20", Ok(1_700_000_000_000));
        check("2h 3m", Ok(10_000_000 - 7_380_000));
        for wrong in ["", "-5", "yesterday", "2023-11-99"] {
            check(wrong, Err(()));
        }
    }

    #[test]
    fn times_are_written_as_dates_where_they_are_any() {
        assert_eq!(written(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(written(-1), "-1");
        assert_eq!(written(i64::MAX), i64::MAX.to_string());
    }

    fn check(text: &str, expected: Result<i64, ()>) {
        let now = UNIX_EPOCH + Duration::from_secs(10_000);
        let found = text.parse::<When>().map(|when| when.timestamp_ms(now)).map_err(|_| ());
        assert_eq!(found, expected, "{text}");
    }
}
