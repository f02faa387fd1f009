//! Arithmetic: a question with two numbers, the call of `calculator` with the expression copied
//! digit by digit, and the result stated. The true result is computed here only so that the
//! training shows plausible ones; the model never computes.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{Dialogue, Turn, pick, style};

/// The operations that are taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `a+b`
    Add,
    /// `a-b`
    Subtract,
    /// `a*b`
    Multiply,
    /// `a/b`
    Divide,
    /// `b*a/100`
    Percent,
}

/// All operations.
pub const OPERATIONS: [Operation; 5] = [
    Operation::Add,
    Operation::Subtract,
    Operation::Multiply,
    Operation::Divide,
    Operation::Percent,
];

impl Operation {
    /// The expression that the calculator gets.
    pub fn expression(self, a: &str, b: &str) -> String {
        match self {
            Self::Add => format!("{a}+{b}"),
            Self::Subtract => format!("{a}-{b}"),
            Self::Multiply => format!("{a}*{b}"),
            Self::Divide => format!("{a}/{b}"),
            Self::Percent => format!("{b}*{a}/100"),
        }
    }

    /// Its value, printed as the calculator prints it.
    pub fn value(self, a: &str, b: &str) -> String {
        let (a, b): (f64, f64) = (a.parse().unwrap_or(0.0), b.parse().unwrap_or(1.0));
        let value = match self {
            Self::Add => a + b,
            Self::Subtract => a - b,
            Self::Multiply => a * b,
            Self::Divide => a / b,
            Self::Percent => b * a / 100.0,
        };
        let text = format!("{value:.6}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    /// The two numbers and the operation in words or signs.
    pub fn terms(self) -> &'static [&'static str] {
        match self {
            Self::Add => &[
                "{a} plus {b}",
                "{a} + {b}",
                "{a}+{b}",
                "{a} and {b} added together",
                "the sum of {a} and {b}",
                "{a} added to {b}",
                "{a} increased by {b}",
            ],
            Self::Subtract => &[
                "{a} minus {b}",
                "{a} - {b}",
                "{a}-{b}",
                "{a} less {b}",
                "the difference between {a} and {b}",
                "{b} subtracted from {a}",
                "{a} decreased by {b}",
                "{a} take away {b}",
            ],
            Self::Multiply => &[
                "{a} times {b}",
                "{a} * {b}",
                "{a}*{b}",
                "{a} x {b}",
                "{a} multiplied by {b}",
                "the product of {a} and {b}",
                "{a}x{b}",
                "{a} × {b}",
            ],
            Self::Divide => &[
                "{a} divided by {b}",
                "{a} / {b}",
                "{a}/{b}",
                "{a} over {b}",
                "the quotient of {a} and {b}",
                "{a} ÷ {b}",
            ],
            Self::Percent => &[
                "{a}% of {b}",
                "{a} % of {b}",
                "{a} percent of {b}",
                "{a} per cent of {b}",
            ],
        }
    }

    /// Frames that hold the numbers themselves.
    pub fn frames(self) -> &'static [&'static str] {
        match self {
            Self::Add => &[
                "add {a} and {b}",
                "add {a} to {b}",
                "sum {a} and {b}",
                "add up {a} and {b}",
                "I have {a} apples and get {b} more, how many do I have?",
                "if I have {a} coins and find {b}, how many are there?",
                "there are {a} people and {b} more arrive, how many are there now?",
                "what do I get when I add {a} and {b}?",
                "please add {a} and {b} for me",
                "a book costs {a} and a pen costs {b}, what do they cost together?",
                "what do {a} and {b} make together?",
                "put {a} and {b} together",
                "I walked {a} km and then {b} km, how far did I walk?",
            ],
            Self::Subtract => &[
                "subtract {b} from {a}",
                "take {b} from {a}",
                "take {b} away from {a}",
                "I have {a} apples and eat {b}, how many are left?",
                "if I have {a} coins and lose {b}, what is left?",
                "there were {a} people and {b} left, how many remain?",
                "what remains of {a} when I take away {b}?",
                "deduct {b} from {a}",
                "what do I get when I subtract {b} from {a}?",
                "remove {b} from {a}",
                "I had {a} and spent {b}, how much do I have left?",
                "how much more is {a} than {b}?",
            ],
            Self::Multiply => &[
                "multiply {a} by {b}",
                "multiply {a} and {b}",
                "multiply {a} with {b}",
                "there are {a} boxes with {b} eggs each, how many eggs are there?",
                "if one costs {b}, what do {a} cost?",
                "what do I get when I multiply {a} by {b}?",
                "{a} rows of {b} seats, how many seats?",
                "I work {a} days for {b} a day, what do I earn?",
                "take {a} times {b}",
                "how many are {a} groups of {b}?",
                "we have {a} teams of {b} players, how many players is that?",
            ],
            Self::Divide => &[
                "divide {a} by {b}",
                "split {a} by {b}",
                "share {a} among {b} people",
                "if {b} people share {a}, what does each get?",
                "how many times does {b} go into {a}?",
                "what do I get when I divide {a} by {b}?",
                "split {a} into {b} equal parts",
                "{a} sweets for {b} children, how many each?",
                "how often does {b} fit into {a}?",
                "cut {a} into {b} parts, how big is one?",
                "divide {a} into {b} parts",
            ],
            Self::Percent => &[
                "take {a}% of {b}",
                "a discount of {a}% on {b}, how much is it?",
                "how much is a tip of {a}% on {b}?",
                "what is a {a}% share of {b}?",
                "tax is {a}% of {b}, how much is that?",
                "find {a} percent of {b}",
            ],
        }
    }
}

