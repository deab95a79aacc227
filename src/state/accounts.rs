//! PURE. Accounts, one for each config root: the tokens and costs that it used, and its limits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::block_tool::BlockTool;
use super::limits::{ObservedLimits, Statement};
use super::settings::Settings;
use crate::fetch::tail::Tail;
use crate::store::schema::{self, BlockSource, SessionId};
use crate::time::{HOUR_MS, MINUTE_MS, Now};
use crate::usage::election::Added;
use crate::usage::ledger::{Ledger, REACH_MS, SessionTotals};
use crate::usage::prices::Prices;
use crate::usage::reply::{News, Origin, Replies, Reply};

/// The accounts, by their config roots.
#[derive(Debug, Default)]
pub(super) struct Accounts(BTreeMap<PathBuf, Account>);

#[derive(Debug)]
struct Account {
    ledger: Ledger,
    /// Whether its usage is recorded: that of a root that only a hint names is not.
    is_recorded: bool,
    limits: ObservedLimits,
    /// When every change in its transcripts was last known to be counted, in Unix milliseconds.
    as_of_ms: i64,
    /// How many lines of its transcripts could not be parsed.
    skipped_lines: u64,
    /// The usage that was published last, by this process or an earlier one. It is published until
    /// every transcript has been read.
    recalled: Option<schema::Usage>,
    /// The answer of the configured block tool; `None` where none is configured.
    block_tool: Option<BlockTool>,
}

impl Accounts {
    // ---- Adding and removing

    /// Adds the account of a config root, unless it is known already.
    pub(super) fn add(&mut self, root: &Path, settings: &Settings, now: Now) {
        self.0.entry(root.to_owned()).or_insert_with(|| Account {
            ledger: empty_ledger(&settings.prices, now),
            is_recorded: false,
            limits: ObservedLimits::default(),
            as_of_ms: now.wall_ms,
            skipped_lines: 0,
            recalled: None,
            block_tool: settings.block_tool.as_ref().map(|_| BlockTool::default()),
        });
    }

    pub(super) fn remove(&mut self, root: &Path) {
        self.0.remove(root);
    }

