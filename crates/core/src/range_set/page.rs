//! A page of a set: one bit for each of its offsets.

use std::ops::Range;

/// Offsets in a page.
pub(super) const PAGE: u64 = 4096;

const WORD_BITS: u64 = 64;
const WORDS: usize = (PAGE / WORD_BITS) as usize;

#[derive(Debug, Clone)]
pub(super) struct Page {
    words: Box<[u64; WORDS]>,
    count: u64,
}

impl Default for Page {
    fn default() -> Page {
        Page { words: Box::new([0; WORDS]), count: 0 }
    }
}

impl Page {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.count == PAGE
    }

    pub(super) fn contains(&self, offset: u64) -> bool {
        let (word, bit) = place(offset);
        self.words[word] & (1 << bit) != 0
    }

    /// Says how many were not there before.
    pub(super) fn insert(&mut self, offsets: Range<u64>) -> u64 {
        let mut added = 0;
        for_each_word(offsets, |word, mask| {
            added += u64::from((mask & !self.words[word]).count_ones());
            self.words[word] |= mask;
        });
        self.count += added;
        added
    }

    pub(super) fn remove(&mut self, offset: u64) -> bool {
        self.remove_range(offset..offset + 1) == 1
    }

    /// Says how many were there.
    pub(super) fn remove_range(&mut self, offsets: Range<u64>) -> u64 {
        let mut removed = 0;
        for_each_word(offsets, |word, mask| {
            removed += u64::from((mask & self.words[word]).count_ones());
            self.words[word] &= !mask;
        });
        self.count -= removed;
        removed
    }

    /// The lowest offset that is not below `offset`; this page has that number.
    pub(super) fn next_from(&self, number: u64, offset: u64) -> Option<u64> {
        self.find(number, offset, |word| word)
    }

    /// Where the run ends that this offset of the page is in, at the end of the page at most.
    pub(super) fn end_of_run(&self, offset: u64) -> u64 {
        let number = offset / PAGE;
        self.find(number, offset, |word| !word).unwrap_or((number + 1) * PAGE)
    }

    /// The first bit from there on that is set in what `view` makes of the words.
    fn find(&self, number: u64, offset: u64, view: impl Fn(u64) -> u64) -> Option<u64> {
        let start = number * PAGE;
        let (first, bit) = if offset > start { place(offset) } else { (0, 0) };
        let mut mask = u64::MAX << bit;
        for word in first..WORDS {
            let bits = view(self.words[word]) & mask;
            if bits != 0 {
                return Some(start + word as u64 * WORD_BITS + u64::from(bits.trailing_zeros()));
            }
            mask = u64::MAX;
        }
        None
    }
}

fn place(offset: u64) -> (usize, u64) {
    ((offset % PAGE / WORD_BITS) as usize, offset % WORD_BITS)
}

/// Offsets of one page, as masks of its words.
fn for_each_word(offsets: Range<u64>, mut each: impl FnMut(usize, u64)) {
    let mut from = offsets.start;
    while from < offsets.end {
        let (word, bit) = place(from);
        let bits = (WORD_BITS - bit).min(offsets.end - from);
        each(word, (u64::MAX >> (WORD_BITS - bits)) << bit);
        from += bits;
    }
}
