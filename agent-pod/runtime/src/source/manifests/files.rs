//! The files of a folder, each in its last good form.
//!
//! ```text
//!  new stamp ─► quiet for QUIET ─► read ─┬─ good, holds what it held ──────► serves
//!                                        ├─ good, without some of it ─► quiet for GONE_AFTER ─► serves
//!                                        └─ cannot be read, or empty ─► reported; the last good form serves
//!  no file ─► for GONE_AFTER ─► what it held ends
//! ```
//!
//! Whoever rewrites a file empties it first, and may take a while. So nothing is taken from a file that still changes, and
//! what has vanished from one has to stay away for a moment before it ends: `docs/adr/0034-a-file-under-the-pen.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::manifests::{self, Id, ManifestProblem, Manifests, Problems};

/// How long a file stays as it is before it is read.
const QUIET: Duration = Duration::from_millis(150);

/// How long an object is missed before it ends.
const GONE_AFTER: Duration = Duration::from_secs(1);

/// The most bytes of all files together. What is made of them in memory is a multiple of it.
const FOLDER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The files of a folder.
pub(super) struct Files {
    folder: PathBuf,
    /// Which folder has the name.
    place: Option<(u64, u64)>,
    known: BTreeMap<PathBuf, Known>,
    /// What is wrong with the folder.
    problem: Option<ManifestProblem>,
    started: bool,
}

/// What a look has found.
#[derive(Default)]
pub(super) struct Look {
    /// Whether anything is another than before.
    pub(super) changed: bool,
    /// Whether another folder has the name.
    pub(super) moved: bool,
    /// When to look again, where something is waited for.
    pub(super) again: Option<Duration>,
}

/// A file that is known.
#[derive(Default)]
struct Known {
    /// As it was read last.
    read: Option<Reading>,
    good: Option<Manifests>,
    /// Why the last good form is in use.
    fault: Option<Fault>,
    /// As it was seen since, and from when on.
    pending: Option<(Option<Stamp>, Instant)>,
    /// Length of the last good form.
    bytes: u64,
}

#[derive(Clone, Copy)]
struct Reading {
    stamp: Option<Stamp>,
    /// Whether another try may do better though nothing has changed.
    again: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    problems: Problems,
    /// Whether it may hold anything: it is a file, and nothing is known of it.
    unknown: bool,
}