    /// Whether a directory is a known config root.
    pub(super) fn contains(&self, root: &Path) -> bool {
        self.0.contains_key(root)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn roots(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }

    // ---- Usage

    /// Counts the entries that one read of a transcript found. `skipped_before` is how many of its
    /// lines could not be parsed before this read; `tail` has the new total. Returns what is to be
    /// recorded, each with the time of the copy whose place it took.
    #[must_use]
    pub(super) fn count_read(
        &mut self,
        root: &Path,
        origin: Origin,
        tail: &Tail,
        skipped_before: u64,
    ) -> Vec<News> {
        let Some(account) = self.0.get_mut(root) else { return Vec::new() };
        account.skipped_lines += tail.facts.skipped_lines;
        account.skipped_lines -= skipped_before;
        account.count(origin, tail)
    }

    /// As [`Accounts::count_read`], for a transcript that is too old for the windows.
    #[must_use]
    pub(super) fn count_old(&mut self, root: &Path, origin: Origin, tail: &Tail) -> Vec<News> {
        self.0.get_mut(root).map_or_else(Vec::new, |account| account.count(origin, tail))
    }

    /// The roots whose usage is recorded.
    pub(super) fn recorded_roots(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.iter().filter(|(_, account)| account.is_recorded).map(|(root, _)| root)
    }

    /// Whether the usage of a root is recorded.
    pub(super) fn is_recorded(&self, root: &Path) -> bool {
        self.0.get(root).is_some_and(|account| account.is_recorded)
    }

    /// The usage of a root is recorded from now on. Returns what was counted so far; `None` if it
    /// is recorded already.
    pub(super) fn start_recording(&mut self, root: &Path) -> Option<Vec<News>> {
        let account = self.0.get_mut(root).filter(|it| !it.is_recorded)?;
        account.is_recorded = true;
        Some(account.ledger.replies().map(|reply| (reply, None)).collect())
    }

    /// Everything that is counted in the accounts that are recorded, by their roots.
    pub(super) fn all_recorded(&self) -> Vec<(PathBuf, Vec<News>)> {
        let recorded = self.0.iter().filter(|(_, account)| account.is_recorded);
        let news =
            |account: &Account| account.ledger.replies().map(|reply| (reply, None)).collect();
        recorded.map(|(root, account)| (root.clone(), news(account))).collect()
    }

    /// Takes in what the record has of a root.
    pub(super) fn recorded(&mut self, root: &Path, replies: &[Reply]) {
        let Some(account) = self.0.get_mut(root) else { return };
        for reply in replies {
            account.ledger.add(reply);
        }
    }

    /// Empties the ledgers that refuse replies of the windows since the clock was ahead. Returns
    /// their roots: the record has what they lack.
    pub(super) fn empty_ahead(&mut self, settings: &Settings, now: Now) -> Vec<PathBuf> {
        let ahead = self.0.iter_mut().filter(|(_, it)| it.ledger.is_ahead(now.wall_ms));
        let emptied = ahead.map(|(root, account)| {
            account.ledger = empty_ledger(&settings.prices, now);
            root.clone()
        });
        emptied.collect()
    }

    /// Lines of a transcript that was deleted or forgotten no longer count as skipped. What it used
    /// stays counted.
    pub(super) fn forget_file(&mut self, root: &Path, skipped_lines: u64) {
        if let Some(account) = self.0.get_mut(root) {
            account.skipped_lines -= skipped_lines;
        }
    }

    /// Applies other prices, also to what was used before.
    pub(super) fn reprice(&mut self, prices: &Prices) {
        for account in self.0.values_mut() {
            account.ledger.reprice(prices.clone());
        }
    }

    /// Usage is complete as of now, except in the accounts of the roots in `unread`.
    pub(super) fn confirm(&mut self, unread: &BTreeSet<&PathBuf>, now: Now) {
        for (_, account) in self.0.iter_mut().filter(|(root, _)| !unread.contains(root)) {
            account.as_of_ms = now.wall_ms;
            if let Some(tool) = &mut account.block_tool {
                tool.confirm(now);
            }
        }
    }

    /// Forgets entries that are too old for any sum.
    pub(super) fn forget_old(&mut self, now: Now) {
        for account in self.0.values_mut() {
            account.ledger.forget_before(now.wall_ms - REACH_MS);
        }
    }

    /// The usage of one session; `None` where it has none.
    pub(super) fn session(&self, root: &Path, session: &SessionId) -> Option<SessionTotals> {
        self.0.get(root)?.ledger.session(session)
    }

    // ---- Limits

    /// Takes in what Claude Code says of the limits.
    pub(super) fn merge_limits(&mut self, root: &Path, statement: &Statement, now: Now) {
        if let Some(account) = self.0.get_mut(root) {
            account.limits.merge(statement, now);
        }
    }

    // ---- The tool that computes the active block

    /// The block tool's answer for an account; `None` where no tool is configured.
    pub(super) fn block_tool(&self, root: &Path) -> Option<&BlockTool> {
        self.0.get(root)?.block_tool.as_ref()
    }

    pub(super) fn block_tool_mut(&mut self, root: &Path) -> Option<&mut BlockTool> {
        self.0.get_mut(root)?.block_tool.as_mut()
    }

    /// The block tool was replaced in the configuration, or added or removed.
    pub(super) fn replace_block_tool(&mut self, is_configured: bool) {
        for account in self.0.values_mut() {
            let before = account.block_tool.take();
            account.block_tool = is_configured.then(|| BlockTool::replaced(before));
        }
    }

    /// Drops the block tool's answers about blocks that have ended. Returns the roots of these.
    pub(super) fn drop_ended_blocks(&mut self, now: Now) -> Vec<PathBuf> {
        let accounts = self.0.iter_mut();
        let ended = accounts.filter_map(|(root, account)| {
            account.block_tool.as_mut()?.drop_ended(now).then(|| root.clone())
        });
        ended.collect()
    }

    // ---- Snapshot and checkpoint

    /// All accounts for the snapshot, each with its config root. `is_scanned` says whether every
    /// transcript has been read.
    pub(super) fn report(
        &self,
        settings: &Settings,
        is_scanned: bool,
        now: Now,
    ) -> impl Iterator<Item = (&PathBuf, schema::Root)> {
        self.0.iter().map(move |(root, account)| {
            let usage = account.usage(settings, is_scanned, now);
            (root, schema::Root { usage, limits: account.limits.report(now) })
        })
    }

    /// Restores an account from the snapshot of an earlier process.
    pub(super) fn recall(&mut self, root: &Path, before: &schema::Root, now: Now) {
        let Some(account) = self.0.get_mut(root) else { return };
        account.limits.recall(&before.limits, now);
        account.recalled = before.usage.clone();
        // A block that a tool computed is that tool's answer. It is dropped if none is configured.
        let block = account
            .recalled
            .as_mut()
            .and_then(|usage| usage.block.take_if(|it| it.source != BlockSource::Transcripts));
        if let Some(tool) = &mut account.block_tool {
            tool.recall(block);
        }
    }

    /// Adds lines that an earlier process could not parse.
    pub(super) fn add_skipped_lines(&mut self, root: &Path, skipped_lines: u64) {
        if let Some(account) = self.0.get_mut(root) {
            account.skipped_lines += skipped_lines;
        }
    }

    /// Every time from which an age is computed, so that it can be moved if the clock is set back.
    pub(super) fn times(&mut self) -> impl Iterator<Item = &mut i64> {
        self.0.values_mut().flat_map(|account| {
            let usage = [&mut account.as_of_ms].into_iter();
            let recalled = account.recalled.as_mut().map(|usage| &mut usage.as_of_ms);
            let block = account.block_tool.as_mut().and_then(BlockTool::time);
            usage.chain(recalled).chain(block).chain(account.limits.times())
        })
    }
}

impl Account {
    /// Counts the entries of one read. Returns what is to be recorded.
    fn count(&mut self, origin: Origin, tail: &Tail) -> Vec<News> {
        let mut replies = Replies::of(origin);
        let mut news = Vec::new();
        for (offset, entry) in &tail.entries {
            let reply = replies.make(*offset, entry);
            match self.ledger.add(&reply) {
                Some(Added::Known) => {}
                Some(Added::New { instead_of_ms }) => news.push((reply, instead_of_ms)),
                // It is too old for the windows, and the record has it or will have it.
                None => news.push((reply, None)),
            }
        }
        if self.is_recorded { news } else { Vec::new() }
    }

