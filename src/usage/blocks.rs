//! PURE. Quarter-hours, and the five-hour blocks that they form.
//!
//! In every time zone days begin on a quarter-hour, and blocks begin on an hour. So sums per
//! quarter-hour suffice for every window. Only where a block begins and ends are the times of
//! single entries needed.
//!
//! **Invariant:** the cost of finding the active block is bounded by the number of quarter-hours in
//! 35 days, however many entries there are.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::store::schema::{Block, Burn, Projection};
use crate::time::{HOUR_MS, MINUTE_MS};
use crate::usage::sums::Sums;

const QUARTER_MS: i64 = 15 * MINUTE_MS;
const BLOCK_MS: i64 = 5 * HOUR_MS;

/// The first millisecond of a quarter-hour, or the rest of it.
///
/// An entry exactly at the end of a block belongs to the block, one exactly at the end of a day
/// does not belong to the day. So the first millisecond has a slot of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotKey(i64);

impl SlotKey {
    /// The slot that holds this time.
    pub fn of(at_ms: i64) -> SlotKey {
        let on_the_stroke = at_ms.rem_euclid(QUARTER_MS) == 0;
        SlotKey(2 * at_ms.div_euclid(QUARTER_MS) + i64::from(!on_the_stroke))
    }

    /// When its quarter of an hour begins, in Unix milliseconds.
    pub fn quarter_ms(self) -> i64 {
        self.0.div_euclid(2) * QUARTER_MS
    }

    /// The slots of `span`, whose bounds must lie on quarter-hours.
    pub fn range(span: Range<i64>) -> Range<SlotKey> {
        SlotKey::of(span.start)..SlotKey::of(span.end)
    }
}

/// The entries of one slot.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    pub sums: Sums,
    /// Milliseconds into the quarter-hour, in ascending order, and the number of entries at each.
    times: Vec<(u32, u32)>,
}

/// All slots that have entries.
pub type Slots = BTreeMap<SlotKey, Slot>;

/// Adds an entry.
pub fn insert(slots: &mut Slots, at_ms: i64, sums: &Sums) {
    let slot = slots.entry(SlotKey::of(at_ms)).or_default();
    slot.sums += sums;
    match slot.find(at_ms) {
        Ok(index) => slot.times[index].1 += 1,
        Err(index) => slot.times.insert(index, (into_quarter(at_ms), 1)),
    }
}

/// Takes away an entry that [`insert`] added with the same arguments.
pub fn remove(slots: &mut Slots, at_ms: i64, sums: &Sums) {
    let key = SlotKey::of(at_ms);
    let Some(slot) = slots.get_mut(&key) else { return };
    slot.sums -= sums;
    if let Ok(index) = slot.find(at_ms) {
        slot.times[index].1 -= 1;
        if slot.times[index].1 == 0 {
            slot.times.remove(index);
        }
    }
    if slot.times.is_empty() {
        slots.remove(&key);
    }
}

fn into_quarter(at_ms: i64) -> u32 {
    at_ms.rem_euclid(QUARTER_MS) as u32
}

/// A block: which slots it has, and its bounds in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub start_ms: i64,
    /// The times of its first entry and of its last one.
    pub first_ms: i64,
    pub last_ms: i64,
    first: SlotKey,
    last: SlotKey,
}

impl Stretch {
    /// The first millisecond that does not belong to it, but for an entry exactly then.
    pub fn end_ms(&self) -> i64 {
        self.start_ms + BLOCK_MS
    }

    /// Whether it is open at `now_ms`: it has not ended, and its last entry is not five hours old.
    pub fn is_active(&self, now_ms: i64) -> bool {
        now_ms - self.last_ms < BLOCK_MS && now_ms < self.end_ms()
    }

    /// The time without entries between this block and the next, if it is longer than a block: from
    /// five hours after the last entry to the next entry.
    pub fn gap_before(&self, next: &Stretch) -> Option<Range<i64>> {
        let is_gap = next.first_ms - self.last_ms > BLOCK_MS;
        is_gap.then(|| self.last_ms + BLOCK_MS..next.first_ms)
    }