/// Frames for any operation; `{e}` is one of its terms.
pub const FRAMES: &[&str] = &[
    "what is {e}?",
    "what's {e}?",
    "{e}",
    "{e}?",
    "{e} =",
    "{e} = ?",
    "calculate {e}",
    "compute {e}",
    "how much is {e}?",
    "what does {e} make?",
    "what does {e} equal?",
    "work out {e}",
    "solve {e}",
    "please calculate {e}",
    "can you calculate {e}?",
    "can you compute {e}?",
    "could you work out {e}?",
    "tell me {e}",
    "give me {e}",
    "what do you get for {e}?",
    "I need {e}",
    "I want to know {e}",
    "find {e}",
    "evaluate {e}",
    "what is the result of {e}?",
    "what is the value of {e}?",
    "use the calculator for {e}",
    "use the calculator: {e}",
    "calc {e}",
    "do the math: {e}",
    "what would {e} be?",
    "how much would {e} be?",
    "do you know what {e} is?",
    "what's the answer to {e}?",
    "I have to calculate {e}",
    "help me with {e}",
    "quick, what is {e}?",
    "math: {e}",
    "can you do {e}?",
    "can you tell me what {e} is?",
    "so what is {e}?",
    "and {e}?",
    "let me know what {e} is",
    "figure out {e}",
    "now {e}",
    "then what is {e}?",
    "how many is {e}?",
    "could you please compute {e} for me?",
    "run {e} through the calculator",
    "and what is {e}?",
    "I'd like to know {e}",
    "show me {e}",
    "type {e} into the calculator",
    "what comes out of {e}?",
    "my homework asks for {e}",
    "check {e} for me",
    "please do {e}",
    "what number is {e}?",
    "could you calculate {e}?",
    "would you calculate {e} for me?",
    "would you tell me {e}?",
    "please tell me what {e} is",
    "can you tell me {e}?",
    "please find {e}",
    "could you find {e}?",
    "let's compute {e}",
    "let us work out {e}",
    "do you know {e}?",
    "do you know the result of {e}?",
    "what do I get for {e}?",
    "how much do I get for {e}?",
    "what do you get if you work out {e}?",
    "use the calculator to work out {e}",
    "can you use the calculator for {e}?",
    "please compute {e}",
    "what's the value of {e}?",
    "what will {e} be?",
    "I want the result of {e}",
];

/// What the model says where the calculator is not offered.
pub const ABSENT: &str = "I need the calculator tool for that, and it is not offered here.";
/// What the model says when the calculator refuses.
pub const FAILED: &str = "The calculator could not work that out.";
const FAILURES: &[&str] = &[
    "error: division by zero",
    "error: the expression is not valid",
    "error: overflow",
    "error: timed out",
    "division by zero",
    "error: tool failed",
];

/// The answer that states a result.
pub fn answer(result: &str) -> String {
    format!("The result is {result}.")
}

/// A number of one to five digits, sometimes with decimals, without leading zeros.
pub fn number(rng: &mut ChaCha8Rng) -> String {
    let digits = [1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6][rng.random_range(0..12)];
    let low = 10u64.pow(digits - 1);
    let mut whole = rng.random_range(low..low * 10).to_string();
    if rng.random_bool(0.15) {
        // Repeated digits are the hardest to copy: make more of them.
        let last = whole.pop().unwrap_or('7');
        whole = whole
            .chars()
            .map(|c| if rng.random_bool(0.5) { last } else { c })
            .collect();
        whole.push(last);
        whole = whole.trim_start_matches('0').to_owned();
        if whole.is_empty() {
            whole.push('7');
        }
    }
    if rng.random_bool(0.1) {
        format!("{whole}.{}", rng.random_range(1..100u32))
    } else {
        whole
    }
}

/// Two numbers that suit the operation.
pub fn numbers(rng: &mut ChaCha8Rng, operation: Operation) -> (String, String) {
    let (a, b) = (number(rng), number(rng));
    if operation == Operation::Percent {
        return (rng.random_range(1..100u32).to_string(), b);
    }
    (a, b)
}

/// A question in one of this operation's training frames.
fn question(rng: &mut ChaCha8Rng, operation: Operation, a: &str, b: &str) -> String {
    let frame = if rng.random_bool(0.3) {
        pick(rng, operation.frames()).to_owned()
    } else {
        pick(rng, FRAMES).replace("{e}", pick(rng, operation.terms()))
    };
    style::typed(rng, &frame)
        .replace("{a}", a)
        .replace("{b}", b)
}

/// The JSON arguments of a call.
pub fn arguments(expression: &str) -> String {
    format!("{{\"expression\": \"{expression}\"}}")
}

pub(super) fn add(dialogue: &mut Dialogue, rng: &mut ChaCha8Rng) {
    let operation = OPERATIONS[[0, 0, 1, 1, 2, 2, 3, 3, 4][rng.random_range(0..9)]];
    let (a, b) = numbers(rng, operation);
    let question = question(rng, operation, &a, &b);
    if !dialogue.offers("calculator") {
        dialogue.exchange(question, ABSENT);
        return;
    }
    let arguments = arguments(&operation.expression(&a, &b));
    let (result, answer) = if rng.random_bool(0.03) {
        (pick(rng, FAILURES).to_owned(), FAILED.to_owned())
    } else {
        let value = operation.value(&a, &b);
        let answer = answer(&value);
        (value, answer)
    };
    dialogue.turns.extend([
        Turn::User(question),
        Turn::Call {
            name: "calculator",
            arguments,
        },
        Turn::Tool(result),
        Turn::Assistant(answer),
    ]);
}
