//! Functions of 70 lines at most, files of 800.
//!
//! A function is counted from its `fn` line to its closing brace, with comments and
//! empty lines, because that is what a reader scrolls through. Its doc comment and
//! attributes do not count. Macros' bodies are not looked into.

use syn::visit::{self, Visit};

use crate::problem::Problem;
use crate::repository::{File, Repository};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;

pub(super) fn check(repository: &Repository) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in repository.with_extension("rs") {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            problems.push(Problem::of(
                &file.path,
                format!("{lines} lines; split it (at most {FILE_LINES_MAX}, better under 400)"),
            ));
        }
        problems.extend(functions(file));
    }
    problems
}

fn functions(file: &File) -> Vec<Problem> {
    let tree = match syn::parse_file(&file.text) {
        Ok(tree) => tree,
        Err(error) => {
            let line = error.span().start().line;
            return vec![Problem::at(
                &file.path,
                line,
                format!("is not Rust: {error}"),
            )];
        }
    };
    let mut functions = Functions {
        path: &file.path,
        problems: Vec::new(),
    };
    functions.visit_file(&tree);
    functions.problems
}

struct Functions<'a> {
    path: &'a str,
    problems: Vec<Problem>,
}

impl Functions<'_> {
    fn measure(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let start = signature.fn_token.span.start().line;
        let end = block.brace_token.span.close().end().line;
        let lines = end + 1 - start;
        if lines > FUNCTION_LINES_MAX {
            let name = &signature.ident;
            self.problems.push(Problem::at(
                self.path,
                start,
                format!(
                    "`fn {name}` has {lines} lines (at most {FUNCTION_LINES_MAX}); keep the \
                     branches here and move what they do into functions of their own"
                ),
            ));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, f: &'ast syn::ItemFn) {
        self.measure(&f.sig, &f.block);
        visit::visit_item_fn(self, f);
    }

    fn visit_impl_item_fn(&mut self, f: &'ast syn::ImplItemFn) {
        self.measure(&f.sig, &f.block);
        visit::visit_impl_item_fn(self, f);
    }

    fn visit_trait_item_fn(&mut self, f: &'ast syn::TraitItemFn) {
        if let Some(block) = &f.default {
            self.measure(&f.sig, block);
        }
        visit::visit_trait_item_fn(self, f);
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines_of;
    use super::*;

    /// A function of so many lines, braces and signature included.
    fn function(name: &str, lines: usize) -> String {
        format!("fn {name}() {{\n{}}}\n", "    work();\n".repeat(lines - 2))
    }

    fn check_text(text: &str, expect: &[&str]) {
        let lines = lines_of(check, &[("a.rs", text)]);
        assert_eq!(lines.len(), expect.len(), "{lines:#?}");
        for (line, start) in lines.iter().zip(expect) {
            assert!(
                line.starts_with(start),
                "{line:?} does not start with {start:?}"
            );
        }
    }

    #[test]
    fn seventy_lines_are_fine_and_one_more_is_not() {
        check_text(&function("f", 70), &[]);
        check_text(&function("f", 71), &["a.rs:1: `fn f` has 71 lines"]);
    }

    #[test]
    fn docs_and_attributes_do_not_count() {
        let text = format!(
            "{}#[must_use]\n{}",
            "/// Words.\n".repeat(30),
            function("f", 70)
        );
        check_text(&text, &[]);
    }

    #[test]
    fn methods_trait_defaults_and_inner_functions_are_counted() {
        let long = function("g", 80);
        check_text(&format!("impl A {{\n{long}}}\n"), &["a.rs:2: `fn g`"]);
        check_text(
            &format!("trait A {{\nfn short();\n{long}}}\n"),
            &["a.rs:3: `fn g`"],
        );
        check_text(&format!("mod m {{\n{long}}}\n"), &["a.rs:2: `fn g`"]);
        check_text(
            &format!("fn f() {{\n{long}}}\n"),
            &["a.rs:1: `fn f`", "a.rs:2: `fn g`"],
        );
    }

    #[test]
    fn async_and_unsafe_functions_are_counted() {
        let text = function("f", 90).replace("fn f", "pub async unsafe fn f");
        check_text(&text, &["a.rs:1: `fn f` has 90 lines"]);
    }

    #[test]
    fn a_file_has_800_lines_at_most() {
        check_text(&"// Words.\n".repeat(800), &[]);
        check_text(&"// Words.\n".repeat(801), &["a.rs: 801 lines"]);
    }

    #[test]
    fn what_does_not_parse_is_told() {
        check_text("fn f( {}\n", &["a.rs:1: is not Rust"]);
    }
}
