//! PURE. Which limits are plausible and how long each holds, and to which sessions they apply.
//!
//! See docs/decisions/028-the-newest-word-wins.md and
//! docs/decisions/029-a-document-denies-what-it-lacks.md.

use std::borrow::Cow;

use super::{Block, BlockSource, ClientFacts, Limit, Limits, Model, Totals, Usage, Window};
use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS};

/// The most limits with names that this version does not know.
const MAX_OTHER: usize = 8;
/// The longest name of a limit, in bytes.
const MAX_NAME: usize = 32;
/// The longest window of a limit whose length is not known.
const LONGEST_MS: i64 = 400 * DAY_MS;
/// Two statements are about the same window if its ends in them differ by less than this.
const SAME_END_MS: u64 = MINUTE_MS as u64;
/// The version of Claude Code from which on its documents have the prompt cache after the first
/// reply of a process.
const STATES_PROMPT_CACHE: [u32; 3] = [2, 1, 251];

/// How long the window of the limit of this name is. `None` where that is not known: spending
/// limits have different periods.
pub fn window_ms(name: &str) -> Option<i64> {
    match name {
        _ if name.starts_with("five_hour") => Some(5 * HOUR_MS),
        _ if name.starts_with("seven_day") || name.starts_with("weekly") => Some(7 * DAY_MS),
        _ => None,
    }
}

impl Limit {
    /// Whether its window may still be open. Where the client does not state the end of the window,
    /// the window is over once its length has passed since the observation.
    pub fn is_current(&self, name: &str, now_ms: i64) -> bool {
        let length_ms = window_ms(name).unwrap_or(31 * DAY_MS);
        match (self.resets_at_ms, self.as_of_ms) {
            (0, 0) => true,
            (0, as_of_ms) => now_ms < as_of_ms.saturating_add(length_ms),
            (resets_at_ms, _) => now_ms < resets_at_ms,
        }
    }

    /// Whether both may be about the same window.
    pub fn is_same_window(&self, other: &Limit) -> bool {
        let is_unknown = self.resets_at_ms == 0 || other.resets_at_ms == 0;
        is_unknown || self.resets_at_ms.abs_diff(other.resets_at_ms) < SAME_END_MS
    }

    /// Whether both state the same, whenever that was.
    pub fn is_same_statement(&self, other: &Limit) -> bool {
        // Parsers of JSON differ in the last digit.
        (self.used_percentage - other.used_percentage).abs() < 1e-6
            && self.resets_at_ms == other.resets_at_ms
    }

    /// Without what cannot be: `None` if the share is out of range or its window has ended. An end
    /// that is further away than the window is long is not known.
    fn plausible(mut self, name: &str, now_ms: i64) -> Option<Limit> {
        let longest_ms = window_ms(name).map_or(LONGEST_MS, |it| it + it / 10);
        let ended = now_ms.saturating_sub(LONGEST_MS)..=now_ms;
        match self.resets_at_ms {
            0 => {}
            end_ms if ended.contains(&end_ms) => return None,
            end_ms if (now_ms..=now_ms.saturating_add(longest_ms)).contains(&end_ms) => {}
            _ => self.resets_at_ms = 0,
        }
        Some(self)
    }

    /// [`Limit::plausible`] as far as that is known without the time.
    fn clipped(mut self, name: &str) -> Option<Limit> {
        let most = if name == "spend_limit" { 1000.0 } else { 100.0 };
        let amount = |usd: Option<f64>| usd.filter(|it| (0.0..1e6).contains(it));
        self.used_usd = amount(self.used_usd);
        self.limit_usd = amount(self.limit_usd);
        (0.0..=most).contains(&self.used_percentage).then_some(self)
    }
}

impl Usage {
    /// The block that is open now, and the time at which it was as it says.
    pub fn open_block(&self, now_ms: i64) -> Option<(&Block, i64)> {
        let block = self.block.as_ref().filter(|it| now_ms < it.end_ms)?;
        let as_of_ms = match block.source {
            BlockSource::Transcripts => self.as_of_ms,
            // It has a time of its own: the tool may fail while our own usage is confirmed.
            BlockSource::Ccusage => block.as_of_ms,
        };
        Some((block, as_of_ms))
    }

    /// What was used, when the window ends, and when that was so: in the window that the five-hour
    /// limit is for. Where its end is not known, or the user chose a program that computes the
    /// block, in the block. Displays show only one of them, since each has its own clock.
    pub fn five_hours(
        &self,
        limit: Option<&Limit>,
        now_ms: i64,
    ) -> Option<(Cow<'_, Totals>, i64, i64)> {
        let is_own = self.block.as_ref().is_none_or(|it| it.source == BlockSource::Transcripts);
        let ends_ms = limit.map_or(0, |it| it.resets_at_ms);
        if ends_ms > 0 && is_own {
            let is_same = |it: &&Window| it.end_ms.abs_diff(ends_ms) < SAME_END_MS;
            let window = self.window.as_ref().filter(is_same)?;
            return Some((Cow::Borrowed(&window.used), window.end_ms, self.as_of_ms));
        }
        let (block, as_of_ms) = self.open_block(now_ms)?;
        let Block { cost_usd, unpriced, tokens, end_ms, .. } = *block;
        Some((Cow::Owned(Totals { cost_usd, unpriced, tokens }), end_ms, as_of_ms))
    }
}

