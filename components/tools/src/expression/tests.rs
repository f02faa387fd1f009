//! Expressions and their values; random ones against whole-number arithmetic of the language.

use super::*;

fn check(expression: &str, expected: &str) {
    let value = evaluate(expression).and_then(|value| Ok(value.to_plain()?));
    assert_eq!(
        value.unwrap_or_else(|problem| problem.to_string()),
        expected,
        "{expression}"
    );
}

#[test]
fn operators() {
    check("12*7", "84");
    check("0.1+0.2", "0.3");
    check("1/3*3", "1");
    check("2+3*4", "14");
    check("(2+3)*4", "20");
    check("10/4", "2.5");
    check("10/2/5", "1");
    check("7-2-1", "4");
    check("2^10", "1024");
    check("2**3**2", "512");
    check("2^-2", "0.25");
    check("-2^2", "-4");
    check("(-2)^2", "4");
    check("--3", "3");
    check("3 - -3", "6");
    check(".5 + 5.", "5.5");
    check("1.50 * 2", "3");
    check("1.5e3", "1500");
    check("25E-1", "2.5");
    check("6×7÷2−1", "20");
    check(
        "99999999999999999999 * 99999999999999999999",
        "9999999999999999999800000000000000000001",
    );
    check("1000000 * 1.000001", "1000001");
}

#[test]
fn remainders_and_percentages() {
    check("10 % 3", "1");
    check("10%3", "1");
    check("-7 % 3", "2");
    check("7 % -3", "-2");
    check("7.5 % 2", "1.5");
    check("10 % (2+1)", "1");
    check("15%", "0.15");
    check("200 * 15%", "30");
    check("15% of 80", "12");
    check("15% * 80", "12");
    check("50% - 3", "-2.5");
    check("100 + 10%", "100.1");
    check("(10+5)% of 200", "30");
    check("50%%", "0.005");
}

#[test]
fn functions() {
    check("sqrt(144)", "12");
    check("sqrt(0.25)", "0.5");
    check("sqrt(2)", "1.4142135623731");
    check("sqrt(2)^2", "2");
    check("2^0.5", "1.4142135623731");
    check("4^1.5", "8");
    check("4^-0.5", "0.5");
    check("abs(-3.5)", "3.5");
    check("round(2.5)", "3");
    check("round(-2.5)", "-3");
    check("round(2.345, 2)", "2.35");
    check("round(10/3, 2)", "3.33");
    check("floor(-1.5) + ceil(1.2)", "0");
    check("min(3, 1, 2) + max(1,2,3)", "4");
    check("max(100,200)", "200");
    check("SQRT(9)", "3");
}

#[test]
fn rounding_of_numbers_without_an_end() {
    check("1/3", "0.333333333333333");
    check("2/3", "0.666666666666667");
    check("10/3", "3.33333333333333");
    check("1000000/7", "142857.142857143");
    check("10^20/3", "33333333333333333333");
    check("1/7/1000000", "0.000000142857142857143");
}

#[test]
fn what_has_no_value() {
    check("1/0", "division by zero");
    check("5 % 0", "division by zero");
    check("0^-1", "division by zero");
    check(
        "sqrt(-4)",
        "the square root of a negative number is not a real number",
    );
    check("2^0.3", "an exponent must be a whole number, or end in .5");
    check("9^9^9", "the result is too large");
    check("10^200", "the result is too large");
    check(
        "2^-2000",
        "the result is too small to write as a decimal number",
    );
    check(
        "round(1, -1)",
        "round takes a whole number of digits from 0 to 30",
    );
    check("1e999", "at character 6: an exponent of ten is at most 400");
}

#[test]
fn syntax() {
    check("", "at character 1: expected a number, found the end");
    check("1 +", "at character 4: expected a number, found the end");
    check("(1 + 2", "at character 7: expected `)`, found the end");
    check("1 + 2)", "at character 6: expected an operator, found `)`");
    check("2(3)", "at character 2: expected an operator, found `(`");
    check(
        "1 000",
        "at character 3: expected an operator, found a number",
    );
    check("* 2", "at character 1: expected a number, found `*`");
    check("1.2.3", "at character 4: a number has one decimal point");
    check("3 $ 4", "at character 3: `$` is not understood");
    check("12 = 12", "at character 4: `=` is not understood");
    check(
        "x + 1",
        "at character 1: `x` is not known; there are sqrt, abs, round, floor, ceil, min and max",
    );
    check("sqrt 4", "at character 6: expected `(` after `sqrt`");
    check("sqrt(1, 2)", "at character 1: `sqrt` takes one number");
    check(
        "round(1, 2, 3)",
        "at character 1: `round` takes a number, and how many digits to keep after the point",
    );
    check("max()", "at character 5: expected a number, found `)`");
}

#[test]
fn thousands_separators_are_refused() {
    check(
        "1,000 * 2",
        "at character 2: is this a thousands separator? write 1000, not 1,000",
    );
    check(
        "1,234 * 2",
        "at character 2: a comma separates arguments of min, max and round only; \
         write 1000, not 1,000",
    );
    check(
        "max(1,050)",
        "at character 6: is this a thousands separator? write 1000, not 1,000",
    );
    check("1_000", "at character 2: write 1000 with no separators");
    check("1'000", "at character 2: write 1000 with no separators");
}

#[test]
fn sizes_are_bounded() {
    check(&"1".repeat(CHARS_MAX), "the result is too large");
    check(
        &"1".repeat(CHARS_MAX + 1),
        "the expression is longer than 512 characters",
    );
    let nested = |depth: usize| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
    check(&nested(48), "1");
    check(
        &nested(49),
        "the expression has more than 48 parentheses within each other",
    );
    check(&format!("{}1", "-".repeat(510)), "1");
    check(
        &format!("1{}", "^1".repeat(200)),
        "the expression has more than 48 parentheses within each other",
    );
    let many = vec!["1"; ARGUMENTS_MAX + 1].join(",");
    check(
        &format!("max({many})"),
        "at character 133: more than 64 arguments",
    );
}

/// A random expression of whole numbers, and its value by the language's own arithmetic.
fn random(seed: &mut u64, depth: u32) -> (String, i128) {
    let mut below = |end: u64| {
        *seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) % end
    };
    let choice = if depth == 0 { 0 } else { below(6) };
    let number = below(100);
    if choice == 0 {
        return (number.to_string(), number.into());
    }
    let (left, a) = random(seed, depth - 1);
    if choice == 5 {
        return (format!("-({left})"), -a);
    }
    let (right, b) = random(seed, depth - 1);
    match choice {
        1 => (format!("({left} + {right})"), a + b),
        2 => (format!("({left}-{right})"), a - b),
        3 => (format!("({left}) * ({right})"), a * b),
        _ => (format!("max({left}, {right})"), a.max(b)),
    }
}

#[test]
fn random_expressions_agree_with_whole_number_arithmetic() {
    let mut seed = 7;
    for _ in 0..2_000 {
        let (expression, expected) = random(&mut seed, 4);
        if expression.len() <= CHARS_MAX {
            check(&expression, &expected.to_string());
        }
    }
}
