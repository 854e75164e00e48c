//! Times as people write them, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

const DAY_S: i64 = 86_400;

/// Milliseconds since 1970 of a date, a date with a time, such milliseconds themselves, or how long ago.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    parse_at(text, now.as_millis() as u64).ok_or_else(|| {
        "a time is 2026-11-23, 2026-11-23T10:00:00Z, milliseconds since 1970, or how long ago: 90m, 12h, 7d".to_owned()
    })
}

fn parse_at(text: &str, now_ms: u64) -> Option<u64> {
    if let Ok(ms) = text.parse() {
        return Some(ms);
    }
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return date(text),
    };
    let ago_ms = count.parse::<u64>().ok()?.checked_mul(seconds * 1000)?;
    Some(now_ms.saturating_sub(ago_ms))
}

/// `YYYY-MM-DD`, and perhaps `THH:MM:SSZ`.
fn date(text: &str) -> Option<u64> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let number = |part: Option<&str>, digits: usize, most: i64| -> Option<i64> {
        let part = part.filter(|part| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        part.parse().ok().filter(|number| *number <= most)
    };
    let mut parts = date.split('-');
    let year = number(parts.next(), 4, 9999)?;
    let month = number(parts.next(), 2, 12).filter(|month| *month > 0)?;
    let day = number(parts.next(), 2, 31).filter(|day| *day > 0)?;
    let mut of_day = time.split(':');
    let (hour, minute, second) = (
        number(of_day.next(), 2, 23)?,
        number(of_day.next(), 2, 59)?,
        number(of_day.next(), 2, 59)?,
    );
    if parts.next().is_some() || of_day.next().is_some() || civil(days(year, month, day)) != (year, month, day) {
        return None;
    }
    let seconds = days(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second;
    u64::try_from(seconds).ok()?.checked_mul(1000)
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`
pub(super) fn show(ms: u64) -> String {
    let seconds = (ms / 1000) as i64;
    let (year, month, day) = civil(seconds.div_euclid(DAY_S));
    let of_day = seconds.rem_euclid(DAY_S);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        ms % 1000
    )
}

/// Days from 1970-01-01 to a day of the Gregorian calendar. Years are counted from March, so that leap days are at their end.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The day that is so many days after 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (month, day) = ((shifted + 2) % 12 + 1, day_of_year - (153 * shifted + 2) / 5 + 1);
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_understood_as_people_write_them() {
        let now = 1_795_435_820_437;
        for (text, ms) in [
            ("0", Some(0)),
            ("1795435820437", Some(now)),
            ("1970-01-02", Some(86_400_000)),
            ("2000-02-29T12:34:56Z", Some(951_827_696_000)),
            ("90m", Some(now - 5_400_000)),
            ("7d", Some(now - 604_800_000)),
            ("99999999d", Some(0)),
            ("2001-02-29", None),
            ("2000-13-01", None),
            ("2000-1-1", None),
            ("2000-01-01T24:00:00Z", None),
            ("2000-01-01T00:00:00", None),
            ("1969-12-31", None),
            ("h", None),
            ("-1d", None),
            ("", None),
            ("ü", None),
        ] {
            assert_eq!(parse_at(text, now), ms, "{text:?}");
        }
    }

    #[test]
    fn every_day_is_found_again() {
        for day in (-1_000..3_000_000).step_by(13) {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), day);
        }
        assert_eq!(show(1_795_435_820_437), "2026-11-23T12:10:20.437Z");
        assert_eq!(show(0), "1970-01-01T00:00:00.000Z");
    }
}