    /// The usage for the snapshot. Until every transcript has been read, this is the usage that was
    /// published before, or `None` without one.
    fn usage(&self, settings: &Settings, is_scanned: bool, now: Now) -> Option<schema::Usage> {
        let mut usage = match is_scanned {
            true => self.counted(settings, now),
            false => self.recalled.clone()?,
        };
        if let Some(tool) = &self.block_tool {
            usage.block = tool.block(now);
        }
        let end_ms = self.limits.five_hour_end_ms(now);
        match is_scanned {
            true => usage.window = end_ms.map(|end_ms| self.window(end_ms)),
            false => usage.window = usage.window.filter(|it| Some(it.end_ms) == end_ms),
        }
        Some(usage)
    }

    /// What was used in the five-hour window that ends then.
    fn window(&self, end_ms: i64) -> schema::Window {
        let start_ms = end_ms - 5 * HOUR_MS;
        // The ledger sums up whole quarters of an hour.
        let quarter = |ms: i64| ms.div_euclid(15 * MINUTE_MS) * 15 * MINUTE_MS;
        let used = self.ledger.sum_up(quarter(start_ms)..quarter(end_ms + 15 * MINUTE_MS - 1));
        schema::Window { start_ms, end_ms, used: used.totals() }
    }

    fn counted(&self, settings: &Settings, now: Now) -> schema::Usage {
        let (zone, week_starts) = (&settings.zone, settings.week_starts);
        let mut usage = schema::Usage {
            as_of_ms: self.as_of_ms,
            day_ends_ms: day_end_ms(now, zone),
            skipped_lines: self.skipped_lines,
            ..self.ledger.usage(now.wall_ms, zone, week_starts)
        };
        if let Some(block) = &mut usage.block {
            block.as_of_ms = usage.as_of_ms;
        }
        usage
    }
}

fn empty_ledger(prices: &Prices, now: Now) -> Ledger {
    let mut ledger = Ledger::new(prices.clone());
    ledger.forget_before(now.wall_ms - REACH_MS);
    ledger
}

/// When the local day ends, in Unix milliseconds. This is not midnight where daylight saving time
/// skips midnight.
fn day_end_ms(now: Now, zone: &TimeZone) -> i64 {
    let now = Timestamp::from_millisecond(now.wall_ms).unwrap_or_default();
    let tomorrow = now.to_zoned_datetime(zone.clone()).tomorrow();
    let start = tomorrow.and_then(|day| day.start_of_day());
    start.map_or(0, |start| start.timestamp().as_millisecond())
}
