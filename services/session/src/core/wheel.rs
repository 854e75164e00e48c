//! Timers for many things at once: a hierarchical timer wheel (Varghese and Lauck, 1987, scheme 7).
//!
//! Owns: a value and a deadline for each timer. Inputs: timers, and the time. Effects: the values whose time has come.
//! Invariants: no value is given before its deadline, and each once, unless its timer was cancelled; setting and cancelling
//! take constant time, giving takes a constant number of steps for each value, and looking for what is due does not depend
//! on how many timers there are. [`Wheel::expire`] does no more steps than it is allowed, so that ten thousand timers that
//! are due at once hold nobody up.
//!
//! Level `n` has 64 slots of 64^n ms. A timer lies on the level of the highest digit, to the base 64, in which its deadline
//! differs from the time that the wheel has reached; whenever that time enters a slot of a higher level, its timers are
//! moved down, step by step. The slots are lists through one array.

#[cfg(test)]
mod tests;

/// Slots of a level, as a power of two.
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
/// 64^7 ms are 139 years.
const LEVELS: usize = 7;
/// Deadlines after this are taken for this.
const FARTHEST: u64 = (1 << (BITS * LEVELS as u32)) - 1;
/// Timers whose memory is kept when none is set.
const KEPT: usize = 1024;
/// No timer.
const NONE: u32 = u32::MAX;

/// A timer that was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerId {
    index: u32,
    /// No two timers of a wheel have the same.
    number: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    /// Up to where time has come, in milliseconds since `origin`.
    elapsed: u64,
    origin: u64,
    timers: Vec<Timer<T>>,
    /// The first of the timers that are not in use.
    free: u32,
    len: usize,
    /// Of the newest timer.
    number: u64,
    levels: [Level; LEVELS],
    /// A slot whose timers are being moved down.
    lowering: Option<(usize, usize)>,
}

#[derive(Debug)]
struct Timer<T> {
    value: Option<T>,
    deadline: u64,
    number: u64,
    /// In which list, as a level and a slot.
    place: (u8, u8),
    before: u32,
    after: u32,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    /// A bit for each slot that is not empty.
    occupied: u64,
    heads: [u32; SLOTS],
}

impl Level {
    const EMPTY: Self = Self {
        occupied: 0,
        heads: [NONE; SLOTS],
    };
}