    /// At what rate it was used, and what it comes to at its end at this rate.
    pub fn rates(&self, cost_usd: f64, n_tokens: u64, now_ms: i64) -> Rates {
        let span_ms = self.last_ms - self.first_ms;
        let n_tokens = n_tokens as f64;
        // Over a shorter span the rate would be meaningless.
        let burn = (span_ms >= MINUTE_MS).then(|| Burn {
            cost_per_hour: cost_usd / (span_ms as f64 / HOUR_MS as f64),
            tokens_per_minute: n_tokens / (span_ms as f64 / MINUTE_MS as f64),
        });
        let left_ms = (self.end_ms() - now_ms).max(0) as f64;
        let projection = burn.as_ref().map(|burn| Projection {
            cost_usd: cost_usd + burn.cost_per_hour * left_ms / HOUR_MS as f64,
            tokens: (n_tokens + burn.tokens_per_minute * left_ms / MINUTE_MS as f64).round() as u64,
        });
        Rates { burn, projection }
    }
}

/// At what rate a block was used, and what it comes to; `None` for a block that is too young.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    pub burn: Option<Burn>,
    pub projection: Option<Projection>,
}

/// The blocks that slots form. Each item is a slot with the times of its first entry and its last
/// one, in ascending order.
///
/// A block begins with the hour of its first entry. The next block begins with the first entry that
/// is more than five hours after that hour. (An entry more than five hours after the one before it
/// always is.)
pub fn split(slots: impl IntoIterator<Item = (SlotKey, i64, i64)>) -> Vec<Stretch> {
    let mut blocks: Vec<Stretch> = Vec::new();
    for (key, first_ms, last_ms) in slots {
        match blocks.last_mut() {
            Some(block) if first_ms - block.start_ms <= BLOCK_MS => {
                (block.last, block.last_ms) = (key, last_ms);
            }
            _ => {
                let start_ms = first_ms - first_ms.rem_euclid(HOUR_MS);
                blocks.push(Stretch { start_ms, first_ms, last_ms, first: key, last: key });
            }
        }
    }
    blocks
}

/// The block that is open at `now_ms`; `None` without an entry in the last five hours.
pub fn active(slots: &Slots, now_ms: i64) -> Option<Block> {
    // An entry that a clock far ahead has dated must not hide the block that is open now.
    let known = || slots.range(..=SlotKey::of(now_ms + BLOCK_MS));
    let mut chain_start = SlotKey::of(now_ms);
    let mut next_ms = None;
    for (key, slot) in known().rev() {
        if next_ms.is_some_and(|next_ms: i64| next_ms - slot.last_ms(*key) > BLOCK_MS) {
            break;
        }
        (chain_start, next_ms) = (*key, Some(slot.first_ms(*key)));
    }
    let chain = known().skip_while(|(key, _)| **key < chain_start);
    let blocks = split(chain.map(|(key, slot)| (*key, slot.first_ms(*key), slot.last_ms(*key))));
    let block = blocks.into_iter().rfind(|it| it.start_ms <= now_ms)?;
    block.is_active(now_ms).then(|| sum_up(slots, &block, now_ms))
}

fn sum_up(slots: &Slots, block: &Stretch, now_ms: i64) -> Block {
    let mut sums = Sums::default();
    for (_, slot) in slots.range(block.first..=block.last) {
        sums += &slot.sums;
    }
    let totals = sums.totals();
    let Rates { burn, projection } = block.rates(totals.cost_usd, sums.tokens(), now_ms);
    Block {
        start_ms: block.start_ms,
        end_ms: block.end_ms(),
        last_entry_ms: block.last_ms,
        entries: sums.n_entries,
        tokens: totals.tokens,
        cost_usd: totals.cost_usd,
        unpriced: totals.unpriced,
        burn,
        projection,
        ..Block::default()
    }
}

impl Slot {
    fn find(&self, at_ms: i64) -> Result<usize, usize> {
        self.times.binary_search_by_key(&into_quarter(at_ms), |(time, _)| *time)
    }

    fn first_ms(&self, key: SlotKey) -> i64 {
        let (time, _) = self.times.first().expect("empty slots are removed");
        key.quarter_ms() + i64::from(*time)
    }

