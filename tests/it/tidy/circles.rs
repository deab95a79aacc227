//! Finds circles of imports: groups of source files that take names from each other.
//!
//! An *arrow* leads from a file to the file of a module whose item it names, in a `use` or in a
//! qualified path (`crate::a::f()`, `super::T`, `child::f()`), in code and in the arguments of
//! macros. A path belongs to the deepest module on its way; what that module passes on from
//! elsewhere counts as its own. A `use` of a module itself takes nothing yet: what is taken through
//! it does.
//!
//! These count for nothing: `mod x;`, visibilities, attributes, comments, strings, and everything
//! under `#[cfg(test)]`, which a program that is built does not contain.
//!
//! **The rule for a parent and its children:** the parent's file (`a.rs` or `a/mod.rs`) is a file
//! like any other. A child may take from it, or it may take from the child, but not both: what both
//! need belongs into a file below both. Only `mod` leads from each parent to its children for free.
//!
//! Neither `lib.rs` nor `main.rs` needs an exception. `lib.rs` has nothing but `mod` lines, so
//! `crate::a` leads to `a.rs` and not to `lib.rs`; and nothing can name an item of `main.rs`, which
//! is a crate of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::slice;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// The name by which the binary knows the library.
const LIBRARY: &str = "ccstatusd";

/// One name that a file takes from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrow {
    pub(super) from: String,
    pub(super) line: usize,
    /// As the source writes it.
    pub(super) name: String,
    pub(super) to: String,
}

impl fmt::Display for Arrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Arrow { from, line, name, to } = self;
        write!(f, "src/{from}:{line}: takes {name} from {to}")
    }
}

/// All arrows of each circle, given the text of each file by its path below `src`. Files that no
/// `mod` leads to from `lib.rs` or `main.rs` are left out.
pub(super) fn circles(sources: &BTreeMap<String, String>) -> Vec<Vec<Arrow>> {
    let arrows = arrows(sources);
    let mut reach: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for arrow in &arrows {
        reach.entry(&arrow.from).or_default().insert(&arrow.to);
    }
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        reach.keys().map(|from| (*from, reachable(&reach, from))).collect();
    let leads = |from: &str, to: &str| reach.get(from).is_some_and(|it| it.contains(to));
    // Files of one circle reach the same files, since they reach each other.
    let mut circles: BTreeMap<&BTreeSet<&str>, Vec<Arrow>> = BTreeMap::new();
    for arrow in &arrows {
        if leads(&arrow.to, &arrow.from) {
            circles.entry(&reach[arrow.from.as_str()]).or_default().push(arrow.clone());
        }
    }
    circles.into_values().collect()
}

fn reachable<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&str> = edges[from].iter().copied().collect();
    while let Some(file) = next.pop() {
        if found.insert(file) {
            next.extend(edges.get(file).into_iter().flatten());
        }
    }
    found
}

/// Every arrow between two files, once per line and name.
fn arrows(sources: &BTreeMap<String, String>) -> BTreeSet<Arrow> {
    let mut modules = BTreeMap::new();
    for (root, name) in [("lib.rs", LIBRARY), ("main.rs", "main")] {
        if let Some(text) = sources.get(root) {
            let items = syn::parse_file(text).unwrap_or_else(|err| panic!("{root}: {err}")).items;
            add_module(&mut modules, sources, vec![name.to_owned()], root, items);
        }
    }
    let mut arrows = BTreeSet::new();
    for (path, module) in &modules {
        let mut taken = Taken { modules: &modules, path, file: &module.file, arrows: &mut arrows };
        module.items.iter().for_each(|it| taken.visit_item(it));
    }
    arrows
}

/// From the name of the crate to the module's own.
type ModulePath = Vec<String>;

struct Module {
    file: String,
    /// Without its modules.
    items: Vec<syn::Item>,
    /// What `use` brings into it, by name. The imports of its functions are among them.
    imports: BTreeMap<String, Vec<String>>,
    /// The paths before `::*`.
    globs: Vec<Vec<String>>,
}

