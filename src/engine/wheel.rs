//! A hierarchical timer wheel: for each connection the nearest of its
//! deadlines.
//!
//! Eight levels of 64 slots cover all of [`Instant`]. A timer sits at the level
//! of the highest six-bit digit in which its tick differs from the wheel's, so
//! lower levels always come first, and moves down as that digit is reached: at
//! most once a level. Slots are lists threaded through one vector, and a word a
//! level tells which slots are in use; no cost depends on how many timers there
//! are or how far the clock has moved.

use crate::frame::{prefer_huge_pages, prefetch};
use crate::time::Instant;

/// Nanoseconds in a tick are two to this power: 65.5 us.
const TICK_BITS: u32 = 16;
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
/// Enough digits for every tick there is: 48 bits.
const LEVELS: usize = 8;
const LAST_TICK: u64 = u64::MAX >> TICK_BITS;
/// No entry.
const NIL: u32 = u32::MAX;
/// Not in any slot.
const NOWHERE: u16 = u16::MAX;

/// There is one for every connection, so it is small.
#[derive(Clone, Copy)]
struct Entry {
    /// The tick at which it is due, and in the last 16 bits the slot that it
    /// is in: one that begins no later.
    due_and_slot: u64,
    next: u32,
    prev: u32,
}

const UNSET: Entry = Entry {
    due_and_slot: NOWHERE as u64,
    next: NIL,
    prev: NIL,
};

impl Entry {
    const fn due(&self) -> u64 {
        self.due_and_slot >> TICK_BITS
    }

    const fn slot(&self) -> u16 {
        self.due_and_slot as u16
    }

    /// `due` is at most [`LAST_TICK`].
    const fn set(&mut self, due: u64, slot: u16) {
        self.due_and_slot = due << TICK_BITS | slot as u64;
    }
}

/// At most one timer for each id.
///
/// A timer never expires before its deadline, and at most [`Wheel::TICK`] after
/// it, if [`expire`](Self::expire) is called then. Setting the timer of an id
/// allocates only when the id is larger than any before.
pub struct Wheel {
    /// The current tick; everything before it has expired.
    tick: u64,
    /// When `expire` was last called.
    now: Instant,
    entries: Vec<Entry>,
    heads: [u32; LEVELS * SLOTS],
    used: [u64; LEVELS],
    len: usize,
}

impl Wheel {
    /// Resolution of the wheel.
    pub const TICK: std::time::Duration = std::time::Duration::from_nanos(1 << TICK_BITS);

