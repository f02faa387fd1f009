//! Dates and times: between the fields of a calendar and PostgreSQL's counts of days and
//! microseconds since 2000.
//!
//! The calendar is the proleptic Gregorian one. It does NOT know time zones: all is UTC.

/// A date's and a time's fields.
type Date = (i32, u8, u8);
type Time = (u8, u8, u8, u32);
type Datetime = (i32, u8, u8, u8, u8, u8, u32);

/// 2000-01-01 in days since 1970.
const EPOCH_DAYS: i64 = 10_957;
const DAY_MICROS: i64 = 86_400_000_000;
const SECOND_MICROS: i64 = 1_000_000;

fn infinite() -> String {
    "an infinite date or timestamp has no calendar fields".to_owned()
}

/// Days since 1970 of a date (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_from_civil((year, month, day): Date) -> i64 {
    let month = i64::from(month);
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date of a day since 1970, by the same source.
fn civil_from_days(days: i64) -> Result<Date, String> {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let wrong = |_| "a date is out of range".to_owned();
    Ok((
        i32::try_from(year).map_err(wrong)?,
        u8::try_from(month).map_err(wrong)?,
        u8::try_from(day).map_err(wrong)?,
    ))
}

/// The date of a `date`.
pub(super) fn date(days: i32) -> Result<Date, String> {
    match days {
        i32::MIN | i32::MAX => Err(infinite()),
        days => civil_from_days(i64::from(days) + EPOCH_DAYS),
    }
}

/// The time of a `time`.
pub(super) fn time(micros: i64) -> Result<Time, String> {
    let wrong = || format!("a time is out of range: {micros} microseconds");
    let seconds = micros.div_euclid(SECOND_MICROS);
    let field = |value: i64| u8::try_from(value).map_err(|_| wrong());
    let nanos = u32::try_from(micros.rem_euclid(SECOND_MICROS) * 1_000).map_err(|_| wrong())?;
    Ok((
        field(seconds / 3_600)?,
        field(seconds / 60 % 60)?,
        field(seconds % 60)?,
        nanos,
    ))
}

/// The instant of a `timestamp`.
pub(super) fn datetime(micros: i64) -> Result<Datetime, String> {
    if matches!(micros, i64::MIN | i64::MAX) {
        return Err(infinite());
    }
    let (year, month, day) = civil_from_days(micros.div_euclid(DAY_MICROS) + EPOCH_DAYS)?;
    let (hour, minute, second, nanos) = time(micros.rem_euclid(DAY_MICROS))?;
    Ok((year, month, day, hour, minute, second, nanos))
}

/// A date as a `date`.
pub(super) fn days(of: Date) -> Result<i32, String> {
    let (year, month, day) = of;
    let wrong = || format!("invalid date y={year}, m={month}, d={day}");
    let days = days_from_civil(of);
    if civil_from_days(days) != Ok(of) {
        return Err(wrong());
    }
    i32::try_from(days - EPOCH_DAYS).map_err(|_| wrong())
}

/// A time as a `time`; what is below a microsecond is cut.
pub(super) fn micros((hour, minute, second, nanos): Time) -> Result<i64, String> {
    if hour > 23 || minute > 59 || second > 59 || nanos >= 1_000_000_000 {
        return Err(format!("invalid time {hour}:{minute}:{second}:{nanos}"));
    }
    let seconds = i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second);
    Ok(seconds * SECOND_MICROS + i64::from(nanos / 1_000))
}

/// An instant as a `timestamp`.
pub(super) fn instant(of: Datetime) -> Result<i64, String> {
    let (year, month, day, hour, minute, second, nanos) = of;
    let days = i64::from(days((year, month, day))?);
    let micros = micros((hour, minute, second, nanos))?;
    days.checked_mul(DAY_MICROS)
        .and_then(|start| start.checked_add(micros))
        .ok_or_else(|| format!("invalid date y={year}, m={month}, d={day}"))
}

/// Seconds since 1970 as a `timestamp`.
pub(super) fn of_unix(seconds: i64) -> Result<i64, String> {
    seconds
        .checked_sub(EPOCH_DAYS * 86_400)
        .and_then(|seconds| seconds.checked_mul(SECOND_MICROS))
        .ok_or_else(|| format!("invalid epoch timestamp {seconds}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_2000() {
        for (of, count) in [
            ((2000, 1, 1), 0),
            ((1999, 12, 31), -1),
            ((2000, 2, 29), 59),
            ((1970, 1, 1), -10_957),
            ((-4713, 11, 24), -2_451_545),
            ((2026, 7, 28), 9_705),
        ] {
            assert_eq!(days(of), Ok(count), "{of:?}");
            assert_eq!(date(count), Ok(of), "{of:?}");
        }
        for wrong in [
            (2026, 2, 29),
            (2026, 13, 1),
            (2026, 0, 1),
            (2026, 1, 0),
            (2026, 4, 31),
        ] {
            assert!(days(wrong).is_err(), "{wrong:?}");
        }
        assert!(date(i32::MAX).is_err() && datetime(i64::MIN).is_err());
    }

    #[test]
    fn every_day_of_eight_centuries_comes_back() {
        for count in -146_097..146_097 {
            assert_eq!(days(date(count).unwrap()), Ok(count));
        }
    }

    #[test]
    fn instants_have_microseconds() {
        let of = (1999, 12, 31, 23, 59, 59, 999_999_000);
        assert_eq!(instant(of), Ok(-1));
        assert_eq!(datetime(-1), Ok(of));
        assert_eq!(of_unix(946_684_800), Ok(0));
        assert_eq!(micros((1, 2, 3, 4_999)), Ok(3_723_000_004));
        assert!(micros((24, 0, 0, 0)).is_err() && of_unix(i64::MAX).is_err());
    }
}
