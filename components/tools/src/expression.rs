//! The grammar of an expression, and its value.
//!
//! `calculator` calls it with the model's text. The text is read once, from left to right, and
//! computed while it is read, by precedence climbing. It knows neither JSON nor how a number is
//! written out.
//!
//! ```text
//! sum     = product { ("+" | "-") product }
//! product = signed { ("*" | "/" | "%" | "of") signed }
//! signed  = { "+" | "-" } power
//! power   = percent [ ("^" | "**") signed ]
//! percent = primary { "%" }
//! primary = number | "(" sum ")" | function "(" sum { "," sum } ")"
//! ```
//!
//! A `%` is the rest of a division where an operand follows, and a hundredth where none does:
//! `10 % 3`, `15%`, `15% of 80`.

use crate::number::{Failure, Number};

mod tokens;

#[cfg(test)]
mod tests;

use tokens::{Token, Tokens};

/// Characters of an expression, at most.
pub const CHARS_MAX: usize = 512;
/// Parentheses and functions within each other, at most.
pub const DEPTH_MAX: u32 = 48;
/// Arguments of `min` and `max`, at most.
pub const ARGUMENTS_MAX: usize = 64;

/// Why an expression has no value. The words are for the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// `at` counts characters from 1.
    #[error("at character {at}: {words}")]
    Syntax { at: usize, words: String },
    #[error("the expression is longer than {CHARS_MAX} characters")]
    TooLong,
    #[error("the expression has more than {DEPTH_MAX} parentheses within each other")]
    TooDeep,
    #[error("{0}")]
    Arithmetic(#[from] Failure),
}

/// The expression's value.
pub fn evaluate(expression: &str) -> Result<Number, Problem> {
    if expression.chars().count() > CHARS_MAX {
        return Err(Problem::TooLong);
    }
    let mut parser = Parser {
        tokens: Tokens::new(expression)?,
        depth: 0,
    };
    let value = parser.sum()?;
    match parser.tokens.peek() {
        Token::End => Ok(value),
        Token::Comma => Err(parser.problem(
            "a comma separates arguments of min, max and round only; write 1000, not 1,000",
        )),
        other => Err(parser.problem(&format!("expected an operator, found {other}"))),
    }
}

struct Parser {
    tokens: Tokens,
    depth: u32,
}