    fn last_ms(&self, key: SlotKey) -> i64 {
        let (time, _) = self.times.last().expect("empty slots are removed");
        key.quarter_ms() + i64::from(*time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: i64 = HOUR_MS;
    const M: i64 = MINUTE_MS;

    /// An entry of one dollar and one token at each of these times.
    fn slots(times: &[i64]) -> Slots {
        let mut slots = Slots::new();
        for at_ms in times {
            insert(&mut slots, *at_ms, &one());
        }
        slots
    }

    fn one() -> Sums {
        Sums { n_entries: 1, output: 1, picodollars: 1_000_000_000_000, ..Sums::default() }
    }

    #[track_caller]
    fn check_block(times: &[i64], now_ms: i64, expected: Option<(i64, u64)>) {
        let block = active(&slots(times), now_ms).map(|it| (it.start_ms, it.entries));
        assert_eq!(block, expected);
    }

    #[test]
    fn a_block_starts_with_its_first_entrys_hour() {
        check_block(&[10 * H + 59 * M], 11 * H, Some((10 * H, 1)));
        check_block(&[10 * H], 10 * H, Some((10 * H, 1)));
    }

    #[test]
    fn an_entry_exactly_at_the_end_of_a_block_belongs_to_it() {
        check_block(&[10 * H + M, 15 * H], 15 * H, None);
        check_block(&[10 * H + M, 15 * H, 15 * H + 1], 15 * H + 1, Some((15 * H, 1)));
        check_block(&[10 * H + M, 15 * H], 15 * H - 1, Some((10 * H, 2)));
    }

    #[test]
    fn a_block_is_over_after_five_hours() {
        check_block(&[10 * H + M, 14 * H], 15 * H - 1, Some((10 * H, 2)));
        check_block(&[10 * H + M, 14 * H], 15 * H, None);
    }

    #[test]
    fn blocks_follow_each_other_without_a_gap() {
        let times: Vec<i64> = (0..100).map(|it| it * 30 * M + 1).collect();
        check_block(&times, 49 * H + 31 * M, Some((45 * H, 10)));
    }

    #[test]
    fn a_gap_of_more_than_five_hours_starts_a_new_block() {
        check_block(&[H + 30 * M, 6 * H + 30 * M], 7 * H, Some((6 * H, 1)));
        check_block(&[H, 2 * H, 8 * H + 40 * M], 9 * H, Some((8 * H, 1)));
    }

    #[test]
    fn an_entry_from_the_future_does_not_hide_the_active_block() {
        check_block(&[10 * H, 900 * H], 11 * H, Some((10 * H, 1)));
    }

    #[test]
    fn all_blocks_and_the_gaps_between_them_are_found() {
        let slots = slots(&[10 * H + M, 14 * H, 15 * H + 1, 20 * H + 1, 25 * H + 2]);
        let blocks =
            split(slots.iter().map(|(key, it)| (*key, it.first_ms(*key), it.last_ms(*key))));
        let bounds: Vec<_> =
            blocks.iter().map(|it| (it.start_ms, it.first_ms, it.last_ms)).collect();
        assert_eq!(
            bounds,
            [
                (10 * H, 10 * H + M, 14 * H),
                (15 * H, 15 * H + 1, 15 * H + 1),
                (20 * H, 20 * H + 1, 20 * H + 1),
                (25 * H, 25 * H + 2, 25 * H + 2),
            ]
        );
        let gaps: Vec<_> = blocks.windows(2).map(|it| it[0].gap_before(&it[1])).collect();
        assert_eq!(gaps, [None, None, Some(25 * H + 1..25 * H + 2)]);
    }

    #[test]
    fn without_entries_there_is_no_block() {
        check_block(&[], 10 * H, None);
    }

    #[test]
    fn a_block_of_less_than_a_minute_has_no_rate() {
        let burn = |times: &[i64]| active(&slots(times), 11 * H).and_then(|it| it.burn);
        assert_eq!(burn(&[10 * H]), None);
        assert_eq!(burn(&[10 * H, 10 * H + M - 1]), None);
        let per_minute = Burn { cost_per_hour: 120.0, tokens_per_minute: 2.0 };
        assert_eq!(burn(&[10 * H, 10 * H + M]), Some(per_minute));
    }

    #[test]
    fn a_projection_assumes_the_same_rate_until_the_end() {
        let block = active(&slots(&[10 * H, 11 * H]), 12 * H).expect("is active");
        assert_eq!(block.projection, Some(Projection { cost_usd: 8.0, tokens: 8 }));
    }

    #[test]
    fn an_entry_that_is_taken_away_leaves_nothing_behind() {
        let mut slots = slots(&[H, H, H + 1]);
        for at_ms in [H, H + 1, H] {
            remove(&mut slots, at_ms, &one());
        }
        assert!(slots.is_empty());
    }
}