/// Adds a module and, below it, all that its `mod` items lead to.
fn add_module(
    modules: &mut BTreeMap<ModulePath, Module>,
    sources: &BTreeMap<String, String>,
    path: ModulePath,
    file: &str,
    items: Vec<syn::Item>,
) {
    let mut module =
        Module { file: file.to_owned(), items: vec![], imports: BTreeMap::new(), globs: vec![] };
    for item in items {
        let syn::Item::Mod(child) = item else {
            module.items.push(item);
            continue;
        };
        if is_for_tests(&child.attrs) {
            continue;
        }
        assert!(
            !child.attrs.iter().any(|it| it.path().is_ident("path")),
            "{file}: `#[path]` is not understood here"
        );
        let name = child.ident.to_string();
        let child_path = [path.clone(), vec![name]].concat();
        if let Some((_, items)) = child.content {
            add_module(modules, sources, child_path, file, items);
            continue;
        }
        let below = child_path[1..].join("/");
        let candidates = [format!("{below}.rs"), format!("{below}/mod.rs")];
        let child_file = candidates.into_iter().find(|it| sources.contains_key(it));
        let child_file = child_file.unwrap_or_else(|| panic!("{file}: there is no {below}.rs"));
        let parsed = syn::parse_file(&sources[&child_file]);
        let items = parsed.unwrap_or_else(|err| panic!("{child_file}: {err}")).items;
        add_module(modules, sources, child_path, &child_file, items);
    }
    let mut imports = Imports::default();
    module.items.iter().for_each(|it| imports.visit_item(it));
    for import in imports.found {
        if let Some(alias) = import.alias {
            module.imports.insert(alias, import.path);
        } else {
            module.globs.push(import.path);
        }
    }
    modules.insert(path, module);
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let text = list.tokens.to_string();
        list.path.is_ident("cfg") && (text == "test" || text.starts_with("all (test"))
    })
}

