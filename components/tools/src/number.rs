//! Exact numbers: fractions of whole numbers of a bounded size.
//!
//! `expression` computes with them. Nothing is rounded but a root that is not exact (40 digits)
//! and the text of a number without an end (15 digits). It knows no grammar.

use num_bigint::{BigInt, Sign};
use num_rational::BigRational;
use num_traits::{One, Pow, Signed, ToPrimitive, Zero};

#[cfg(test)]
mod tests;

/// Bits of a numerator or a denominator, at most: about 2,400 decimal digits.
pub const BITS_MAX: u64 = 8192;
/// Characters of a result, at most.
pub const RESULT_CHARS_MAX: usize = 200;
/// Digits after the point that are written exactly; a number with more is rounded.
const FRACTION_DIGITS_EXACT_MAX: u32 = 30;
/// Digits of a rounded number.
const SIGNIFICANT_DIGITS: i64 = 15;
/// Digits to which a root is computed, so that its rounding does not show.
const ROOT_DIGITS: i64 = 40;

/// Why there is no number. The words are for the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("division by zero")]
    DivisionByZero,
    #[error("the result is too large")]
    TooLarge,
    #[error("the result is too small to write as a decimal number")]
    TooSmall,
    #[error("the square root of a negative number is not a real number")]
    NegativeRoot,
    #[error("an exponent must be a whole number, or end in .5")]
    Exponent,
    #[error("round takes a whole number of digits from 0 to 30")]
    RoundDigits,
}

/// A fraction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(BigRational);

impl Number {
    /// `digits` (decimal digits only, not empty) times ten to the `exponent`.
    pub fn from_digits(digits: &str, exponent: i64) -> Result<Self, Failure> {
        let whole = BigInt::parse_bytes(digits.as_bytes(), 10).ok_or(Failure::TooLarge)?;
        let scale = power_of_ten(exponent.unsigned_abs())?;
        let value = if exponent < 0 {
            BigRational::new(whole, scale)
        } else {
            BigRational::from_integer(whole * scale)
        };
        bounded(value)
    }

    pub fn add(&self, other: &Self) -> Result<Self, Failure> {
        bounded(&self.0 + &other.0)
    }

    pub fn subtract(&self, other: &Self) -> Result<Self, Failure> {
        bounded(&self.0 - &other.0)
    }

    pub fn multiply(&self, other: &Self) -> Result<Self, Failure> {
        bounded(&self.0 * &other.0)
    }

    pub fn divide(&self, other: &Self) -> Result<Self, Failure> {
        if other.0.is_zero() {
            return Err(Failure::DivisionByZero);
        }
        bounded(&self.0 / &other.0)
    }

    /// The rest of a division, with the sign of the divisor, as in mathematics and Python.
    pub fn modulo(&self, other: &Self) -> Result<Self, Failure> {
        let quotient = self.divide(other)?.floor();
        self.subtract(&quotient.multiply(other)?)
    }

    pub fn negate(&self) -> Self {
        Self(-self.0.clone())
    }

    pub fn abs(&self) -> Self {
        Self(self.0.abs())
    }

    pub fn floor(&self) -> Self {
        Self(self.0.floor())
    }

    pub fn ceil(&self) -> Self {
        Self(self.0.ceil())
    }

    /// A hundredth.
    pub fn percent(&self) -> Result<Self, Failure> {
        bounded(&self.0 / BigInt::from(100))
    }

    /// Half away from zero, as taught at school, to so many digits after the point.
    pub fn round(&self, digits: &Self) -> Result<Self, Failure> {
        let digits = digits
            .whole()
            .and_then(BigInt::to_u32)
            .filter(|digits| *digits <= FRACTION_DIGITS_EXACT_MAX)
            .ok_or(Failure::RoundDigits)?;
        let scale = power_of_ten(digits.into())?;
        bounded((&self.0 * &scale).round() / scale)
    }

    /// To a whole power, or to a whole power of the square root.
    pub fn power(&self, exponent: &Self) -> Result<Self, Failure> {
        if let Some(whole) = exponent.whole() {
            return self.whole_power(whole);
        }
        let doubled = &exponent.0 * BigInt::from(2);
        if !doubled.is_integer() {
            return Err(Failure::Exponent);
        }
        self.square_root()?.whole_power(doubled.numer())
    }

