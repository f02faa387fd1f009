//! The words of an expression: numbers, names, operators.
//!
//! `expression` reads them one by one. It knows no precedence and no value.

use std::fmt;

use super::Problem;

/// Beyond this, `1e999` is a mistake and not a number.
const EXPONENT_MAX: i64 = 400;

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// `digits` times ten to the `exponent`.
    Number {
        digits: String,
        exponent: i64,
    },
    Name(String),
    Plus,
    Minus,
    Times,
    Divide,
    Percent,
    Power,
    /// The word `of`, as in `15% of 80`.
    Of,
    Open,
    Close,
    Comma,
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Number { .. } => "a number",
            Self::Name(name) => return write!(formatter, "`{name}`"),
            Self::Plus => "`+`",
            Self::Minus => "`-`",
            Self::Times => "`*`",
            Self::Divide => "`/`",
            Self::Percent => "`%`",
            Self::Power => "`^`",
            Self::Of => "`of`",
            Self::Open => "`(`",
            Self::Close => "`)`",
            Self::Comma => "`,`",
            Self::End => "the end",
        })
    }
}

struct Word {
    token: Token,
    /// Characters before it, and one.
    at: usize,
    /// White space stands before it.
    spaced: bool,
}

/// All words of one expression, and which one is next.
pub(super) struct Tokens {
    words: Vec<Word>,
    next: usize,
    /// What `peek` sees past the last word.
    end: Word,
}

impl Tokens {
    pub(super) fn new(expression: &str) -> Result<Self, Problem> {
        let chars: Vec<char> = expression.chars().collect();
        let mut reader = Reader {
            chars: &chars,
            next: 0,
        };
        let mut words = Vec::new();
        loop {
            let before = reader.next;
            reader.skip_white_space();
            let (at, spaced) = (reader.next + 1, reader.next > before);
            match reader.token()? {
                Token::End => {
                    let end = Word {
                        token: Token::End,
                        at,
                        spaced,
                    };
                    return Ok(Self {
                        words,
                        next: 0,
                        end,
                    });
                }
                token => words.push(Word { token, at, spaced }),
            }
        }
    }

    fn word(&self, ahead: usize) -> &Word {
        self.words.get(self.next + ahead).unwrap_or(&self.end)
    }

    pub(super) fn peek(&self) -> &Token {
        &self.word(0).token
    }

    /// Where the next word stands, counted from 1.
    pub(super) fn at(&self) -> usize {
        self.word(0).at
    }

    pub(super) fn advance(&mut self) {
        self.next += 1;
    }

    pub(super) fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == token;
        if found {
            self.advance();
        }
        found
    }

    /// Whether the `%` that is next asks for the rest of a division: an operand follows. A sign
    /// may belong to the operand or be an operator: `10 % -3` is a rest, `10% - 3` is not.
    pub(super) fn percent_is_remainder(&self) -> bool {
        match self.word(1).token {
            Token::Number { .. } | Token::Name(_) | Token::Open => true,
            Token::Plus | Token::Minus => self.word(0).spaced && !self.word(2).spaced,
            _ => false,
        }
    }
}

struct Reader<'a> {
    chars: &'a [char],
    next: usize,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.next + ahead).copied()
    }

    fn is_digit(&self, ahead: usize) -> bool {
        self.peek(ahead).is_some_and(|c| c.is_ascii_digit())
    }

    fn skip_white_space(&mut self) {
        while self.peek(0).is_some_and(char::is_whitespace) {
            self.next += 1;
        }
    }

    fn problem<T>(&self, words: impl Into<String>) -> Result<T, Problem> {
        Err(Problem::Syntax {
            at: self.next + 1,
            words: words.into(),
        })
    }

    fn token(&mut self) -> Result<Token, Problem> {
        let Some(first) = self.peek(0) else {
            return Ok(Token::End);
        };
        if first.is_ascii_digit() || (first == '.' && self.is_digit(1)) {
            return self.number();
        }
        if first.is_alphabetic() && first != '×' {
            return Ok(self.name());
        }
        if first == ',' {
            self.refuse_thousands()?;
        }
        let (token, length) = match first {
            '*' if self.peek(1) == Some('*') => (Token::Power, 2),
            '*' | '×' | '·' => (Token::Times, 1),
            '/' | '÷' => (Token::Divide, 1),
            '+' => (Token::Plus, 1),
            '-' | '−' | '–' => (Token::Minus, 1),
            '%' => (Token::Percent, 1),
            '^' => (Token::Power, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            other => return self.problem(format!("`{}` is not understood", other.escape_debug())),
        };
        self.next += length;
        Ok(token)
    }

    /// `max(1,000)`: two arguments, or a thousand? `max(100,200)` is not in doubt.
    fn refuse_thousands(&self) -> Result<(), Problem> {
        let after_digit = self.next > 0 && self.chars[self.next - 1].is_ascii_digit();
        let group = (1..=3).all(|ahead| self.is_digit(ahead)) && !self.is_digit(4);
        if after_digit && group && self.peek(1) == Some('0') {
            return self.problem("is this a thousands separator? write 1000, not 1,000");
        }
        Ok(())
    }

    fn name(&mut self) -> Token {
        let start = self.next;
        while self.peek(0).is_some_and(char::is_alphanumeric) {
            self.next += 1;
        }
        let name: String = self.chars[start..self.next].iter().collect();
        let name = name.to_lowercase();
        if name == "of" {
            Token::Of
        } else {
            Token::Name(name)
        }
    }

    fn number(&mut self) -> Result<Token, Problem> {
        let mut digits = String::new();
        self.digits(&mut digits);
        let mut exponent = 0;
        if self.peek(0) == Some('.') {
            self.next += 1;
            let whole = digits.len();
            self.digits(&mut digits);
            exponent = whole as i64 - digits.len() as i64;
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            exponent += self.exponent()?;
        }
        match self.peek(0) {
            Some('.') => self.problem("a number has one decimal point"),
            Some('_' | '\'' | '’') => self.problem("write 1000 with no separators"),
            _ => Ok(Token::Number { digits, exponent }),
        }
    }

    fn digits(&mut self, digits: &mut String) {
        while let Some(digit) = self.peek(0).filter(char::is_ascii_digit) {
            digits.push(digit);
            self.next += 1;
        }
    }

    /// `e3`, `e+3`, `e-3`; an `e` without digits is left for the next word.
    fn exponent(&mut self) -> Result<i64, Problem> {
        let negative = self.peek(1) == Some('-');
        let sign = usize::from(matches!(self.peek(1), Some('+' | '-')));
        if !self.is_digit(1 + sign) {
            return Ok(0);
        }
        self.next += 1 + sign;
        let mut digits = String::new();
        self.digits(&mut digits);
        match digits.parse::<i64>() {
            Ok(size) if size <= EXPONENT_MAX => Ok(if negative { -size } else { size }),
            _ => self.problem(format!("an exponent of ten is at most {EXPONENT_MAX}")),
        }
    }
}