fn item_is_for_tests(item: &syn::Item) -> bool {
    use syn::Item;
    is_for_tests(match item {
        Item::Const(it) => &it.attrs,
        Item::Enum(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Macro(it) => &it.attrs,
        Item::Static(it) => &it.attrs,
        Item::Struct(it) => &it.attrs,
        Item::Trait(it) => &it.attrs,
        Item::Type(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => &[],
    })
}

/// One name of a `use`.
struct Import {
    path: Vec<String>,
    /// The name that it has here; `None` for `*`.
    alias: Option<String>,
    line: usize,
}

#[derive(Default)]
struct Imports {
    found: Vec<Import>,
}

impl Visit<'_> for Imports {
    fn visit_item(&mut self, item: &syn::Item) {
        if !item_is_for_tests(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        self.found.extend(imports(item));
    }
}

fn imports(item: &syn::ItemUse) -> Vec<Import> {
    let mut found = Vec::new();
    // `use ::name` always means another package.
    if item.leading_colon.is_none() {
        flatten(&item.tree, &mut vec![], &mut found);
    }
    found
}

fn flatten(tree: &syn::UseTree, before: &mut Vec<String>, found: &mut Vec<Import>) {
    let line = tree.span().start().line;
    let named = |ident: &syn::Ident| {
        // `a::{self}` names `a`.
        let is_self = ident == "self" && !before.is_empty();
        let own = (!is_self).then(|| ident.to_string());
        before.iter().cloned().chain(own).collect::<Vec<_>>()
    };
    match tree {
        syn::UseTree::Path(it) => {
            before.push(it.ident.to_string());
            flatten(&it.tree, before, found);
            before.pop();
        }
        syn::UseTree::Name(it) => {
            let path = named(&it.ident);
            found.push(Import { alias: path.last().cloned(), path, line });
        }
        syn::UseTree::Rename(it) => {
            let path = named(&it.ident);
            found.push(Import { path, alias: Some(it.rename.to_string()), line });
        }
        syn::UseTree::Glob(_) => found.push(Import { path: before.clone(), alias: None, line }),
        syn::UseTree::Group(it) => it.items.iter().for_each(|it| flatten(it, before, found)),
    }
}

/// What one module takes from others.
struct Taken<'a> {
    modules: &'a BTreeMap<ModulePath, Module>,
    path: &'a ModulePath,
    file: &'a str,
    arrows: &'a mut BTreeSet<Arrow>,
}

impl Taken<'_> {
    /// The module that a path leads to from `from`, and what of the path is left: an item of it.
    /// `None` for other packages and for what is declared in place.
    fn resolve(
        &self,
        from: &ModulePath,
        path: &[String],
        depth: usize,
    ) -> Option<(ModulePath, Vec<String>)> {
        let (first, mut rest) = path.split_first()?;
        let is_module = |path: &ModulePath| self.modules.contains_key(path);
        let below = |path: &ModulePath, name: &String| [path, slice::from_ref(name)].concat();
        // An import may have the name of the package that it is from.
        if depth == 0 {
            return None;
        }
        let mut module = match first.as_str() {
            "crate" => from[..1].to_vec(),
            "self" => from.clone(),
            "super" => from.split_last()?.1.to_vec(),
            _ if is_module(&below(from, first)) => below(from, first),
            _ => {
                let here = &self.modules[from];
                if let Some(import) = here.imports.get(first) {
                    let path = [import, rest].concat();
                    return self.resolve(from, &path, depth - 1);
                }
                let library = vec![LIBRARY.to_owned()];
                if first == LIBRARY && is_module(&library) {
                    library
                } else {
                    let globs = here.globs.iter();
                    globs
                        .filter_map(|it| self.resolve(from, it, depth - 1))
                        .filter(|(_, rest)| rest.is_empty())
                        .map(|(module, _)| below(&module, first))
                        .find(is_module)?
                }
            }
        };
        while let Some((name, after)) = rest.split_first() {
            if name == "super" {
                module.pop()?;
            } else if is_module(&below(&module, name)) {
                module.push(name.clone());
            } else {
                break;
            }
            rest = after;
        }
        Some((module, rest.to_vec()))
    }

    fn take(&mut self, path: &[String], line: usize, is_glob: bool) {
        let Some((module, item)) = self.resolve(self.path, path, 8) else { return };
        let to = &self.modules[&module].file;
        if to != self.file && (is_glob || !item.is_empty()) {
            let name = path.join("::") + if is_glob { "::*" } else { "" };
            self.arrows.insert(Arrow { from: self.file.to_owned(), line, name, to: to.clone() });
        }
    }

    /// A path in code. Where its first name is an imported item, the import has counted.
    fn take_qualified(&mut self, path: &[String], line: usize) {
        let import = self.modules[self.path].imports.get(&path[0]);
        let is_item = |it: &Vec<String>| {
            self.resolve(self.path, it, 8).is_none_or(|(_, item)| !item.is_empty())
        };
        if path.len() > 1 && !import.is_some_and(is_item) {
            self.take(path, line, false);
        }
    }

    /// What a macro gets is not parsed: whatever looks like a path is one.
    fn take_from_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        let mut n_colons = 0;
        for token in tokens {
            match &token {
                TokenTree::Punct(it) if it.as_char() == ':' => {
                    n_colons += 1;
                    continue;
                }
                TokenTree::Ident(it) if n_colons == 2 && !path.is_empty() => {
                    path.push(it.to_string());
                    n_colons = 0;
                    continue;
                }
                _ => {}
            }
            if !path.is_empty() {
                self.take_qualified(&path, line);
                path.clear();
            }
            match token {
                // After `::` alone comes another package, or what belongs to a type.
                TokenTree::Ident(it) if n_colons != 2 => {
                    line = it.span().start().line;
                    path.push(it.to_string());
                }
                TokenTree::Group(it) if it.delimiter() != Delimiter::None => {
                    self.take_from_tokens(it.stream());
                }
                _ => {}
            }
            n_colons = 0;
        }
        if !path.is_empty() {
            self.take_qualified(&path, line);
        }
    }
}

