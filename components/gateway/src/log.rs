//! One line for the operator, on stderr: the host turns it into a structured
//! record with the component's name. Never a prompt, an answer or a key.

/// An error that the client was told of in other words.
#[expect(clippy::print_stderr, reason = "a component's stderr is its log")]
pub(crate) fn error(code: &str, detail: &str) {
    eprintln!("{code}: {detail}");
}