    fn whole_power(&self, exponent: &BigInt) -> Result<Self, Failure> {
        if self.0.is_zero() && exponent.sign() == Sign::Minus {
            return Err(Failure::DivisionByZero);
        }
        // Of 0, 1 and -1 every power is small; of all others the bits grow with the exponent.
        if self.0.is_zero() || self.0.abs().is_one() {
            let odd = exponent.bit(0);
            let one = Self(BigRational::one());
            return Ok(match (exponent.is_zero(), odd) {
                (true, _) => one,
                (false, true) => self.clone(),
                (false, false) => self.abs(),
            });
        }
        let size = exponent.magnitude().to_u32().ok_or(Failure::TooLarge)?;
        let bits = self.0.numer().bits().max(self.0.denom().bits());
        // A power has at least (bits - 1) × exponent bits: refuse before computing it.
        if (bits - 1).max(1).saturating_mul(size.into()) > BITS_MAX {
            return Err(Failure::TooLarge);
        }
        let power: BigRational = Pow::pow(&self.0, size);
        bounded(if exponent.sign() == Sign::Minus {
            power.recip()
        } else {
            power
        })
    }

    /// Exact where the root is a fraction, otherwise to 40 digits.
    pub fn square_root(&self) -> Result<Self, Failure> {
        if self.0.is_negative() {
            return Err(Failure::NegativeRoot);
        }
        let (numerator, denominator) = (self.0.numer(), self.0.denom());
        let exact = BigRational::new(numerator.sqrt(), denominator.sqrt());
        if &exact * &exact == self.0 {
            return Ok(Self(exact));
        }
        let places = (ROOT_DIGITS - magnitude(&self.0) / 2).max(0).unsigned_abs();
        let scale = power_of_ten(places)?;
        let scaled = numerator * &scale * &scale / denominator;
        bounded(BigRational::new(scaled.sqrt(), scale))
    }

    fn whole(&self) -> Option<&BigInt> {
        self.0.is_integer().then(|| self.0.numer())
    }

    /// A decimal number with no exponent and no trailing zeros. Exact where it has an end within
    /// 30 digits after the point; otherwise rounded to 15 digits, half away from zero.
    pub fn to_plain(&self) -> Result<String, Failure> {
        let places = match exact_places(self.0.denom()) {
            Some(places) => places.into(),
            None => SIGNIFICANT_DIGITS - 1 - magnitude(&self.0),
        }
        .max(0)
        .unsigned_abs();
        if places > RESULT_CHARS_MAX as u64 {
            return Err(Failure::TooSmall);
        }
        let scaled = (&self.0 * power_of_ten(places)?).round().to_integer();
        let text = with_point(&scaled, places as usize);
        if text.len() > RESULT_CHARS_MAX {
            Err(Failure::TooLarge)
        } else {
            Ok(text)
        }
    }
}

fn bounded(value: BigRational) -> Result<Number, Failure> {
    if value.numer().bits() > BITS_MAX {
        return Err(Failure::TooLarge);
    }
    if value.denom().bits() > BITS_MAX {
        return Err(Failure::TooSmall);
    }
    Ok(Number(value))
}

fn power_of_ten(exponent: u64) -> Result<BigInt, Failure> {
    match u32::try_from(exponent) {
        // 10 is a little more than 2 to the 3.3.
        Ok(exponent) if u64::from(exponent) * 10 / 3 <= BITS_MAX => {
            Ok(Pow::pow(BigInt::from(10), exponent))
        }
        _ => Err(Failure::TooLarge),
    }
}

/// The exponent of the leading decimal digit: 0 for 1 to 9.99…, -1 for 0.1 to 0.99….
fn magnitude(value: &BigRational) -> i64 {
    if value.is_zero() {
        return 0;
    }
    let (numerator, denominator) = (value.numer().abs(), value.denom());
    let digits = |whole: &BigInt| whole.to_string().len() as i64;
    // Correct, or one too large.
    let guess = digits(&numerator) - digits(denominator);
    let reached = if guess >= 0 {
        numerator >= denominator * Pow::pow(BigInt::from(10), guess.unsigned_abs())
    } else {
        numerator * Pow::pow(BigInt::from(10), guess.unsigned_abs()) >= *denominator
    };
    if reached { guess } else { guess - 1 }
}

/// Digits after the point of a fraction with this denominator; none if it has no end within
/// `FRACTION_DIGITS_EXACT_MAX`.
fn exact_places(denominator: &BigInt) -> Option<u32> {
    let mut rest = denominator.clone();
    let mut count = |factor: u32| {
        let mut times = 0;
        while times <= FRACTION_DIGITS_EXACT_MAX && (&rest % factor).is_zero() {
            rest /= factor;
            times += 1;
        }
        times
    };
    let places = count(2).max(count(5));
    (rest.is_one() && places <= FRACTION_DIGITS_EXACT_MAX).then_some(places)
}

fn with_point(scaled: &BigInt, places: usize) -> String {
    let digits = scaled.magnitude().to_string();
    let digits = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let fraction = fraction.trim_end_matches('0');
    let sign = if scaled.sign() == Sign::Minus {
        "-"
    } else {
        ""
    };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}
