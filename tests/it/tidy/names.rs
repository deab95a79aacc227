//! Finds values called `it` where that says too little.
//!
//! `it` is the value that a closure is about. In a closure of one line its meaning is on that line.
//! Anywhere else (in a longer closure, in one that is within another closure about `it`, in a
//! `let`, a `match` or a `for`) the reader has to look for it, so there a value has a name of its
//! own.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Each value in a source file that is called `it` and should not be: the line, and why.
pub(super) fn called_it(text: &str) -> Vec<(usize, &'static str)> {
    let mut finder = Finder::default();
    finder.visit_file(&syn::parse_file(text).expect("the source is valid Rust"));
    finder.found
}

#[derive(Default)]
struct Finder {
    found: Vec<(usize, &'static str)>,
    /// How many closures about `it` we are in.
    depth: usize,
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        let is_about_it = closure.inputs.iter().any(binds_it);
        if is_about_it {
            let span = closure.span();
            let line = span.start().line;
            if self.depth > 0 {
                self.found.push((line, "the closure around it binds `it`, too"));
            } else if span.end().line > line {
                self.found.push((line, "the closure has several lines"));
            }
        }
        self.depth += usize::from(is_about_it);
        self.visit_expr(&closure.body);
        self.depth -= usize::from(is_about_it);
    }

    fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
        if pattern.ident == "it" {
            self.found.push((pattern.span().start().line, "it is not the input of a closure"));
        }
        visit::visit_pat_ident(self, pattern);
    }
}

fn binds_it(pattern: &syn::Pat) -> bool {
    struct Binds(bool);
    impl Visit<'_> for Binds {
        fn visit_pat_ident(&mut self, pattern: &syn::PatIdent) {
            self.0 |= pattern.ident == "it";
        }
    }
    let mut binds = Binds(false);
    binds.visit_pat(pattern);
    binds.0
}

#[track_caller]
fn check(text: &str, lines: &[usize]) {
    let found: Vec<_> = called_it(text).into_iter().map(|(line, _)| line).collect();
    assert_eq!(found, lines, "{text}");
}

#[test]
fn a_closure_of_one_line_may_be_about_it() {
    check("fn f() { a.map(|it| it + 1).filter(|(_, it)| it > 0); }", &[]);
}

#[test]
fn a_longer_closure_and_one_within_another_may_not() {
    check("fn f() {\n a.map(|it| {\n it + 1 }); }", &[2]);
    check("fn f() {\n a.map(|it| it.map(|it| it + 1)); }", &[2]);
    check("fn f() {\n a.map(|list| list.map(|it| it + 1)); }", &[]);
}

#[test]
fn nothing_but_a_closure_may_be_about_it() {
    check(
        "fn f(it: u8) {\n let it = 1;\n for it in a {}\n match a { Some(it) => it } }",
        &[1, 2, 3, 4],
    );
}
