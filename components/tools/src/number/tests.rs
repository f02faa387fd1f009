//! Numbers at their edges; arithmetic against a reference is in `expression::tests`.

use super::*;

fn number(digits: &str, exponent: i64) -> Number {
    Number::from_digits(digits, exponent).unwrap()
}

#[test]
fn plain_text() {
    let check = |digits: &str, exponent, expected: &str| {
        assert_eq!(number(digits, exponent).to_plain().unwrap(), expected);
    };
    check("0", 0, "0");
    check("000", -2, "0");
    check("1500", -2, "15");
    check("5", -1, "0.5");
    check("12345", -3, "12.345");
    check("1", 30, "1000000000000000000000000000000");
    check("1", -30, "0.000000000000000000000000000001");
    // More than 30 digits after the point: rounded to 15 digits.
    check(
        "123456789012345678901234567890123",
        -33,
        "0.123456789012346",
    );
    check("99999999999999999999999999999999", -32, "1");
    assert_eq!(number("5", -1).negate().to_plain().unwrap(), "-0.5");
    assert_eq!(number("0", 0).negate().to_plain().unwrap(), "0");
}

#[test]
fn results_that_cannot_be_written() {
    assert_eq!(number("1", 199).to_plain().unwrap().len(), 200);
    assert_eq!(number("1", 200).to_plain(), Err(Failure::TooLarge));
    assert_eq!(number("1", -300).to_plain(), Err(Failure::TooSmall));
}

#[test]
fn sizes_are_bounded_before_they_are_computed() {
    assert_eq!(
        Number::from_digits("1", 1_000_000_000),
        Err(Failure::TooLarge)
    );
    assert_eq!(
        number("9", 0).power(&number("999999999", 0)),
        Err(Failure::TooLarge)
    );
    assert_eq!(
        number("9", 0).power(&number("9", 30)),
        Err(Failure::TooLarge)
    );
    assert_eq!(
        number("2", 0)
            .power(&number("8191", 0))
            .unwrap()
            .0
            .numer()
            .bits(),
        8192
    );
    assert_eq!(
        number("2", 0).power(&number("8192", 0)),
        Err(Failure::TooLarge)
    );
    assert_eq!(number("1", 0).power(&number("9", 30)), Ok(number("1", 0)));
    let big = number("1", 2000);
    assert_eq!(big.multiply(&big), Err(Failure::TooLarge));
    assert_eq!(
        number("1", 0).divide(&big).unwrap().divide(&big),
        Err(Failure::TooSmall)
    );
}

#[test]
fn magnitudes() {
    for (digits, exponent, expected) in [
        ("1", 0, 0),
        ("999", -2, 0),
        ("10", 0, 1),
        ("1", -1, -1),
        ("99", -3, -2),
        ("5", 40, 40),
    ] {
        assert_eq!(
            magnitude(&number(digits, exponent).0),
            expected,
            "{digits}e{exponent}"
        );
    }
}
