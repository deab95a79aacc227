//! PURE. What was used, summed up over quarters of an hour and kept for as long as the user wants.
//!
//! Days begin on a quarter-hour in every time zone, so that such sums suffice for every report in
//! every zone. Costs are not part of the sums: they follow from what is kept, by the prices at the
//! time of the report. So replies are summed up apart wherever they could be charged at different
//! rates.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::blocks::SlotKey;
use super::entry::EntryTokens;
use super::prices::{Charge, INPUT_STEPS, Picodollars, Prices};

/// What the replies in one sum have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Group {
    /// The session's id; empty where none is known.
    #[serde(skip_serializing_if = "is_default")]
    pub session: Arc<str>,
    /// The name of the project's folder in `projects`; ccusage calls it the project path.
    #[serde(skip_serializing_if = "is_default")]
    pub folder: Arc<str>,
    /// The directory that the folder stands for; empty where no line has named it.
    #[serde(skip_serializing_if = "is_default")]
    pub project: Arc<str>,
    /// The git branch, as the client names it; empty where it names none.
    #[serde(skip_serializing_if = "is_default")]
    pub branch: Arc<str>,
    /// The type of the subagent; empty for the session's own replies, and where it is not known.
    #[serde(skip_serializing_if = "is_default")]
    pub agent: Arc<str>,
    /// The model as the transcript spells it; empty where it names none.
    #[serde(skip_serializing_if = "is_default")]
    pub model: Arc<str>,
    #[serde(flatten)]
    pub class: Class,
}

/// What else decides the rates at which a reply is charged.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(default)]
pub struct Class {
    /// Whether the reply was made in the fast mode.
    #[serde(rename = "fast", skip_serializing_if = "is_default")]
    pub is_fast: bool,
    /// Whether the request was confined to the United States.
    #[serde(rename = "us_only", skip_serializing_if = "is_default")]
    pub is_us_only: bool,
    /// The largest of [`INPUT_STEPS`] that the input of the request exceeds, in tokens; 0 where it
    /// exceeds none.
    #[serde(rename = "input_above", skip_serializing_if = "is_default")]
    pub input_above: u64,
    /// Whether the transcript states the cost, which then applies instead of a price.
    #[serde(rename = "stated", skip_serializing_if = "is_default")]
    pub is_stated: bool,
}

/// Whether a field can be left out of a line, since it has its default.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Class {
    /// The largest step that the input of a request exceeds.
    pub fn input_step(request_input: u64) -> u64 {
        INPUT_STEPS.into_iter().rfind(|step| request_input > *step).unwrap_or(0)
    }
}

/// The replies of one group in one quarter of an hour. Those of its first millisecond are apart,
/// see [`SlotKey`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quarter {
    pub n_replies: u64,
    /// When the first reply and the last one were made, in Unix milliseconds.
    pub first_ms: i64,
    pub last_ms: i64,
    pub tokens: EntryTokens,
    pub n_web_searches: u64,
    /// The sum of the costs that the transcripts state.
    pub stated: Picodollars,
}

impl Quarter {
    /// Adds another sum over the same quarter of an hour.
    pub fn add(&mut self, other: &Quarter) {
        if self.n_replies == 0 {
            *self = *other;
            return;
        }
        self.n_replies += other.n_replies;
        self.first_ms = self.first_ms.min(other.first_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
        self.tokens.add(&other.tokens);
        self.n_web_searches = self.n_web_searches.saturating_add(other.n_web_searches);
        self.stated = self.stated.saturating_add(other.stated);
    }

    /// The part of the sum that `n` of `of` replies have if all used the same.
    #[must_use]
    pub fn part(&self, n: usize, of: usize) -> Quarter {
        let part = |count: u64| {
            let part = u128::from(count) * n as u128 / of.max(1) as u128;
            u64::try_from(part).unwrap_or(u64::MAX)
        };
        let EntryTokens { input, output, cache_write_5m, cache_write_1h, cache_read } = self.tokens;
        Quarter {
            n_replies: part(self.n_replies).max(1),
            tokens: EntryTokens {
                input: part(input),
                output: part(output),
                cache_write_5m: part(cache_write_5m),
                cache_write_1h: part(cache_write_1h),
                cache_read: part(cache_read),
            },
            n_web_searches: part(self.n_web_searches),
            stated: part(self.stated.max(0).unsigned_abs()).try_into().unwrap_or(i64::MAX),
            ..*self
        }
    }

    /// What the replies cost; `None` where the model has no price.
    pub fn cost(&self, group: &Group, prices: &Prices) -> Option<Picodollars> {
        if group.class.is_stated {
            return Some(self.stated);
        }
        prices.charge(&Charge {
            model: &group.model,
            at_ms: self.first_ms,
            is_fast: group.class.is_fast,
            is_us_only: group.class.is_us_only,
            request_input: match group.class.input_above {
                0 => 0,
                step => step + 1,
            },
            tokens: self.tokens,
            n_web_searches: self.n_web_searches,
        })
    }
}

/// The sums of each group, by quarter of an hour.
pub type GroupSums = BTreeMap<Arc<Group>, BTreeMap<SlotKey, Quarter>>;

/// By the session's id: when the client said so, in Unix milliseconds, and the cost.
pub type ClientCosts = BTreeMap<Arc<str>, (i64, Picodollars)>;

/// What one config root used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountHistory {
    pub root: PathBuf,
    /// When the first reply of the whole record was made, in Unix milliseconds, also if that is
    /// before the span.
    pub first_ms: Option<i64>,
    pub sums: GroupSums,
    /// What the client itself said last that a session had cost, by the session's id.
    pub client_costs: ClientCosts,
}

/// What was used in a span of time, by all config roots that the record knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    pub accounts: Vec<AccountHistory>,
    /// What could not be read, and why, as sentences for the user.
    pub problems: Vec<String>,
}
