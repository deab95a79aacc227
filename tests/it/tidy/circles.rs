//! Finds circles of imports: groups of source files in which each file takes a name from another
//! one of the group, so that none of them can be understood or moved without the others.
//!
//! An *arrow* leads from a file that names an item to the file of the item's module. Items are
//! named in `use` and in qualified paths (`crate::a::f()`, `super::T`, `child::f()`), in code and
//! in the arguments of macros. A path belongs to the deepest module on it: an item that a module
//! re-exports counts as the module's own. A `use` of a module alone takes nothing; paths that begin
//! with that module do.
//!
//! These do not count: `mod x;`, visibilities, attributes, comments, strings, and everything under
//! `#[cfg(test)]`, which the built program does not contain.
//!
//! **The rule for parents and children:** imports point down. The file of a parent module (`a.rs`
//! or `a/mod.rs`) may take from its children, or they from it, but not both. What both need belongs
//! in a third file.
//!
//! `lib.rs` and `main.rs` need no exception. `lib.rs` holds nothing but `mod` lines, so that
//! `crate::a::f` leads to `a.rs` and not to `lib.rs`. `main.rs` is a crate of its own, whose items
//! no other file can name.

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

/// The names of the crate, of the modules around a module, and of the module.
type ModulePath = Vec<String>;

struct Module {
    file: String,
    /// All but its child modules.
    items: Vec<syn::Item>,
    /// What `use` brings into it, by the name it has there. Includes imports within its functions.
    imports: BTreeMap<String, Vec<String>>,
    /// The paths of its `use path::*`.
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
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
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
        syn::UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, found);
            before.pop();
        }
        syn::UseTree::Name(name) => {
            let path = named(&name.ident);
            found.push(Import { alias: path.last().cloned(), path, line });
        }
        syn::UseTree::Rename(renamed) => {
            let path = named(&renamed.ident);
            found.push(Import { path, alias: Some(renamed.rename.to_string()), line });
        }
        syn::UseTree::Glob(_) => found.push(Import { path: before.clone(), alias: None, line }),
        syn::UseTree::Group(group) => {
            group.items.iter().for_each(|it| flatten(it, before, found));
        }
    }
}

/// Collects the arrows that leave one module.
struct Taken<'a> {
    modules: &'a BTreeMap<ModulePath, Module>,
    path: &'a ModulePath,
    file: &'a str,
    arrows: &'a mut BTreeSet<Arrow>,
}

impl Taken<'_> {
    /// The deepest module on a path that stands in the module `from`, and the rest of the path,
    /// which begins with an item of that module. `None` for a path into another package, and for
    /// one that begins with an item of `from` itself. `depth` bounds how many imports are followed.
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

    /// Takes a path in code. One whose first name is an imported item is left out: the import
    /// counted.
    fn take_qualified(&mut self, path: &[String], line: usize) {
        let import = self.modules[self.path].imports.get(&path[0]);
        let is_item = |path: &Vec<String>| {
            self.resolve(self.path, path, 8).is_none_or(|(_, item)| !item.is_empty())
        };
        if path.len() > 1 && !import.is_some_and(is_item) {
            self.take(path, line, false);
        }
    }

    /// The arguments of a macro are not parsed: names joined by `::` count as a path.
    fn take_from_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        let mut n_colons = 0;
        for token in tokens {
            match &token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    n_colons += 1;
                    continue;
                }
                TokenTree::Ident(ident) if n_colons == 2 && !path.is_empty() => {
                    path.push(ident.to_string());
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
                TokenTree::Ident(ident) if n_colons != 2 => {
                    line = ident.span().start().line;
                    path.push(ident.to_string());
                }
                TokenTree::Group(group) if group.delimiter() != Delimiter::None => {
                    self.take_from_tokens(group.stream());
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

    fn visit_macro(&mut self, call: &syn::Macro) {
        visit::visit_macro(self, call);
        self.take_from_tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, _: &syn::Attribute) {}

    fn visit_vis_restricted(&mut self, _: &syn::VisRestricted) {}
}

/// Compares the arrows of all circles among these files, as `from:line name to`. A `lib.rs` that
/// declares the files is added where none is given.
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
    let files = ["a", "b", "c", "d"].map(|name| {
        let other = ["b", "a", "d", "c"][usize::from(name.as_bytes()[0] - b'a')];
        (format!("{name}.rs"), format!("use crate::{other}::X;"))
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