impl<T> Wheel<T> {
    /// No timers. Times are milliseconds since whenever the caller likes.
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            elapsed: 0,
            origin: now_ms,
            timers: Vec::new(),
            free: NONE,
            len: 0,
            number: 0,
            levels: [Level::EMPTY; LEVELS],
            lowering: None,
        }
    }

    /// Timers that are set.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Sets a timer.
    pub(crate) fn set(&mut self, deadline_ms: u64, value: T) -> TimerId {
        self.number += 1;
        let timer = Timer {
            value: Some(value),
            deadline: self.clamp(deadline_ms),
            number: self.number,
            place: (0, 0),
            before: NONE,
            after: NONE,
        };
        let index = match self.timers.get_mut(self.free as usize) {
            Some(unused) => {
                let index = self.free;
                self.free = unused.after;
                *unused = timer;
                index
            }
            None => {
                self.timers.push(timer);
                (self.timers.len() - 1) as u32
            }
        };
        self.len += 1;
        self.link(index);
        TimerId {
            index,
            number: self.number,
        }
    }

    /// Takes a timer away, unless its value was given.
    pub(crate) fn cancel(&mut self, id: TimerId) -> Option<T> {
        if !self.is_set(id) {
            return None;
        }
        self.unlink(id.index);
        self.release(id.index)
    }

    /// Moves a timer, unless its value was given: whether it was moved.
    pub(crate) fn postpone(&mut self, id: TimerId, deadline_ms: u64) -> bool {
        if !self.is_set(id) {
            return false;
        }
        let deadline = self.clamp(deadline_ms);
        self.unlink(id.index);
        self.timers[id.index as usize].deadline = deadline;
        self.link(id.index);
        true
    }

    /// When a timer is due, unless its value was given.
    pub(crate) fn deadline_ms(&self, id: TimerId) -> Option<u64> {
        self.is_set(id)
            .then(|| self.origin.saturating_add(self.timers[id.index as usize].deadline))
    }

    fn is_set(&self, id: TimerId) -> bool {
        let timer = self.timers.get(id.index as usize);
        timer.is_some_and(|timer| timer.number == id.number && timer.value.is_some())
    }

    /// A time until which nothing is due; `None` when there are no timers. At that time something is due, or timers must be
    /// moved: call [`Self::expire`].
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.next_slot().map(|(_, _, start)| self.origin.saturating_add(start))
    }

    /// Takes out what is due, doing at most so many steps: moving a timer to a lower level is a step, and so is giving its
    /// value. `true` when it has to be called again because they were used up.
    pub(crate) fn expire(&mut self, now_ms: u64, steps: usize, due: &mut Vec<T>) -> bool {
        let now = now_ms.saturating_sub(self.origin).min(FARTHEST);
        for _ in 0..steps {
            let Some((level, slot, start)) = self.next_slot() else {
                self.elapsed = self.elapsed.max(now);
                return false;
            };
            if start > now {
                self.elapsed = self.elapsed.max(now);
                return false;
            }
            self.elapsed = self.elapsed.max(start);
            let index = self.levels[level].heads[slot];
            self.unlink(index);
            if level == 0 {
                due.extend(self.release(index));
            } else {
                let rest = self.levels[level].heads[slot] != NONE;
                self.lowering = rest.then_some((level, slot));
                self.link(index);
            }
        }
        self.next_slot().is_some_and(|(_, _, start)| start <= now)
    }

    /// Takes out everything, due or not. Time stays where it is.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        let timers = std::mem::take(&mut self.timers);
        for level in &mut self.levels {
            *level = Level::EMPTY;
        }
        self.free = NONE;
        self.len = 0;
        self.lowering = None;
        timers.into_iter().filter_map(|timer| timer.value).collect()
    }

    fn clamp(&self, deadline_ms: u64) -> u64 {
        deadline_ms.saturating_sub(self.origin).clamp(self.elapsed, FARTHEST)
    }

    /// The slot that comes next, and when it begins. What is being moved down comes before all else.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        if let Some((level, slot)) = self.lowering {
            return Some((level, slot, self.elapsed));
        }
        // What lies on a lower level is earlier than anything on a higher one.
        let level = self.levels.iter().position(|level| level.occupied != 0)?;
        let shift = BITS * level as u32;
        // Slots before that of the present are empty: their time was in the past.
        let slot = self.levels[level].occupied.trailing_zeros() as usize;
        let above = self.elapsed >> (shift + BITS) << (shift + BITS);
        let start = above | (slot as u64) << shift;
        Some((level, slot, start.max(self.elapsed)))
    }

    fn link(&mut self, index: u32) {
        let deadline = self.timers[index as usize].deadline;
        let differs = (deadline ^ self.elapsed) | 1;
        let level = ((63 - differs.leading_zeros()) / BITS) as usize;
        let slot = (deadline >> (BITS * level as u32)) as usize % SLOTS;
        let head = self.levels[level].heads[slot];
        let timer = &mut self.timers[index as usize];
        timer.place = (level as u8, slot as u8);
        timer.before = NONE;
        timer.after = head;
        if let Some(next) = self.timers.get_mut(head as usize) {
            next.before = index;
        }
        self.levels[level].heads[slot] = index;
        self.levels[level].occupied |= 1 << slot;
    }

    fn unlink(&mut self, index: u32) {
        let Timer {
            place: (level, slot),
            before,
            after,
            ..
        } = self.timers[index as usize];
        let (level, slot) = (usize::from(level), usize::from(slot));
        if let Some(next) = self.timers.get_mut(after as usize) {
            next.before = before;
        }
        match self.timers.get_mut(before as usize) {
            Some(previous) => previous.after = after,
            None => {
                self.levels[level].heads[slot] = after;
                if after == NONE {
                    self.levels[level].occupied &= !(1 << slot);
                    if self.lowering == Some((level, slot)) {
                        self.lowering = None;
                    }
                }
            }
        }
    }

    fn release(&mut self, index: u32) -> Option<T> {
        let timer = &mut self.timers[index as usize];
        let value = timer.value.take();
        timer.after = self.free;
        self.free = index;
        self.len -= 1;
        if self.len == 0 && self.timers.len() > KEPT {
            // A burst does not hold memory for ever.
            self.timers = Vec::new();
            self.free = NONE;
        }
        value
    }
}