impl Limits {
    /// All of them, each with the client's name for it.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Limit)> {
        let known = [
            ("five_hour", &self.five_hour),
            ("seven_day", &self.seven_day),
            ("spend_limit", &self.spend_limit),
        ];
        let known = known.into_iter().filter_map(|(name, limit)| Some((name, limit.as_ref()?)));
        known.chain(self.other.iter().map(|(name, limit)| (name.as_str(), limit)))
    }

    pub fn get(&self, name: &str) -> Option<&Limit> {
        match name {
            "five_hour" => self.five_hour.as_ref(),
            "seven_day" => self.seven_day.as_ref(),
            "spend_limit" => self.spend_limit.as_ref(),
            _ => self.other.get(name),
        }
    }

    /// The times of their observations, so that these can be moved if the clock is set back.
    pub fn times(&mut self) -> impl Iterator<Item = &mut i64> {
        let known = [&mut self.five_hour, &mut self.seven_day, &mut self.spend_limit];
        let known = known.into_iter().flatten();
        known.chain(self.other.values_mut()).map(|it| &mut it.as_of_ms)
    }

    /// The same, observed at this time.
    #[must_use]
    pub fn dated(&self, as_of_ms: i64) -> Limits {
        self.filter_map(|_, limit| Some(Limit { as_of_ms, ..limit }))
    }

    /// Adds a limit, unless its share cannot be. Ignores a limit whose name is not a plain word,
    /// and more than eight of which this version does not know the name.
    pub fn insert(&mut self, name: &str, limit: Limit) {
        let Some(limit) = limit.clipped(name) else { return };
        match name {
            "five_hour" => self.five_hour = Some(limit),
            "seven_day" => self.seven_day = Some(limit),
            "spend_limit" => self.spend_limit = Some(limit),
            _ => {
                let is_plain = |it: u8| it.is_ascii_alphanumeric() || it == b'_' || it == b'-';
                let is_word = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_plain);
                let is_room = self.other.len() < MAX_OTHER || self.other.contains_key(name);
                if is_word && is_room {
                    self.other.insert(name.to_owned(), limit);
                }
            }
        }
    }

    /// Without what cannot be at this time, and without windows that have ended.
    #[must_use]
    pub fn plausible(&self, now_ms: i64) -> Limits {
        self.filter_map(|name, limit| limit.plausible(name, now_ms))
    }

    /// Whether a session that said `before` says nothing new with this. A client leaves a window
    /// out once it has ended, which is no news.
    pub fn is_repetition_of(&self, before: &Limits, now_ms: i64) -> bool {
        let is_open = |limit: &Limit| limit.resets_at_ms == 0 || limit.resets_at_ms > now_ms;
        let says = |all: &Limits, name: &str, limit: &Limit| {
            all.get(name).is_some_and(|it| it.is_same_statement(limit))
        };
        let open = |all: &Limits| all.iter().filter(|(_, it)| is_open(it)).count();
        let mut own = self.iter().filter(|(_, it)| is_open(it));
        open(self) == open(before) && own.all(|(name, limit)| says(before, name, limit))
    }

    /// Without shares that cannot be, and with bounds on the names.
    pub(super) fn clipped(&self) -> Limits {
        self.filter_map(|_, limit| Some(limit))
    }

    /// Each limit as `change` returns it, without those that are not plausible.
    #[must_use]
    pub fn filter_map(&self, change: impl Fn(&str, Limit) -> Option<Limit>) -> Limits {
        let mut limits = Limits::default();
        for (name, limit) in self.iter() {
            if let Some(limit) = change(name, *limit) {
                limits.insert(name, limit);
            }
        }
        limits
    }
}

impl ClientFacts {
    /// Whether this is a document of the client: what it does not state is not so. A display that
    /// got no document only requests a line, and denies nothing.
    pub fn is_document(&self) -> bool {
        self.model.is_some()
            || self.cost_usd.is_some()
            || self.context_window.is_some()
            || self.client_version.is_some()
            || self.has_limits()
    }

    /// Whether it states limits, even if none of them is plausible.
    pub fn has_limits(&self) -> bool {
        self.has_rate_limits || self.limits.iter().next().is_some()
    }

    /// Whether the limits of the account apply to the session that this is about, since it is one
    /// of a subscription. `None` where that cannot be known yet. `before` is what was known before
    /// this, and `has_replies` whether its transcript has any reply.
    ///
    /// The client states limits with the first reply to a session of a subscription, and never
    /// states any to others.
    pub fn is_subscribed(&self, before: Option<bool>, has_replies: bool) -> Option<bool> {
        if self.has_limits() {
            return Some(true);
        }
        if !self.is_document() {
            return before;
        }
        if self.model.as_ref().is_some_and(Model::is_of_another_provider) {
            return Some(false);
        }
        if before != Some(false) && self.is_new_process() {
            return before;
        }
        (has_replies || self.has_replies()).then_some(false)
    }

    /// Whether it was written after the session's first reply.
    pub fn has_replies(&self) -> bool {
        self.cost_usd.is_some_and(|it| it > 0.0) || self.context_tokens.is_some_and(|it| it > 0)
    }

    /// Whether the process has had no reply, though the session may have: it was resumed.
    fn is_new_process(&self) -> bool {
        let version = self.client_version.as_deref().unwrap_or_default();
        let mut parts = version.split('.').map(|it| it.parse::<u32>().unwrap_or(0));
        let version = [(); 3].map(|()| parts.next().unwrap_or(0));
        version >= STATES_PROMPT_CACHE && self.prompt_cache.is_none()
    }
}

impl Model {
    /// Whether its id is not one of Anthropic's own API, as `claude-opus-4-8[1m]` is. Amazon,
    /// Google and gateways have ids such as `us.anthropic.claude-…-v1:0`, `arn:aws:bedrock:…`,
    /// `claude-…@20251101` and `anthropic/claude-…`.
    pub fn is_of_another_provider(&self) -> bool {
        let is_own = self.id.get(..7).is_some_and(|it| it.eq_ignore_ascii_case("claude-"));
        !is_own || self.id.contains(['/', '@', ':'])
    }
}
