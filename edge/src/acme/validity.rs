//! From when until when a certificate holds, as its DER says (RFC 5280 §4.1).
//!
//! It reads no further than the dates, and does NOT verify anything.

use std::time::{Duration, SystemTime};
use time::{Date, Month, OffsetDateTime, Time};

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The dates of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

impl Validity {
    /// `None` for what is no certificate.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (signed, _) = element(certificate, SEQUENCE)?;
        let (mut rest, _) = element(signed, SEQUENCE)?;
        if let Some((_, after)) = element(rest, VERSION) {
            rest = after;
        }
        // The serial number, the signature's algorithm, the issuer.
        for tag in [INTEGER, SEQUENCE, SEQUENCE] {
            rest = element(rest, tag)?.1;
        }
        let (dates, _) = element(rest, SEQUENCE)?;
        let (not_before, after) = date(dates)?;
        let (not_after, _) = date(after)?;
        Some(Self {
            not_before,
            not_after,
        })
    }

    /// When two thirds of its life have passed.
    pub(super) fn renewed_at(&self) -> SystemTime {
        self.not_before + self.life() * 2 / 3
    }

    pub(super) fn life(&self) -> Duration {
        self.not_after
            .duration_since(self.not_before)
            .unwrap_or_default()
    }
}

/// The content of the element that `der` begins with, and what comes after it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    if found != tag {
        return None;
    }
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // A certificate is shorter than 16 MB.
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes
                .iter()
                .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 §4.1.2.5), and what comes after it.
fn date(der: &[u8]) -> Option<(SystemTime, &[u8])> {
    let (text, rest, years) = match element(der, UTC_TIME) {
        Some((text, rest)) => (text, rest, 2),
        None => {
            let (text, rest) = element(der, GENERALIZED_TIME)?;
            (text, rest, 4)
        }
    };
    let digits = text.strip_suffix(b"Z")?;
    let numbers = digits.iter().all(u8::is_ascii_digit) && digits.len() == years + 10;
    if !numbers {
        return None;
    }
    let number = |from: usize, to: usize| -> u16 {
        let digits = digits[from..to].iter();
        digits.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
    };
    let two = |at: usize| u8::try_from(number(years + at, years + at + 2)).ok();
    let year = match (years, number(0, years)) {
        (2, year @ 0..50) => 2_000 + year,
        (2, year) => 1_900 + year,
        (_, year) => year,
    };
    let month = Month::try_from(two(0)?).ok()?;
    let day = Date::from_calendar_date(i32::from(year), month, two(2)?).ok()?;
    let time = Time::from_hms(two(4)?, two(6)?, two(8)?).ok()?;
    Some((SystemTime::from(OffsetDateTime::new_utc(day, time)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(from: OffsetDateTime, to: OffsetDateTime) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (from, to);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn dates_are_read_in_both_forms() {
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        // The second is beyond 2049, which takes the longer form.
        for (from, to) in [
            (1_700_000_000, 1_707_776_000),
            (1_700_000_001, 2_600_000_000),
        ] {
            let validity = Validity::of(&made(at(from), at(to))).unwrap();
            assert_eq!(validity.not_before, SystemTime::from(at(from)));
            assert_eq!(validity.not_after, SystemTime::from(at(to)));
            let renewed = SystemTime::from(at(from)) + validity.life() * 2 / 3;
            assert_eq!(validity.renewed_at(), renewed);
        }
    }

    #[test]
    fn what_is_cut_off_has_no_dates() {
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        let whole = made(at(1_700_000_000), at(1_707_776_000));
        for length in 0..60 {
            assert_eq!(Validity::of(&whole[..length]), None, "{length}");
        }
        assert_eq!(
            Validity::of(&[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff]),
            None
        );
    }
}