impl Visit<'_> for Taken<'_> {
    fn visit_item(&mut self, item: &syn::Item) {
        if !item_is_for_tests(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        for import in imports(item) {
            self.take(&import.path, import.line, import.alias.is_none());
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        if path.leading_colon.is_none() {
            let names: Vec<_> = path.segments.iter().map(|it| it.ident.to_string()).collect();
            self.take_qualified(&names, path.span().start().line);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, it: &syn::Macro) {
        visit::visit_macro(self, it);
        self.take_from_tokens(it.tokens.clone());
    }

    fn visit_attribute(&mut self, _: &syn::Attribute) {}

    fn visit_vis_restricted(&mut self, _: &syn::VisRestricted) {}
}

/// Every arrow in the circles of these files, as `from:line name to`. A `lib.rs` declares them.
#[track_caller]
fn check(files: &[(&str, &str)], expected: &[&str]) {
    let mut sources: BTreeMap<_, _> =
        files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    let declare = |(file, _): &(&str, &str)| {
        let name = file.strip_suffix("/mod.rs").or(file.strip_suffix(".rs")).unwrap();
        let is_below_lib = !name.contains('/') && name != "lib" && name != "main";
        is_below_lib.then(|| format!("mod {name};\n"))
    };
    sources.entry("lib.rs".to_owned()).or_insert(files.iter().filter_map(declare).collect());
    let found: Vec<_> = circles(&sources)
        .into_iter()
        .flatten()
        .map(|it| format!("{}:{} {} {}", it.from, it.line, it.name, it.to))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn files_that_import_each_other_are_a_circle() {
    check(
        &[("a.rs", "use crate::b::B;\nstruct A;"), ("b.rs", "\nuse crate::a::A;\nstruct B;")],
        &["a.rs:1 crate::b::B b.rs", "b.rs:2 crate::a::A a.rs"],
    );
}

#[test]
fn files_that_import_in_one_direction_are_none() {
    check(
        &[
            ("a.rs", "use crate::b::B; use crate::c::C;"),
            ("b.rs", "use crate::c::C;"),
            ("c.rs", ""),
        ],
        &[],
    );
}

#[test]
fn a_circle_may_have_several_files_and_what_leads_there_is_no_part_of_it() {
    check(
        &[
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use crate::c::C;"),
            ("c.rs", "use crate::a::A; use crate::leaf::L;"),
            ("leaf.rs", ""),
            ("user.rs", "use crate::a::A;"),
        ],
        &["a.rs:1 crate::b::B b.rs", "b.rs:1 crate::c::C c.rs", "c.rs:1 crate::a::A a.rs"],
    );
}

#[test]
fn circles_that_share_no_file_are_told_apart() {
    let files = ["a", "b", "c", "d"].map(|it| {
        (format!("{it}.rs"), {
            let other = ["b", "a", "d", "c"][usize::from(it.as_bytes()[0] - b'a')];
            format!("use crate::{other}::X;")
        })
    });
    let mut sources = BTreeMap::from(files);
    sources.insert("lib.rs".to_owned(), "mod a; mod b; mod c; mod d;".to_owned());
    let sizes: Vec<_> = circles(&sources).iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 2]);
}

#[test]
fn a_child_that_takes_from_the_parent_which_uses_it_is_a_circle() {
    check(
        &[
            ("a/mod.rs", "mod child;\npub struct A;\nfn f() { child::g() }"),
            ("a/child.rs", "use super::A;\npub fn g() {}"),
        ],
        &["a/child.rs:1 super::A a/mod.rs", "a/mod.rs:3 child::g a/child.rs"],
    );
}

#[test]
fn a_child_may_take_from_a_parent_that_only_declares_it() {
    check(&[("a.rs", "pub mod child;\npub struct A;"), ("a/child.rs", "use super::A;")], &[]);
}

#[test]
fn siblings_go_past_their_parent() {
    check(
        &[
            ("a.rs", "mod b; mod c; use self::b::B; use c::C;"),
            ("a/b.rs", "use super::c::C;"),
            ("a/c.rs", ""),
        ],
        &[],
    );
}

#[test]
fn qualified_paths_count_as_imports_do() {
    check(
        &[
            ("a.rs", "fn f() -> Vec<crate::b::B> {\n crate::b::new() }"),
            ("b.rs", "fn g(it: &super::a::A) {\n debug!(n = self.n, \"{}\", super::a::f()); }"),
        ],
        &[
            "a.rs:1 crate::b::B b.rs",
            "a.rs:2 crate::b::new b.rs",
            "b.rs:1 super::a::A a.rs",
            "b.rs:2 super::a::f a.rs",
        ],
    );
}

#[test]
fn groups_over_several_lines_are_taken_apart() {
    check(
        &[
            ("a.rs", "use crate::{\n b::{self, x::{X, Y as Z}},\n std::S,\n};\nfn f() { b::g() }"),
            ("b.rs", "mod x;"),
            ("b/x.rs", "use crate::a::f;"),
        ],
        &[
            "a.rs:2 crate::b::x::X b/x.rs",
            "a.rs:2 crate::b::x::Y b/x.rs",
            "b/x.rs:1 crate::a::f a.rs",
        ],
    );
}

#[test]
fn what_is_taken_through_an_imported_module_counts_where_it_stands() {
    let b = ("b.rs", "mod x;");
    let x = ("b/x.rs", "use crate::a::f;");
    check(
        &[("a.rs", "use crate::b as other;\nfn f() { other::x::g() }"), b, x],
        &["a.rs:2 other::x::g b/x.rs", "b/x.rs:1 crate::a::f a.rs"],
    );
    check(&[("a.rs", "use crate::b;\nuse crate::b::x;"), b, x], &[]);
}

#[test]
fn globs_count_and_bring_modules() {
    check(
        &[
            ("a.rs", "use crate::b::*;\nfn f() { x::g() }"),
            ("b.rs", "mod x; use crate::a::f;"),
            ("b/x.rs", "use crate::a::f;"),
        ],
        &[
            "a.rs:1 crate::b::* b.rs",
            "a.rs:2 x::g b/x.rs",
            "b.rs:1 crate::a::f a.rs",
            "b/x.rs:1 crate::a::f a.rs",
        ],
    );
}

#[test]
fn a_module_within_a_file_belongs_to_it() {
    check(
        &[
            ("a.rs", "pub mod inner { use super::super::b::B; use super::A; pub fn f() {} }"),
            ("b.rs", "use crate::a::inner::f;"),
        ],
        &["a.rs:1 super::super::b::B b.rs", "b.rs:1 crate::a::inner::f a.rs"],
    );
}

#[test]
fn the_binary_takes_from_the_library_and_is_its_own_crate() {
    check(
        &[
            ("lib.rs", "pub mod a;"),
            ("main.rs", "use ccstatusd::a;\nmod b; fn main() { a::f(); crate::b::g() }"),
            ("a.rs", "pub fn f() {}"),
            ("b.rs", "use crate::X; use ccstatusd::a::f;"),
        ],
        &["b.rs:1 crate::X main.rs", "main.rs:2 crate::b::g b.rs"],
    );
}

#[test]
fn tests_comments_strings_and_other_packages_do_not_count() {
    let a = "//! See [`crate::b`].
        use std::b::B; use ::b::B; use b::C;
        #[cfg(test)] mod tests { use crate::b::B; }
        #[cfg(test)] mod samples;
        #[cfg(all(test, unix))] use crate::b::B;
        #[cfg(test)] fn g() { crate::b::f(); }
        /// As [`crate::b::f`] does.
        #[doc(alias = \"crate::b::f\")]
        pub(in crate::b) fn f(b: u8) {
            // crate::b::f()
            let text = \"crate::b::f()\"; println!(\"crate::b::f {b:x}\"); T::b::f(); x.b::<u8>();
        }
        struct A; impl A { #[cfg(test)] fn h() { super::b::f(); } }";
    check(&[("a.rs", a), ("b.rs", "use crate::a::f;"), ("a/samples.rs", "use crate::b::f;")], &[]);
}