    /// A wheel without timers whose clock is at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            tick: now.as_nanos() >> TICK_BITS,
            now,
            entries: Vec::new(),
            heads: [NIL; LEVELS * SLOTS],
            used: [0; LEVELS],
            len: 0,
        }
    }

    /// Timers that are set.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets the timer of `id`, in place of the one it had. A deadline that has
    /// passed expires at the next [`expire`](Self::expire).
    ///
    /// `id` is an index: memory is used for every id up to the largest.
    pub fn set(&mut self, id: u32, deadline: Instant) {
        debug_assert_ne!(id, NIL);
        let i = id as usize;
        if i >= self.entries.len() {
            self.grow(i + 1);
        }
        let due = self.due_tick(deadline);
        let entry = &mut self.entries[i];
        let slot = entry.slot();
        entry.set(due, slot);
        if slot != NOWHERE {
            // Timers are mostly moved to later, with every acknowledgment: it
            // is enough to look again when the earlier slot is reached.
            if due >= self.start(usize::from(slot)) {
                return;
            }
            self.unlink(id);
        } else {
            self.len += 1;
        }
        self.file(id);
    }

    #[cold]
    fn grow(&mut self, len: usize) {
        if len > self.entries.capacity() {
            self.entries.reserve(len - self.entries.len());
            prefer_huge_pages(self.entries.spare_capacity_mut());
        }
        self.entries.resize(len, UNSET);
    }

    /// The timer of `id` is going to be set soon.
    #[inline]
    pub fn prefetch(&self, id: u32) {
        if let Some(entry) = self.entries.get(id as usize) {
            prefetch(entry);
        }
    }

    /// Takes the timer of `id` back, if it is set.
    pub fn cancel(&mut self, id: u32) {
        if self
            .entries
            .get(id as usize)
            .is_some_and(|e| e.slot() != NOWHERE)
        {
            self.unlink(id);
            self.len -= 1;
        }
    }

    /// Appends the ids whose deadlines have passed to `expired`, in no
    /// particular order, and takes their timers back. A `now` earlier than the
    /// one before counts as that one.
    pub fn expire(&mut self, now: Instant, expired: &mut Vec<u32>) {
        self.now = self.now.max(now);
        let target = self.now.as_nanos() >> TICK_BITS;
        while let Some((level, slot, start)) = self.first() {
            if start > target {
                break;
            }
            self.tick = start;
            let mut id = std::mem::replace(&mut self.heads[level * SLOTS + slot], NIL);
            self.used[level] &= !(1 << slot);
            while id != NIL {
                let entry = &mut self.entries[id as usize];
                let (next, due) = (entry.next, entry.due());
                entry.set(due, NOWHERE);
                if due <= target {
                    expired.push(id);
                    self.len -= 1;
                } else {
                    self.file(id);
                }
                id = next;
            }
        }
        self.tick = target;
    }

    /// When to call [`expire`](Self::expire) next; `None` without timers. May
    /// be earlier than any deadline; later than the nearest by less than
    /// [`TICK`](Self::TICK).
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.first()
            .map(|(_, _, start)| Instant::from_nanos(start << TICK_BITS))
    }

    /// The tick at which a deadline is over, not before the current one.
    fn due_tick(&self, deadline: Instant) -> u64 {
        if deadline <= self.now {
            return self.tick;
        }
        // Rounded up, without overflow.
        (((deadline.as_nanos() - 1) >> TICK_BITS) + 1).clamp(self.tick, LAST_TICK)
    }

    /// The first slot in use: level, slot, and the tick at which it begins.
    fn first(&self) -> Option<(usize, usize, u64)> {
        let level = self.used.iter().position(|&used| used != 0)?;
        let digit = self.used[level].trailing_zeros() as usize;
        Some((level, digit, self.start(level * SLOTS + digit)))
    }

    /// The tick at which a slot in use begins: its entries have the digits
    /// above it in common with the current tick.
    #[inline]
    const fn start(&self, slot: usize) -> u64 {
        let shift = (slot / SLOTS) as u32 * DIGIT_BITS;
        let above = self.tick >> (shift + DIGIT_BITS) << (shift + DIGIT_BITS);
        above | ((slot % SLOTS) as u64) << shift
    }

    /// Puts an entry that is in no slot into the one for its tick.
    fn file(&mut self, id: u32) {
        let entry = &mut self.entries[id as usize];
        let due = entry.due();
        let differs = (due ^ self.tick) | (SLOTS as u64 - 1);
        let level = (u64::BITS - 1 - differs.leading_zeros()) / DIGIT_BITS;
        let digit = (due >> (level * DIGIT_BITS)) as usize % SLOTS;
        let slot = level as usize * SLOTS + digit;
        entry.set(due, slot as u16);
        entry.prev = NIL;
        entry.next = self.heads[slot];
        let next = entry.next;
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.prev = id;
        }
        self.heads[slot] = id;
        self.used[level as usize] |= 1 << digit;
    }

    fn unlink(&mut self, id: u32) {
        let entry = &mut self.entries[id as usize];
        let (next, prev) = (entry.next, entry.prev);
        let slot = usize::from(entry.slot());
        entry.set(entry.due(), NOWHERE);
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.prev = prev;
        }
        if let Some(prev) = self.entries.get_mut(prev as usize) {
            prev.next = next;
        } else {
            self.heads[slot] = next;
            if next == NIL {
                self.used[slot / SLOTS] &= !(1 << (slot % SLOTS));
            }
        }
    }
}