/// Whether a file is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    mode: u32,
    length: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// None where there is nothing, or nothing to be seen.
    fn of(file: &Path) -> Option<Self> {
        std::fs::metadata(file).ok().map(|found| Self::new(&found))
    }

    fn new(found: &Metadata) -> Self {
        Self {
            file: (found.dev(), found.ino()),
            mode: found.mode(),
            length: found.len(),
            written: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// Why the last good form of a file goes on, if it does. `gone`: what that has and the file has not.
fn fault(
    file: &Path,
    read: &Manifests,
    stamp: Option<Stamp>,
    had: &BTreeSet<Id>,
    gone: &BTreeSet<Id>,
) -> Option<Fault> {
    if !read.unreadable.is_empty() {
        let regular = stamp.is_some_and(|stamp| stamp.mode & libc::S_IFMT == libc::S_IFREG);
        return Some(Fault { problems: read.problems.clone(), unknown: regular && had.is_empty() });
    }
    if !read.empty.is_empty() && !had.is_empty() {
        let message = "is empty; what it held goes on serving. Delete the file to end that";
        let mut problems = Problems::default();
        problems.push(ManifestProblem::of_file(&file.display().to_string(), message.to_owned()));
        return Some(Fault { problems, unknown: false });
    }
    // Whoever takes something out of a file leaves the rest as good as it was; whoever is cut off in the middle does not.
    let cut_off = !gone.is_empty() && !read.problems.is_empty();
    cut_off.then(|| Fault { problems: read.problems.clone(), unknown: false })
}

impl Files {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), place: None, known: BTreeMap::new(), problem: None, started: false }
    }

    /// Everything that serves, and everything that is wrong.
    pub(super) fn manifests(&self) -> Manifests {
        let mut all = Manifests::merged(self.known.values().filter_map(|known| known.good.as_ref()));
        let faults = self.known.values().filter_map(|known| known.fault.as_ref());
        faults.for_each(|fault| all.problems.add(&fault.problems));
        all.problems.extend(self.problem.clone());
        all
    }

    /// Whether a file may declare anything.
    pub(super) fn anything_unknown(&self) -> bool {
        self.known.values().any(|known| known.fault.as_ref().is_some_and(|fault| fault.unknown))
    }

    /// Looks at every file, and reads those that have changed and are quiet.
    pub(super) fn look(&mut self, now: Instant) -> Look {
        let place = std::fs::metadata(&self.folder).ok().filter(Metadata::is_dir).map(|f| (f.dev(), f.ino()));
        let moved = place.is_some() && self.place.is_some() && place != self.place;
        self.place = place.or(self.place);
        let found = if place.is_some() {
            manifests::list(&self.folder, |file| self.known.contains_key(file))
        } else {
            Err(std::io::Error::new(std::io::ErrorKind::NotADirectory, "it is not a folder any more"))
        };
        let listing = match found {
            Ok(listing) => listing,
            Err(error) => {
                let message = format!("cannot be listed, what it held goes on serving: {error}");
                let changed = self.report(Some(ManifestProblem::of_file(&self.folder.display().to_string(), message)));
                return Look { changed: self.begin() || changed, moved, again: None };
            }
        };
        let mut changed = self.report(listing.problem(&self.folder));
        let listed: BTreeSet<PathBuf> = listing.files.into_iter().collect();
        // The first look has nothing to keep in the meantime.
        let first = self.begin();
        changed |= first;
        for file in &listed {
            changed |= self.take_in(file, now, first);
        }
        let missing: Vec<PathBuf> = self.known.keys().filter(|file| !listed.contains(*file)).cloned().collect();
        for file in missing {
            changed |= self.let_go(&file, now);
        }
        Look { changed, moved, again: self.again(now) }
    }

    fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.started, true)
    }

    fn report(&mut self, problem: Option<ManifestProblem>) -> bool {
        let news = self.problem != problem;
        self.problem = problem;
        news
    }

    /// Reads a file that is there, if it has changed and is quiet. Returns whether that changes anything.
    fn take_in(&mut self, file: &Path, now: Instant, at_once: bool) -> bool {
        let stamp = Stamp::of(file);
        let known = self.known.entry(file.to_owned()).or_default();
        let same = known.read.filter(|read| read.stamp == stamp);
        if same.is_some_and(|read| !read.again) {
            known.pending = None;
            return false;
        }
        let since = match known.pending {
            Some((seen, since)) if seen == stamp => since,
            Some(_) | None => now,
        };
        let quiet = now.saturating_duration_since(since);
        if same.is_none() {
            known.pending = Some((stamp, since));
            if quiet < QUIET && !at_once {
                return false;
            }
        }
        let read = self.read(file, stamp);
        if Stamp::of(file) != stamp {
            return false;
        }
        let Some(known) = self.known.get_mut(file) else { return false };
        let had = known.good.as_ref().map(Manifests::ids).unwrap_or_default();
        let gone: BTreeSet<Id> = had.difference(&read.ids()).cloned().collect();
        if let Some(fault) = fault(file, &read, stamp, &had, &gone) {
            known.read = Some(Reading { stamp, again: !read.passing.is_empty() });
            known.pending = None;
            let news = known.fault.as_ref() != Some(&fault);
            known.fault = Some(fault);
            return news;
        }
        if quiet < GONE_AFTER && !at_once && !self.stands_elsewhere(file, &gone) {
            if let Some(known) = self.known.get_mut(file) {
                known.pending = Some((stamp, since));
            }
            return false;
        }
        let known = Known {
            read: Some(Reading { stamp, again: false }),
            bytes: stamp.map_or(0, |stamp| stamp.length),
            good: Some(read),
            ..Known::default()
        };
        self.known.insert(file.to_owned(), known);
        true
    }

    fn read(&self, file: &Path, stamp: Option<Stamp>) -> Manifests {
        let others: u64 = self.known.iter().filter(|(other, _)| *other != file).map(|(_, known)| known.bytes).sum();
        // One that is too long by itself is told so.
        let length = stamp.map_or(0, |stamp| stamp.length);
        if length <= manifests::FILE_BYTES_MAX && others + length > FOLDER_BYTES_MAX {
            let mib = FOLDER_BYTES_MAX / (1024 * 1024);
            let message = format!("is left out: the files of the folder have more than {mib} MiB together");
            return Manifests::unread(&file.display().to_string(), message, true);
        }
        manifests::read_file(file)
    }

    /// Forgets a file that is not there any more, after a moment. Returns whether that changes anything.
    fn let_go(&mut self, file: &Path, now: Instant) -> bool {
        let Some(known) = self.known.get_mut(file) else { return false };
        let since = match known.pending {
            Some((None, since)) => since,
            Some(_) | None => now,
        };
        known.pending = Some((None, since));
        let had = known.good.as_ref().map(Manifests::ids).unwrap_or_default();
        if now.saturating_duration_since(since) < GONE_AFTER && !self.stands_elsewhere(file, &had) {
            return false;
        }
        self.known.remove(file).is_some()
    }

    /// Whether other files hold all of these: then nothing ends.
    fn stands_elsewhere(&self, file: &Path, ids: &BTreeSet<Id>) -> bool {
        let others = self.known.iter().filter(|(other, _)| *other != file);
        let mut left = ids.clone();
        for id in others.filter_map(|(_, known)| known.good.as_ref()).flat_map(Manifests::ids) {
            left.remove(&id);
        }
        left.is_empty()
    }

    /// When the next of those that are waited for is due.
    fn again(&self, now: Instant) -> Option<Duration> {
        let due = |since: Instant| {
            let waited = now.saturating_duration_since(since);
            if waited < QUIET { QUIET - waited } else { GONE_AFTER.saturating_sub(waited).max(QUIET) }
        };
        self.known.values().filter_map(|known| known.pending).map(|(_, since)| due(since)).min()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rstest::rstest;
    use tempfile::TempDir;

    use super::*;

    /// A folder, and a clock that goes on only when it is told.
    struct Place {
        folder: TempDir,
        files: Files,
        now: Instant,
    }

    impl Place {
        fn new(agents: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let files = Files::new(folder.path());
            let mut place = Self { folder, files, now: Instant::now() };
            for (file, name) in agents {
                place.write(file, &agent(name));
            }
            assert!(place.look());
            place
        }

        fn path(&self, file: &str) -> PathBuf {
            self.folder.path().join(file)
        }

        fn write(&self, file: &str, text: &str) {
            fs::write(self.path(file), text).unwrap();
        }

        fn look(&mut self) -> bool {
            self.files.look(self.now).changed
        }

        /// Looks as often as it asks to be looked at, for a while. Returns whether anything has changed.
        fn settle(&mut self, time: Duration) -> bool {
            let (end, mut changed) = (self.now + time, false);
            loop {
                let look = self.files.look(self.now);
                changed |= look.changed;
                match look.again {
                    Some(again) if self.now + again <= end => self.now += again,
                    Some(_) | None => break,
                }
            }
            self.now = end;
            changed
        }

        fn agents(&self) -> Vec<String> {
            self.files.manifests().declared.into_keys().collect()
        }

        fn problems(&self) -> Vec<String> {
            let name =
                |problem: &ManifestProblem| Path::new(&problem.file).file_name().map(|f| f.display().to_string());
            let problems = self.files.manifests().problems;
            problems.iter().map(|p| format!("{} {}", name(p).unwrap_or_default(), p.message)).collect()
        }
    }

    fn agent(name: &str) -> String {
        format!(
            "apiVersion: astromesh.io/v1alpha1\nkind: Agent\nmetadata: {{name: {name}}}\nspec:\n  model: {{candidates: [{{providerRef: {{name: echo}}}}]}}\n  prompts: {{system: hi}}\n---\n"
        )
    }

    const LONG: Duration = Duration::from_secs(60);

    fn empty(file: &Path) {
        fs::write(file, "").unwrap();
    }

    fn only_comments(file: &Path) {
        fs::write(file, "# nothing yet\n---\n").unwrap();
    }

    fn half_a_name(file: &Path) {
        fs::write(file, "apiVersion: astromesh.io/v1alpha1\nkind: Agent\nmetadata:\n  name: on").unwrap();
    }

    fn half_a_word(file: &Path) {
        fs::write(file, "apiVersion: astromesh.io/v1alpha1\nki").unwrap();
    }

    fn the_beginning(file: &Path) {
        fs::write(file, "apiVersion: astromesh.io/v1alpha1\nkind: Agent\n").unwrap();
    }

    fn half_a_line(file: &Path) {
        fs::write(file, "apiVersion: astromesh.io/v1alpha1\nkind: Agent\nmetadata: {na").unwrap();
    }

    fn no_text(file: &Path) {
        fs::write(file, b"kind: \xff\xfe\n").unwrap();
    }

    fn too_long(file: &Path) {
        fs::File::create(file).unwrap().set_len(5 * 1024 * 1024 * 1024).unwrap();
    }

    fn a_folder(file: &Path) {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
    }

    fn a_pipe(file: &Path) {
        fs::remove_file(file).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(file).status().unwrap().success());
    }

    fn a_device(file: &Path) {
        fs::remove_file(file).unwrap();
        symlink("/dev/zero", file).unwrap();
    }

    fn a_link_to_nothing(file: &Path) {
        fs::remove_file(file).unwrap();
        symlink("nowhere", file).unwrap();
    }

    fn a_link_to_itself(file: &Path) {
        fs::remove_file(file).unwrap();
        symlink(file, file).unwrap();
    }

    #[rstest]
    #[case(empty, "is empty")]
    #[case(only_comments, "is empty")]
    #[case(half_a_line, "is not valid YAML")]
    #[case(half_a_name, "")]
    #[case(half_a_word, "")]
    #[case(the_beginning, "")]
    #[case(no_text, "cannot be read")]
    #[case(too_long, "bytes long")]
    #[case(a_folder, "is not a regular file")]
    #[case(a_pipe, "is not a regular file")]
    #[case(a_device, "is not a regular file")]
    #[case(a_link_to_nothing, "cannot be read")]
    #[case(a_link_to_itself, "cannot be read")]
    fn a_file_that_holds_nothing_of_use_goes_on_in_its_last_good_form(#[case] harm: fn(&Path), #[case] why: &str) {
        let mut place = Place::new(&[("a.yaml", "one"), ("b.yaml", "two")]);
        harm(&place.path("a.yaml"));
        assert!(place.settle(LONG));
        assert_eq!(place.agents(), ["one", "two"]);
        let problems = place.problems();
        assert!(problems.iter().all(|p| p.starts_with("a.yaml ") && p.contains(why)), "{problems:?}");
        assert!(!problems.is_empty());
        assert!(!place.files.anything_unknown());
        assert!(!place.settle(LONG), "and that is no news again and again");
        if fs::symlink_metadata(place.path("a.yaml")).unwrap().is_dir() {
            fs::remove_dir(place.path("a.yaml")).unwrap();
        } else {
            fs::remove_file(place.path("a.yaml")).unwrap();
        }
        place.write("a.yaml", &agent("three"));
        assert!(place.settle(LONG));
        assert_eq!((place.agents(), place.problems()), (vec!["three".to_owned(), "two".to_owned()], vec![]));
    }

    #[test]
    fn nothing_is_read_of_a_file_that_is_being_written() {
        let mut place = Place::new(&[("a.yaml", "one")]);
        let text = agent("two");
        for end in 0..text.len() {
            place.write("a.yaml", text.get(..end).unwrap());
            assert!(!place.look(), "after {end} bytes");
            assert_eq!((place.agents(), place.problems()), (vec!["one".to_owned()], vec![]));
            place.now += QUIET / 2;
        }
        place.write("a.yaml", &text);
        assert!(place.settle(LONG));
        assert_eq!(place.agents(), ["two"]);
    }

    #[test]
    fn an_object_that_vanishes_from_a_file_ends_after_a_moment_and_not_if_it_comes_back() {
        let mut place = Place::new(&[]);
        let both = format!("{}{}", agent("one"), agent("two"));
        place.write("a.yaml", &both);
        place.settle(LONG);
        place.write("a.yaml", &agent("one"));
        assert!(!place.settle(GONE_AFTER / 2));
        assert_eq!(place.agents(), ["one", "two"]);
        place.write("a.yaml", &both);
        place.settle(LONG);
        assert_eq!(place.agents(), ["one", "two"]);
        place.write("a.yaml", &agent("one"));
        assert!(place.settle(LONG));
        assert_eq!((place.agents(), place.problems()), (vec!["one".to_owned()], vec![]));
    }

    #[test]
    fn a_deleted_file_ends_what_it_held_after_a_moment() {
        let mut place = Place::new(&[("a.yaml", "one"), ("b.yaml", "two")]);
        fs::remove_file(place.path("a.yaml")).unwrap();
        assert!(!place.settle(GONE_AFTER / 2));
        assert_eq!(place.agents(), ["one", "two"]);
        assert!(place.settle(GONE_AFTER));
        assert_eq!((place.agents(), place.problems()), (vec!["two".to_owned()], vec![]));
    }

    #[test]
    fn an_editor_that_moves_the_file_away_first_ends_nothing() {
        let mut place = Place::new(&[("a.yaml", "one")]);
        fs::rename(place.path("a.yaml"), place.path("a.yaml~")).unwrap();
        assert!(!place.settle(QUIET));
        place.write("a.yaml", &agent("one"));
        place.settle(LONG);
        assert_eq!(place.agents(), ["one"]);
    }

    #[test]
    fn an_object_that_moves_to_another_file_is_never_there_twice() {
        let mut place = Place::new(&[("a.yaml", "one")]);
        fs::rename(place.path("a.yaml"), place.path("b.yaml")).unwrap();
        for _ in 0..20 {
            place.look();
            assert_eq!(place.files.manifests().agents.len(), 1);
            place.now += QUIET / 4;
        }
        assert!(place.files.manifests().agents[0].0.ends_with("b.yaml"));
    }

    #[test]
    fn one_file_too_many_is_reported_and_the_others_go_on() {
        let mut place = Place::new(&[]);
        for number in 0..1000 {
            place.write(&format!("n{number}.yaml"), "kind: Namespace\napiVersion: v1\nmetadata: {name: n}\n");
        }
        place.write("n0.yaml", &agent("one"));
        place.settle(LONG);
        // By its name it would be the first of all.
        place.write("a.yaml", &agent("late"));
        assert!(place.settle(LONG));
        let problems = place.problems();
        assert!(problems.len() == 1 && problems[0].contains("1001 manifest files"), "{problems:?}");
        assert!(problems[0].contains("a.yaml"), "{problems:?}");
        assert_eq!(place.agents(), ["one"]);
        place.write("n0.yaml", &agent("two"));
        place.settle(LONG);
        assert_eq!(place.agents(), ["two"], "edits are served all the same");
        fs::remove_file(place.path("n1.yaml")).unwrap();
        place.settle(LONG);
        place.settle(LONG);
        assert_eq!((place.agents(), place.problems()), (vec!["late".to_owned(), "two".to_owned()], vec![]));
    }

    #[test]
    fn a_folder_that_goes_takes_nothing_with_it() {
        let mut place = Place::new(&[("a.yaml", "one")]);
        let away = place.folder.path().with_extension("away");
        fs::rename(place.folder.path(), &away).unwrap();
        assert!(place.settle(LONG));
        assert_eq!(place.agents(), ["one"]);
        assert!(place.problems()[0].contains("cannot be listed"), "{:?}", place.problems());
        fs::rename(&away, place.folder.path()).unwrap();
        assert!(place.settle(LONG));
        assert_eq!((place.agents(), place.problems()), (vec!["one".to_owned()], vec![]));
    }

    #[test]
    fn a_folder_at_rest_is_not_read_again() {
        let mut place = Place::new(&[("a.yaml", "one"), ("b.yaml", "two")]);
        place.write("broken.yaml", "a: [1\n");
        place.write(".#a.yaml", "the lock of an editor");
        fs::create_dir(place.path("folder.yaml")).unwrap();
        place.settle(LONG);
        for _ in 0..10 {
            place.now += LONG;
            let look = place.files.look(place.now);
            assert!(!look.changed && look.again.is_none());
        }
        assert_eq!(place.problems().len(), 1);
    }

    #[test]
    fn the_bytes_of_a_folder_are_bounded() {
        let mut place = Place::new(&[("a.yaml", "one")]);
        let filler = format!("kind: Namespace\napiVersion: v1\nx: \"{}\"\n", "x".repeat(3 * 1024 * 1024));
        for number in 0..6 {
            place.write(&format!("n{number}.yaml"), &filler);
        }
        place.settle(LONG);
        let problems = place.problems();
        assert!(problems.len() == 1 && problems[0].contains("16 MiB together"), "{problems:?}");
        assert_eq!(place.agents(), ["one"]);
    }
}
