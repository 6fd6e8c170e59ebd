use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use rstest::rstest;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::*;

fn id(name: &str, key: &str) -> SecretId {
    SecretId { name: name.to_owned(), key: key.to_owned() }
}

fn openai() -> SecretId {
    id("openai", "api-key")
}

fn directory_with(value: &[u8]) -> TempDir {
    let root = TempDir::new().unwrap();
    write(&root, value);
    root
}

fn write(root: &TempDir, value: &[u8]) {
    fs::create_dir_all(root.path().join("openai")).unwrap();
    fs::write(root.path().join("openai/api-key"), value).unwrap();
}

fn text(value: Option<SecretString>) -> Option<String> {
    value.map(|value| value.expose_secret().to_owned())
}

/// Of a key that had a value once.
fn state(presence: Presence) -> SecretState {
    SecretState { id: openai(), presence, problem: None, former: presence == Presence::Missing, refused: false }
}

fn presence(store: &SecretStore) -> Presence {
    let states = store.states();
    assert_eq!(states.len(), 1);
    states[0].presence
}

#[rstest]
#[case::as_it_is(b"sk-1", Some("sk-1"))]
#[case::one_line_end_goes(b"sk-1\n", Some("sk-1"))]
#[case::a_windows_line_end_goes(b"sk-1\r\n", Some("sk-1"))]
#[case::only_one_line_end_goes(b"sk-1\n\n", Some("sk-1\n"))]
#[case::spaces_stay(b" sk-1 ", Some(" sk-1 "))]
#[case::empty(b"", None)]
#[case::only_a_line_end(b"\n", None)]
#[case::only_white_space(b" \t\n", None)]
#[case::not_text(b"\xff\xfe", None)]
fn a_file_gives_its_text(#[case] content: &[u8], #[case] expected: Option<&str>) {
    let root = directory_with(content);
    let store = SecretStore::directory(root.path());
    let handle = store.handle(&openai());
    assert_eq!(text(handle.get()).as_deref(), expected);
    assert_eq!(text(store.get(&openai())).as_deref(), expected);
    assert_eq!(presence(&store) == Presence::Present, expected.is_some());
}

#[rstest]
#[case::at_the_bound(0, true)]
#[case::one_byte_more(1, false)]
fn a_value_is_bounded(#[case] more: usize, #[case] read: bool) {
    let bound = usize::try_from(source::VALUE_BYTES_MAX).unwrap();
    let root = directory_with(&vec![b'x'; bound + more]);
    let handle = SecretStore::directory(root.path()).handle(&openai());
    assert_eq!(handle.get().is_some(), read);
}

#[rstest]
#[case("..", "passwd")]
#[case("openai", "../other/key")]
#[case("openai", "/etc/hostname")]
#[case("openai/deep", "key")]
#[case("openai", "key/")]
#[case("openai", ".")]
#[case("", "key")]
#[case("openai", "")]
fn a_name_never_leads_out_of_its_directory(#[case] name: &str, #[case] key: &str) {
    let root = directory_with(b"sk-1");
    fs::create_dir_all(root.path().join("other")).unwrap();
    for file in ["other/key", "passwd", "openai/key"] {
        fs::write(root.path().join(file), "stolen").unwrap();
    }
    let handle = SecretStore::directory(root.path().join("inner")).handle(&id(name, key));
    assert_eq!(text(handle.get()), None);
    let handle = SecretStore::directory(root.path()).handle(&id(name, key));
    assert_eq!(text(handle.get()), None);
}

#[test]
fn a_directory_in_the_place_of_a_key_is_missing() {
    let root = TempDir::new().unwrap();
    fs::create_dir_all(root.path().join("openai/api-key")).unwrap();
    let store = SecretStore::directory(root.path());
    let handle = store.handle(&openai());
    assert_eq!(text(handle.get()), None);
    assert_eq!(presence(&store), Presence::Missing);
}

#[test]
fn the_swap_of_a_projected_directory_is_seen() {
    let root = TempDir::new().unwrap();
    let secret = root.path().join("openai");
    for (version, value) in [("..1", "sk-1"), ("..2", "sk-2")] {
        fs::create_dir_all(secret.join(version)).unwrap();
        fs::write(secret.join(version).join("api-key"), value).unwrap();
    }
    symlink("..1", secret.join("..data")).unwrap();
    symlink("..data/api-key", secret.join("api-key")).unwrap();
    let store = SecretStore::directory(root.path());
    let handle = store.handle(&openai());
    assert_eq!(text(handle.get()).as_deref(), Some("sk-1"));

    symlink("..2", secret.join("..data_tmp")).unwrap();
    fs::rename(secret.join("..data_tmp"), secret.join("..data")).unwrap();
    assert_eq!(text(handle.get()).as_deref(), Some("sk-1"), "without a look nothing changes");
    store.refresh();
    assert_eq!(text(handle.get()).as_deref(), Some("sk-2"));
}

