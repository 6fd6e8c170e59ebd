//! Scanning a text that comes in pieces, so that the pieces make no difference.
//!
//! A scanner is asked at one place of the text after the other. It may look back at what has gone out and ahead at no
//! more than [`WINDOW`] characters; where it needs one that has not come yet, it is asked again later. Its verdict on a
//! place is thus the same whatever the pieces are, and so is all that goes out.
//!
//! What is found becomes a placeholder, and a verdict on a place before it stands only if it has not looked that far:
//! `2001:db8::` is no address in `2001:db8::1ada@example.com` until the mail address is gone. Such places are held back
//! and gone over again, with the finding as the end of the text, so that the text that has gone out holds nothing any
//! more that would be found in it.

use std::cell::Cell;

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

    /// Whether a placeholder can make a finding of what stands before it. To such a scanner a placeholder must be the
    /// same as the end of the text.
    fn goes_back(&self) -> bool {
        false
    }
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
    /// The furthest glyph that was looked at.
    reach: &'a Cell<usize>,
}

impl<'a> Ahead<'a> {
    /// How the glyph so many places ahead reads; none: the text or the window ends before it.
    pub(super) fn at(&self, index: usize) -> Result<Option<char>, More> {
        #[cfg(test)]
        work::count();
        self.reach.set(self.reach.get().max(self.offset + index));
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

    /// The glyphs before the text as they go out, the last one last.
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

/// How a text is gone through.
#[derive(Clone, Copy)]
struct Way<'a> {
    scanner: &'a dyn Scanner,
    on: OnFound,
    /// Nothing more will come.
    last: bool,
    /// The glyph that begins a finding, where what stands before that is gone over again.
    end: Option<usize>,
}

/// A verdict that nothing begins at a place.
#[derive(Clone, Copy)]
struct Step {
    /// The glyph of the place.
    at: usize,
    /// The furthest glyph that the verdict has looked at.
    reach: usize,
}

/// A text under way through a scanner.
#[derive(Default)]
pub(super) struct Stage {
    /// What has come and not gone out.
    pending: String,
    glyphs: Vec<Glyph>,
    /// Where in `pending` an escape begins that is not whole.
    begun: Option<usize>,
    /// The glyph that is looked at next.
    next: usize,
    /// The verdicts since the last finding, so far as they can still fall.
    steps: Vec<Step>,
    /// How much of `pending` has gone out.
    out: usize,
    /// Characters of the whole text so far.
    places: usize,
    /// How what stands before `next` reads once it has gone out.
    back: Vec<char>,
    stopped: bool,
    /// With so many characters of the whole text it is gone on.
    again_at: usize,
}

/// What waits is gone over again when it has grown by such a share of itself: looking at it with each character anew
/// would cost its length each time.
const GROWN_BY: usize = 8;

impl Stage {
    /// Takes a piece in and gives what can go out. `last`: nothing more will come.
    pub(super) fn feed(&mut self, scanner: &dyn Scanner, piece: &str, on: OnFound, last: bool) -> Passed {
        self.take_in(piece, last);
        let mut passed = Passed::default();
        if !last && self.places < self.again_at {
            return passed;
        }
        self.walk(Way { scanner, on, last, end: None }, &mut passed);
        if self.stopped {
            *self = Self { stopped: true, ..Self::default() };
            return passed;
        }
        let held = if last { self.glyphs.len() } else { self.held() };
        let end_byte =
            self.glyphs.get(held).map_or_else(|| self.begun.unwrap_or(self.pending.len()), |glyph| glyph.start);
        passed.text.push_str(self.written(self.out, end_byte));
        self.forget(held, end_byte);
        let waited = self.places - self.place(self.next);
        // Never more is held back than the window.
        self.again_at = (self.places + waited / GROWN_BY).min(self.place(0) + WINDOW);
        passed
    }

    /// Begins with another text.
    pub(super) fn begin_anew(&mut self) {
        let Self { pending, glyphs, begun, next, steps, out, places, back, stopped, again_at } = self;
        pending.clear();
        glyphs.clear();
        steps.clear();
        back.clear();
        (*begun, *stopped) = (None, false);
        (*next, *out, *places, *again_at) = (0, 0, 0, 0);
    }

    /// Goes on as far as the text that has come allows.
    fn walk(&mut self, way: Way<'_>, passed: &mut Passed) {
        while !self.stopped && self.next < way.end.unwrap_or(self.glyphs.len()) {
            let (start, reach) = (self.next, Cell::new(0));
            let Ok(verdict) = way.scanner.scan(self.ahead(way, &reach)) else { return };
            let reach = start + reach.get();
            match verdict {
                Verdict::Pass(count) => {
                    self.keep(self.end_of(count, way));
                    if way.scanner.goes_back() && way.on != OnFound::Keep {
                        self.note(Step { at: start, reach });
                    }
                }
                Verdict::Found(count, finding) => {
                    let end = self.end_of(count, way);
                    if way.end.is_none() {
                        self.drop_steps(reach);
                    }
                    self.settle(Way { end: Some(start), ..way }, passed);
                    if !self.stopped {
                        self.put_out(end, finding, way.on, passed);
                    }
                }
            }
        }
    }

