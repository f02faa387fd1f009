//! The tool `clock`: the time of day in a time zone.
//!
//! It stands behind `catalog`, which parsed the arguments and read the clock. The zones' rules are
//! bundled, for a component has no files.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use serde::Deserialize;

use crate::catalog::{Definition, Error};

/// The tool's name, as the model calls it.
pub const NAME: &str = "clock";

/// What the model is told.
pub const DEFINITION: Definition = Definition {
    name: NAME,
    description: "Returns the current date and time (RFC 3339).",
    parameters: r#"{"type":"object","properties":{"timezone":{"type":"string","description":"An IANA time zone such as Europe/Berlin, or an offset such as +02:00. UTC if left out."}},"required":[],"additionalProperties":false}"#,
};

/// No IANA name is longer.
const ZONE_BYTES_MAX: usize = 64;

/// The arguments, as the schema has them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    #[serde(default)]
    pub timezone: Option<String>,
}

/// RFC 3339 with whole seconds: `2026-03-01T12:00:00+01:00`, in UTC with `Z`.
pub fn answer(arguments: &Arguments, now: Timestamp) -> Result<String, Error> {
    match arguments.timezone.as_deref().map(str::trim) {
        None | Some("" | "Z" | "z") => Ok(in_utc(now)),
        Some(name) if name.eq_ignore_ascii_case("UTC") => Ok(in_utc(now)),
        Some(name) => Ok(now
            .to_zoned(zone(name)?)
            .strftime("%Y-%m-%dT%H:%M:%S%:z")
            .to_string()),
    }
}

fn in_utc(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn zone(name: &str) -> Result<TimeZone, Error> {
    let zone = match name.as_bytes() {
        [b'+' | b'-', ..] => offset(name).map(TimeZone::fixed),
        _ if name.len() > ZONE_BYTES_MAX => None,
        _ => TimeZone::get(name).ok(),
    };
    zone.ok_or_else(|| {
        let shown: String = name.chars().take(ZONE_BYTES_MAX).collect();
        Error::InvalidArguments(format!(
            "`{}` is not a time zone; write an IANA name such as Europe/Berlin, an offset such as \
             +02:00, or UTC",
            shown.escape_debug()
        ))
    })
}

/// `+02:00` or `+0200`: hours to 23, minutes to 59.
fn offset(name: &str) -> Option<Offset> {
    let (sign, rest) = match name.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, name.strip_prefix('+')?),
    };
    let (hours, minutes) = rest.split_once(':').or_else(|| rest.split_at_checked(2))?;
    let number = |digits: &str, end: i32| {
        let two = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits
            .parse::<i32>()
            .ok()
            .filter(|number| two && *number < end)
    };
    let seconds = number(hours, 24)? * 3600 + number(minutes, 60)? * 60;
    Offset::from_seconds(sign * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(timezone: Option<&str>, now: &str, expected: &str) {
        let arguments = Arguments {
            timezone: timezone.map(str::to_owned),
        };
        assert_eq!(
            answer(&arguments, now.parse().unwrap()).as_deref(),
            Ok(expected)
        );
    }

    #[test]
    fn zones() {
        let now = "2026-07-01T22:30:05.987Z";
        check(None, now, "2026-07-01T22:30:05Z");
        check(Some(""), now, "2026-07-01T22:30:05Z");
        check(Some("utc"), now, "2026-07-01T22:30:05Z");
        check(Some("Europe/Berlin"), now, "2026-07-02T00:30:05+02:00");
        check(Some("europe/berlin"), now, "2026-07-02T00:30:05+02:00");
        check(Some("America/New_York"), now, "2026-07-01T18:30:05-04:00");
        check(Some("Asia/Kathmandu"), now, "2026-07-02T04:15:05+05:45");
        check(Some("+02:00"), now, "2026-07-02T00:30:05+02:00");
        check(Some("-0930"), now, "2026-07-01T13:00:05-09:30");
        // Daylight saving time is over.
        check(
            Some("Europe/Berlin"),
            "2026-12-01T11:00:00Z",
            "2026-12-01T12:00:00+01:00",
        );
    }

    #[test]
    fn what_is_not_a_zone_is_refused_with_an_example() {
        for name in [
            "Atlantis", "+25:00", "+2:00", "+02:60", "+0x:00", "+", "-", "../etc/x", "+é",
        ] {
            let arguments = Arguments {
                timezone: Some(name.into()),
            };
            let Err(Error::InvalidArguments(words)) = answer(&arguments, Timestamp::UNIX_EPOCH)
            else {
                panic!("{name} was taken for a time zone");
            };
            assert!(
                words.starts_with(&format!("`{name}` is not a time zone")),
                "{words}"
            );
        }
    }
}