#[test]
fn a_value_that_goes_stays_in_use_and_is_reported() {
    let root = directory_with(b"sk-1");
    let store = SecretStore::directory(root.path());
    let handle = store.handle(&openai());

    fs::remove_dir_all(root.path().join("openai")).unwrap();
    assert_eq!(store.refresh(), [state(Presence::Missing)]);
    assert_eq!(text(handle.get()).as_deref(), Some("sk-1"));

    write(&root, b"");
    assert!(!handle.reread());
    assert_eq!(presence(&store), Presence::Missing);
    assert_eq!(text(handle.get()).as_deref(), Some("sk-1"));

    write(&root, b"sk-2");
    assert_eq!(store.refresh(), [state(Presence::Present)]);
    assert_eq!(text(handle.get()).as_deref(), Some("sk-2"));
}

#[test]
fn a_value_that_comes_later_is_found() {
    let root = TempDir::new().unwrap();
    let store = SecretStore::directory(root.path());
    let handle = store.handle(&openai());
    assert_eq!(text(handle.get()), None);
    write(&root, b"sk-1");
    assert!(handle.reread());
    assert!(!handle.reread(), "the same value again is no change");
    assert_eq!(text(handle.get()).as_deref(), Some("sk-1"));
}

#[test]
fn a_value_that_was_set_is_looked_up_where_it_comes_from() {
    let store = SecretStore::in_memory();
    let handle = store.handle(&openai());
    store.set(&openai(), Some(SecretString::from("sk-1")));
    assert!(!handle.reread(), "nobody has said where it comes from");
    store.looked_up_by(Arc::new(|_| Some(SecretString::from("sk-2"))));
    assert!(handle.reread());
    assert_eq!(text(handle.get()).as_deref(), Some("sk-2"));
    store.looked_up_by(Arc::new(|_| None));
    assert!(!handle.reread(), "what is not found there may come from elsewhere");
    assert_eq!(text(handle.get()).as_deref(), Some("sk-2"));
}

#[test]
fn a_key_that_is_rotated_again_at_once_is_looked_up_again() {
    let store = SecretStore::in_memory();
    let handle = store.handle(&openai());
    let looks = std::sync::atomic::AtomicU32::new(0);
    let next = move |_: &SecretId| {
        let look = looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Some(SecretString::from(format!("sk-{look}")))
    };
    store.looked_up_by(Arc::new(next));
    for expected in ["sk-0", "sk-1", "sk-2"] {
        assert!(handle.reread());
        assert_eq!(text(handle.get()).as_deref(), Some(expected));
    }
}

#[test]
fn handles_of_one_key_share_its_value() {
    let root = directory_with(b"sk-1");
    let store = SecretStore::directory(root.path());
    let (first, second) = (store.handle(&openai()), store.clone().handle(&openai()));
    write(&root, b"sk-2");
    assert!(first.reread());
    assert_eq!(text(second.get()).as_deref(), Some("sk-2"));
    assert_eq!(store.states().len(), 1);
}

#[test]
fn the_last_good_value_passes_from_old_models_to_new_ones() {
    let root = directory_with(b"sk-1");
    let store = SecretStore::directory(root.path());
    let old = store.handle(&openai());
    fs::remove_dir_all(root.path().join("openai")).unwrap();
    let new = store.handle(&openai());
    drop(old);
    assert_eq!(text(new.get()).as_deref(), Some("sk-1"));
}

#[test]
fn a_key_that_nobody_uses_is_forgotten() {
    let root = directory_with(b"sk-1");
    let store = SecretStore::directory(root.path());
    drop(store.handle(&openai()));
    assert_eq!(store.states(), []);
    assert_eq!(text(store.get(&openai())), None);
    assert!(!store.reread(&openai()));
}

#[test]
fn states_are_in_order() {
    let store = SecretStore::in_memory();
    let ids = [id("b", "1"), id("a", "2"), id("a", "1")];
    let _handles: Vec<_> = ids.iter().map(|id| store.handle(id)).collect();
    let states: Vec<_> = store.states().into_iter().map(|state| state.id).collect();
    assert_eq!(states, [id("a", "1"), id("a", "2"), id("b", "1")]);
}

#[test]
fn memory_keeps_what_was_set_before_anybody_asked() {
    let store = SecretStore::in_memory();
    store.set(&openai(), Some("sk-1\n".into()));
    let handle = store.handle(&openai());
    assert_eq!(text(handle.get()).as_deref(), Some("sk-1"));

    store.set(&openai(), None);
    assert_eq!(presence(&store), Presence::Missing);
    assert_eq!(text(handle.get()).as_deref(), Some("sk-1"));

    store.set(&openai(), Some("sk-2".into()));
    assert_eq!(presence(&store), Presence::Present);
    assert_eq!(text(handle.get()).as_deref(), Some("sk-2"));
}

#[test]
fn no_debug_text_holds_a_value() {
    let store = SecretStore::in_memory();
    store.set(&openai(), Some("sk-topsecret".into()));
    let handle = store.handle(&openai());
    for text in [format!("{store:?}"), format!("{handle:?}"), format!("{:?}", handle.get())] {
        assert!(!text.contains("topsecret"), "{text}");
    }
}