impl std::fmt::Debug for Wheel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wheel")
            .field("now", &self.now)
            .field("len", &self.len)
            .field("next", &self.next_deadline())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    const NONE: [u32; 0] = [];

    fn us(n: u64) -> Instant {
        Instant::from_micros(n)
    }

    fn expire(w: &mut Wheel, now: Instant) -> Vec<u32> {
        let mut out = Vec::new();
        w.expire(now, &mut out);
        out.sort_unstable();
        out
    }

    #[test]
    fn expires_after_the_deadline_and_within_a_tick() {
        for deadline in [1, 66, 1_000, 4_200, 300_000, 20_000_000, 90_000_000_000] {
            let mut w = Wheel::new(us(7));
            w.set(3, us(deadline));
            if deadline > 8 {
                assert_eq!(expire(&mut w, us(deadline - 1)), NONE);
            }
            assert_eq!(expire(&mut w, us(deadline + 66)), [3], "{deadline} us");
            assert!(w.is_empty());
            assert_eq!(w.next_deadline(), None);
        }
    }

    #[test]
    fn a_deadline_that_has_passed_expires_at_once() {
        let mut w = Wheel::new(us(1_000));
        w.set(0, us(1_000));
        w.set(1, Instant::ZERO);
        assert!(w.next_deadline().is_some_and(|t| t <= us(1_000)));
        assert_eq!(expire(&mut w, us(1_000)), [0, 1]);
        assert_eq!(expire(&mut w, us(1_001)), NONE);
    }

    #[test]
    fn moving_and_cancelling() {
        let mut w = Wheel::new(Instant::ZERO);
        w.set(0, us(1_000));
        w.set(0, us(900_000));
        assert_eq!(w.len(), 1);
        assert_eq!(expire(&mut w, us(2_000)), NONE, "moved to later");
        assert!(w.next_deadline().is_some_and(|t| t > us(2_000)));
        w.set(0, us(5_000));
        assert_eq!(expire(&mut w, us(6_000)), [0], "moved to earlier");
        w.set(0, us(7_000));
        w.cancel(0);
        w.cancel(0);
        w.cancel(99);
        assert!(w.is_empty());
        assert_eq!(expire(&mut w, us(9_000)), NONE);
    }

    #[test]
    fn far_jumps_and_the_end_of_time() {
        let mut w = Wheel::new(Instant::ZERO);
        for id in 0..1000 {
            w.set(id, us(u64::from(id) * 1_000_000_007));
        }
        w.set(1000, Instant::FAR);
        let year = Instant::ZERO + Duration::from_secs(365 * 86_400);
        assert_eq!(expire(&mut w, year).len(), 1000);
        assert_eq!(expire(&mut w, Instant::FAR), [1000]);
        // A clock that went back counts as one that stood still.
        w.set(5, us(1));
        assert_eq!(expire(&mut w, Instant::ZERO), [5]);
    }

    #[test]
    fn wakes_at_most_once_a_level() {
        for deadline in [100u64, 10_000, 1_000_000, 3_600_000_000, 900_000_000_000] {
            let mut w = Wheel::new(us(12_345));
            w.set(0, us(12_345 + deadline));
            let mut wakes = 0;
            while let Some(next) = w.next_deadline() {
                expire(&mut w, next);
                wakes += 1;
            }
            assert!(wakes <= LEVELS, "{wakes} wakes for {deadline} us");
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Set(u32, u64),
        SetAt(u32, u64),
        Cancel(u32),
        Advance(u64),
    }

    /// Spans of every magnitude.
    fn span() -> impl Strategy<Value = u64> {
        (0u32..64, any::<u64>()).prop_map(|(bits, n)| n >> bits)
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0u32..40, span()).prop_map(|(id, t)| Op::Set(id, t)),
            1 => (0u32..40, any::<u64>()).prop_map(|(id, t)| Op::SetAt(id, t)),
            1 => (0u32..40).prop_map(Op::Cancel),
            3 => (16u32..64, any::<u64>()).prop_map(|(bits, n)| Op::Advance(n >> bits)),
            1 => span().prop_map(Op::Advance),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(start in span(), ops in prop::collection::vec(op(), 1..300)) {
            let mut now = Instant::from_nanos(start);
            let mut wheel = Wheel::new(now);
            let mut model: BTreeMap<u32, Instant> = BTreeMap::new();
            for op in ops {
                match op {
                    Op::Set(id, after) => {
                        let at = now + Duration::from_nanos(after);
                        wheel.set(id, at);
                        model.insert(id, at);
                    }
                    Op::SetAt(id, at) => {
                        wheel.set(id, Instant::from_nanos(at));
                        model.insert(id, Instant::from_nanos(at));
                    }
                    Op::Cancel(id) => {
                        wheel.cancel(id);
                        model.remove(&id);
                    }
                    Op::Advance(by) => {
                        now += Duration::from_nanos(by);
                        for id in expire(&mut wheel, now) {
                            let at = model.remove(&id);
                            // The last tick there is has no end to wait for.
                            let early = Instant::FAR - Wheel::TICK;
                            prop_assert!(at.is_some_and(|at| at <= now || at > early));
                        }
                        for at in model.values() {
                            prop_assert!(*at + Wheel::TICK > now, "{at:?} is late at {now:?}");
                        }
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                match (wheel.next_deadline(), model.values().min()) {
                    (None, None) => {}
                    (Some(next), Some(&first)) => {
                        prop_assert!(next <= now.max(first + Wheel::TICK), "{next:?} after {first:?}");
                    }
                    (next, first) => prop_assert!(false, "{next:?} against {first:?}"),
                }
            }
        }
    }
}
