//! Scanning a text that comes in pieces, so that the pieces make no difference.
//!
//! A scanner is asked at one place of the text after the other. It may look back at what has gone out and ahead at no
//! more than [`WINDOW`] characters; where it needs one that has not come yet, it is asked again later. Its verdict on a
//! place is thus the same whatever the pieces are, and so is all that goes out.

use super::escape::{self, Escape};
use super::glyph::{Glyph, reading};

/// The most characters that one rule holds back, and the longest text that it can find.
pub const WINDOW: usize = 256;

/// How many characters of what has gone out a scanner can look back at.
const BACK: usize = 96;

/// The text that a scanner needs has not come yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct More;

/// What a scanner says of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing begins here; so many glyphs, at least one, are settled.
    Pass(usize),
    /// So many glyphs, at least one, are what it looks for.
    Found(usize, Finding),
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// What takes its place.
    pub(super) replacement: String,
    /// What it is, in words.
    pub(super) what: String,
}

/// Looks for something at one place of a text.
pub(super) trait Scanner: Send + Sync {
    /// What there is at the beginning of `ahead`.
    ///
    /// # Errors
    /// [`More`] when that depends on text that has not come yet.
    fn scan(&self, ahead: Ahead<'_>) -> Result<Verdict, More>;
}

/// The text from one place on, and what has gone out before it.
#[derive(Clone, Copy)]
pub(super) struct Ahead<'a> {
    glyphs: &'a [Glyph],
    /// Where the window ends.
    end_place: usize,
    /// Whether more glyphs of this window may come.
    open: bool,
    back: &'a [char],
    offset: usize,
}

impl<'a> Ahead<'a> {
    /// How the glyph so many places ahead reads; none: the text or the window ends before it.
    pub(super) fn at(&self, index: usize) -> Result<Option<char>, More> {
        #[cfg(test)]
        work::count();
        match self.glyphs.get(self.offset + index) {
            Some(glyph) if glyph.place < self.end_place => Ok(Some(glyph.reads)),
            Some(_) => Ok(None),
            None if self.open => Err(More),
            None => Ok(None),
        }
    }

    /// The same text so many glyphs further on.
    pub(super) fn skip(&self, count: usize) -> Self {
        Self { offset: self.offset + count, ..*self }
    }

    /// The glyphs that have gone out, the last one last.
    pub(super) fn back(&self) -> &'a [char] {
        self.back
    }

    /// The glyph before the place.
    pub(super) fn before(&self) -> Option<char> {
        match self.offset.checked_sub(1) {
            Some(index) => self.glyphs.get(index).map(|glyph| glyph.reads),
            None => self.back.last().copied(),
        }
    }
}

/// What a stage has made of a piece of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    /// What goes out.
    pub(super) text: String,
    /// What was found, each thing once.
    pub(super) found: Vec<String>,
}

impl Passed {
    pub(super) fn note(&mut self, what: String) {
        if !self.found.contains(&what) {
            self.found.push(what);
        }
    }
}

/// What to do with a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnFound {
    /// Its replacement goes out.
    Replace,
    /// It goes out as it is.
    Keep,
    /// Neither it nor anything after it goes out.
    Stop,
}

/// A text under way through a scanner.
#[derive(Default)]
pub(super) struct Stage {
    /// What has come and not gone out.
    pending: String,
    glyphs: Vec<Glyph>,
    /// Where in `pending` an escape begins that is not whole.
    begun: Option<usize>,
    /// Characters of the whole text so far.
    places: usize,
    back: Vec<char>,
    stopped: bool,
}

impl Stage {
    /// Takes a piece in and gives what can go out. `last`: nothing more will come.
    pub(super) fn feed(&mut self, scanner: &dyn Scanner, piece: &str, on: OnFound, last: bool) -> Passed {
        self.take_in(piece, last);
        let mut passed = Passed::default();
        let (mut next, mut out) = (0, 0);
        while !self.stopped && next < self.glyphs.len() {
            let ahead = self.ahead(next, last);
            let Ok(verdict) = scanner.scan(ahead) else { break };
            let (count, finding) = match verdict {
                Verdict::Pass(count) => (count, None),
                Verdict::Found(count, finding) => (count, Some(finding)),
            };
            let end = (next + count.max(1)).min(self.glyphs.len());
            let start_byte = self.glyphs.get(next).map_or(out, |glyph| glyph.start);
            let end_byte = self.glyphs.get(end - 1).map_or(out, |glyph| glyph.end);
            // Invisible characters in front of it.
            passed.text.push_str(self.written(out, start_byte));
            match finding {
                Some(finding) => {
                    match on {
                        OnFound::Replace => {
                            passed.text.push_str(&finding.replacement);
                            remember(&mut self.back, finding.replacement.chars().filter_map(reading));
                        }
                        OnFound::Keep => self.keep(next, end, (start_byte, end_byte), &mut passed.text),
                        OnFound::Stop => self.stopped = true,
                    }
                    passed.note(finding.what);
                }
                None => self.keep(next, end, (start_byte, end_byte), &mut passed.text),
            }
            (next, out) = (end, end_byte);
        }
        if self.stopped {
            *self = Self { stopped: true, ..Self::default() };
            return passed;
        }
        // Invisible characters behind the last one that is settled.
        if last || next == self.glyphs.len() {
            let end = self.begun.unwrap_or(self.pending.len());
            passed.text.push_str(self.written(out, end));
            out = end;
        }
        self.forget(next, out);
        passed
    }