impl Parser {
    fn sum(&mut self) -> Result<Number, Problem> {
        let mut value = self.product()?;
        loop {
            if self.tokens.take(&Token::Plus) {
                value = value.add(&self.product()?)?;
            } else if self.tokens.take(&Token::Minus) {
                value = value.subtract(&self.product()?)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<Number, Problem> {
        let mut value = self.signed()?;
        loop {
            if self.tokens.take(&Token::Times) || self.tokens.take(&Token::Of) {
                value = value.multiply(&self.signed()?)?;
            } else if self.tokens.take(&Token::Divide) {
                value = value.divide(&self.signed()?)?;
            } else if self.tokens.take(&Token::Percent) {
                // `percent` has taken every `%` that no operand follows.
                value = value.modulo(&self.signed()?)?;
            } else {
                return Ok(value);
            }
        }
    }

    /// Signs are counted and not nested, so a long row of them needs no stack.
    fn signed(&mut self) -> Result<Number, Problem> {
        let mut negative = false;
        loop {
            if self.tokens.take(&Token::Minus) {
                negative = !negative;
            } else if !self.tokens.take(&Token::Plus) {
                break;
            }
        }
        let value = self.power()?;
        Ok(if negative { value.negate() } else { value })
    }

    fn power(&mut self) -> Result<Number, Problem> {
        let base = self.percent()?;
        if !self.tokens.take(&Token::Power) {
            return Ok(base);
        }
        // To the right first: 2^3^2 is 2^(3^2).
        let exponent = self.deeper(Self::signed)?;
        Ok(base.power(&exponent)?)
    }

    fn percent(&mut self) -> Result<Number, Problem> {
        let mut value = self.primary()?;
        while *self.tokens.peek() == Token::Percent && !self.tokens.percent_is_remainder() {
            self.tokens.advance();
            value = value.percent()?;
        }
        Ok(value)
    }

    fn primary(&mut self) -> Result<Number, Problem> {
        match self.tokens.peek().clone() {
            Token::Number { digits, exponent } => {
                self.tokens.advance();
                Ok(Number::from_digits(&digits, exponent)?)
            }
            Token::Open => {
                self.tokens.advance();
                let value = self.deeper(Self::sum)?;
                self.close()?;
                Ok(value)
            }
            Token::Name(name) => self.function(&name),
            other => Err(self.problem(&format!("expected a number, found {other}"))),
        }
    }

    fn function(&mut self, name: &str) -> Result<Number, Problem> {
        let Some(function) = Function::named(name) else {
            let words = format!(
                "`{name}` is not known; there are sqrt, abs, round, floor, ceil, min and max"
            );
            return Err(self.problem(&words));
        };
        let at = self.tokens.at();
        self.tokens.advance();
        if !self.tokens.take(&Token::Open) {
            return Err(self.problem(&format!("expected `(` after `{name}`")));
        }
        let mut arguments = vec![self.deeper(Self::sum)?];
        while self.tokens.take(&Token::Comma) {
            if arguments.len() == ARGUMENTS_MAX {
                return Err(self.problem(&format!("more than {ARGUMENTS_MAX} arguments")));
            }
            arguments.push(self.deeper(Self::sum)?);
        }
        self.close()?;
        match function.apply(&arguments) {
            Some(value) => Ok(value?),
            None => Err(Problem::Syntax {
                at,
                words: format!("`{name}` takes {}", function.takes()),
            }),
        }
    }

    fn close(&mut self) -> Result<(), Problem> {
        if self.tokens.take(&Token::Close) {
            return Ok(());
        }
        let found = self.tokens.peek().to_string();
        Err(self.problem(&format!("expected `)`, found {found}")))
    }

    fn deeper(
        &mut self,
        rule: fn(&mut Self) -> Result<Number, Problem>,
    ) -> Result<Number, Problem> {
        if self.depth == DEPTH_MAX {
            return Err(Problem::TooDeep);
        }
        self.depth += 1;
        let value = rule(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn problem(&self, words: &str) -> Problem {
        Problem::Syntax {
            at: self.tokens.at(),
            words: words.to_owned(),
        }
    }
}

#[derive(Clone, Copy)]
enum Function {
    SquareRoot,
    Abs,
    Round,
    Floor,
    Ceil,
    Min,
    Max,
}

impl Function {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "sqrt" => Self::SquareRoot,
            "abs" => Self::Abs,
            "round" => Self::Round,
            "floor" => Self::Floor,
            "ceil" => Self::Ceil,
            "min" => Self::Min,
            "max" => Self::Max,
            _ => return None,
        })
    }

    /// None where it does not take so many arguments.
    fn apply(self, arguments: &[Number]) -> Option<Result<Number, Failure>> {
        Some(match (self, arguments) {
            (Self::SquareRoot, [value]) => value.square_root(),
            (Self::Abs, [value]) => Ok(value.abs()),
            (Self::Floor, [value]) => Ok(value.floor()),
            (Self::Ceil, [value]) => Ok(value.ceil()),
            (Self::Round, [value]) => {
                Number::from_digits("0", 0).and_then(|digits| value.round(&digits))
            }
            (Self::Round, [value, digits]) => value.round(digits),
            (Self::Min, values) => Ok(values.iter().min()?.clone()),
            (Self::Max, values) => Ok(values.iter().max()?.clone()),
            _ => return None,
        })
    }

    fn takes(self) -> &'static str {
        match self {
            Self::Round => "a number, and how many digits to keep after the point",
            _ => "one number",
        }
    }
}
