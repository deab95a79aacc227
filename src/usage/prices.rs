//! PURE. What a reply costs.

use crate::usage::Entry;

/// Whole picodollars: a price per million tokens is a whole number of them per token.
pub type Picodollars = i128;

/// A price list.
#[derive(Clone, Debug)]
pub struct Prices {}

/// The price of one model, in US dollars per million tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {}

impl Prices {
    /// The list that this program was built with.
    pub fn builtin() -> Prices {
        Prices {}
    }

    /// Replaces or adds models.
    #[must_use]
    pub fn with(self, models: impl IntoIterator<Item = (String, Price)>) -> Prices {
        _ = models;
        self
    }

    /// What an entry costs; none where its model has no price.
    pub fn cost(&self, entry: &Entry) -> Option<Picodollars> {
        _ = entry;
        None
    }
}
