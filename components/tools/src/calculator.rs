//! The tool `calculator`: an expression in, a plain decimal number out.
//!
//! It stands between `catalog`, which parsed the arguments, and `expression`, which knows the
//! grammar. It knows neither JSON nor the model.

use serde::Deserialize;

use crate::catalog::{Definition, Error};
use crate::expression::{self, Problem};

/// The tool's name, as the model calls it.
pub const NAME: &str = "calculator";

/// What the model is told.
pub const DEFINITION: Definition = Definition {
    name: NAME,
    description: "Evaluates an arithmetic expression exactly and returns a decimal number.",
    parameters: r#"{"type":"object","properties":{"expression":{"type":"string","description":"For example (3.5 + 4) * 2^3, 15% of 80, or sqrt(2). Operators: + - * / % ^ and parentheses. Functions: sqrt, abs, round, floor, ceil, min, max. Write 1000, not 1,000."}},"required":["expression"],"additionalProperties":false}"#,
};

/// The arguments, as the schema has them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    pub expression: String,
}

/// The value as a plain decimal string: no exponent, no trailing zeros.
pub fn answer(arguments: &Arguments) -> Result<String, Error> {
    let value = expression::evaluate(&arguments.expression)
        .and_then(|number| number.to_plain().map_err(expression::Problem::from));
    value.map_err(|problem| match problem {
        Problem::Syntax { .. } | Problem::TooLong | Problem::TooDeep => {
            Error::InvalidArguments(problem.to_string())
        }
        Problem::Arithmetic(_) => Error::Failed(problem.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_is_the_models_fault_and_arithmetic_a_failure() {
        let answer = |expression: &str| {
            answer(&Arguments {
                expression: expression.into(),
            })
        };
        assert_eq!(answer("1/3"), Ok("0.333333333333333".into()));
        assert!(matches!(answer("1+"), Err(Error::InvalidArguments(_))));
        assert_eq!(answer("1/0"), Err(Error::Failed("division by zero".into())));
        assert_eq!(
            answer("10^300"),
            Err(Error::Failed("the result is too large".into()))
        );
    }
}