    /// Goes over what stands before a finding again, where a verdict on it has looked as far as that.
    fn settle(&mut self, way: Way<'_>, passed: &mut Passed) {
        let Some(first) = self.steps.iter().position(|step| step.reach >= self.next) else { return };
        let Some(step) = self.steps.get(first).copied() else { return };
        self.steps.truncate(first);
        self.back.truncate(self.back.len().saturating_sub(self.next - step.at));
        self.next = step.at;
        self.walk(way, passed);
    }

    /// Lets what comes before `next` go out, and a finding that ends there.
    fn put_out(&mut self, end: usize, finding: Finding, on: OnFound, passed: &mut Passed) {
        let start_byte = self.glyphs.get(self.next).map_or(self.out, |glyph| glyph.start);
        let end_byte = self.glyphs.get(end - 1).map_or(self.out, |glyph| glyph.end);
        passed.text.push_str(self.written(self.out, start_byte));
        match on {
            OnFound::Replace => {
                passed.text.push_str(&finding.replacement);
                remember(&mut self.back, finding.replacement.chars().filter_map(reading));
            }
            OnFound::Keep => {
                passed.text.push_str(self.written(start_byte, end_byte));
                self.keep(end);
            }
            OnFound::Stop => self.stopped = true,
        }
        passed.note(finding.what);
        self.steps.clear();
        (self.next, self.out) = (end, end_byte);
    }

    fn end_of(&self, count: usize, way: Way<'_>) -> usize {
        (self.next + count.max(1)).min(way.end.unwrap_or(self.glyphs.len()))
    }

    fn keep(&mut self, end: usize) {
        let glyphs = self.glyphs.get(self.next..end).unwrap_or_default();
        remember(&mut self.back, glyphs.iter().map(|glyph| glyph.reads));
        self.next = end;
    }

    fn note(&mut self, step: Step) {
        // Each is of a place of its own: those before are out of reach, see `drop_steps`.
        if self.steps.len() > 2 * WINDOW {
            self.steps.drain(..WINDOW);
        }
        self.steps.push(step);
    }

    /// Lets verdicts stand that are further away than the window from what the next one has to look at: so much is held
    /// back at most.
    fn drop_steps(&mut self, reach: usize) {
        let reach = self.place(reach);
        let dropped = self.steps.iter().take_while(|step| self.place(step.at) + WINDOW <= reach).count();
        self.steps.drain(..dropped);
    }

    fn place(&self, glyph: usize) -> usize {
        self.glyphs.get(glyph).map_or(self.places, |glyph| glyph.place)
    }

    /// The first glyph that cannot go out yet.
    fn held(&mut self) -> usize {
        self.drop_steps(self.glyphs.len());
        // A verdict falls with what it has looked at: the text to come, or a place whose own verdict can fall.
        self.steps.iter().rev().fold(self.next, |held, step| if step.reach >= held { step.at } else { held })
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

    fn ahead<'a>(&'a self, way: Way<'_>, reach: &'a Cell<usize>) -> Ahead<'a> {
        let glyphs = self.glyphs.get(self.next..way.end.unwrap_or(self.glyphs.len())).unwrap_or_default();
        let end_place = glyphs.first().map_or(self.places, |glyph| glyph.place) + WINDOW;
        // Of an escape that is not whole nothing is known.
        let unread = self.begun.map_or(0, |begun| self.written(begun, self.pending.len()).len());
        let open = way.end.is_none() && !way.last && self.places - unread < end_place;
        Ahead { glyphs, end_place, open, back: self.back(), offset: 0, reach }
    }

    fn back(&self) -> &[char] {
        self.back.get(self.back.len().saturating_sub(BACK)..).unwrap_or_default()
    }

    fn written(&self, start: usize, end: usize) -> &str {
        self.pending.get(start..end).unwrap_or_default()
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
        self.steps.retain(|step| step.at >= glyphs);
        for step in &mut self.steps {
            step.at -= glyphs;
            step.reach -= glyphs;
        }
        self.next -= glyphs;
        self.out = 0;
    }
}

/// With what a scanner can look back at from the first place that is held back.
fn remember(back: &mut Vec<char>, gone: impl Iterator<Item = char>) {
    const KEPT: usize = BACK + WINDOW;
    back.extend(gone);
    if back.len() > 2 * KEPT {
        back.drain(..back.len() - KEPT);
    }
}

#[cfg(test)]
pub(super) mod work {
    //! Counts how often scanners look at a glyph: a bound on time that no machine's speed changes.

    use std::cell::Cell;

    std::thread_local! {
        static LOOKS: Cell<u64> = const { Cell::new(0) };
    }

    pub(in crate::guardrail) fn count() {
        add(1);
    }

    pub(in crate::guardrail) fn add(looks: usize) {
        let looks = u64::try_from(looks).unwrap_or(u64::MAX);
        LOOKS.with(|sum| sum.set(sum.get().saturating_add(looks)));
    }

    /// The looks that `run` takes.
    pub(in crate::guardrail) fn of(run: impl FnOnce()) -> u64 {
        let before = LOOKS.with(Cell::get);
        run();
        LOOKS.with(Cell::get) - before
    }
}