    fn take_in(&mut self, piece: &str, last: bool) {
        if self.stopped {
            return;
        }
        for written in piece.chars() {
            let start = self.pending.len();
            self.pending.push(written);
            self.places += 1;
            match self.begun {
                None => self.read(written, start),
                Some(begun) => match escape::read(self.written(begun, self.pending.len())) {
                    Escape::Begun => {}
                    Escape::Whole(character) => {
                        self.begun = None;
                        self.add(character, begun, self.pending.len());
                    }
                    Escape::No => {
                        self.spell_out(begun, start);
                        self.read(written, start);
                    }
                },
            }
        }
        if let Some(begun) = self.begun.filter(|_| last) {
            self.spell_out(begun, self.pending.len());
        }
    }

    /// Takes in the newest character, which belongs to no escape before it.
    fn read(&mut self, written: char, start: usize) {
        if written == '\\' {
            self.begun = Some(start);
        } else {
            self.add(written, start, self.pending.len());
        }
    }

    /// Takes in what looked like an escape as the characters that it is.
    fn spell_out(&mut self, begun: usize, end: usize) {
        self.begun = None;
        for (offset, written) in self.written(begun, end).to_owned().char_indices() {
            let start = begun + offset;
            self.add(written, start, start + written.len_utf8());
        }
    }

    fn add(&mut self, character: char, start: usize, end: usize) {
        if let Some(reads) = reading(character) {
            let place = self.places - self.pending.get(start..).unwrap_or_default().chars().count();
            self.glyphs.push(Glyph { reads, start, end, place });
        }
    }

    fn ahead(&self, next: usize, last: bool) -> Ahead<'_> {
        let glyphs = self.glyphs.get(next..).unwrap_or_default();
        let end_place = glyphs.first().map_or(self.places, |glyph| glyph.place) + WINDOW;
        // Of an escape that is not whole nothing is known.
        let unread = self.begun.map_or(0, |begun| self.written(begun, self.pending.len()).len());
        Ahead { glyphs, end_place, open: !last && self.places - unread < end_place, back: self.back(), offset: 0 }
    }

    fn back(&self) -> &[char] {
        self.back.get(self.back.len().saturating_sub(BACK)..).unwrap_or_default()
    }

    fn written(&self, start: usize, end: usize) -> &str {
        self.pending.get(start..end).unwrap_or_default()
    }

    fn keep(&mut self, next: usize, end: usize, (start_byte, end_byte): (usize, usize), text: &mut String) {
        text.push_str(self.written(start_byte, end_byte));
        let glyphs = self.glyphs.get(next..end).unwrap_or_default();
        remember(&mut self.back, glyphs.iter().map(|glyph| glyph.reads));
    }

    /// Lets go of what has gone out.
    fn forget(&mut self, glyphs: usize, bytes: usize) {
        self.pending.drain(..bytes);
        self.glyphs.drain(..glyphs);
        self.begun = self.begun.map(|begun| begun - bytes);
        for glyph in &mut self.glyphs {
            glyph.start -= bytes;
            glyph.end -= bytes;
        }
    }
}

fn remember(back: &mut Vec<char>, gone: impl Iterator<Item = char>) {
    back.extend(gone);
    if back.len() > 4 * BACK {
        back.drain(..back.len() - BACK);
    }
}

#[cfg(test)]
pub(super) mod work {
    //! Counts how often scanners look at a glyph: a bound on time that no machine's speed changes.

    use std::cell::Cell;

    std::thread_local! {
        static LOOKS: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn count() {
        LOOKS.with(|looks| looks.set(looks.get() + 1));
    }

    /// The looks that `run` takes.
    pub(in crate::guardrail) fn of(run: impl FnOnce()) -> u64 {
        let before = LOOKS.with(Cell::get);
        run();
        LOOKS.with(Cell::get) - before
    }
}
