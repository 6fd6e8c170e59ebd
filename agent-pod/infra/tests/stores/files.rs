//! What becomes of memory when somebody touches its file under the pod.

use std::fs;
use std::time::Duration;

use agent_pod_core::memory::{
    ConversationSettings, ConversationStore, SessionKey, SessionLock, StoreError, StoredTurn, Window,
};
use agent_pod_core::message::{Message, Role};
use rstest::rstest;

use crate::places::{Folder, sqlite};

const SETTINGS: ConversationSettings = ConversationSettings { turns_max: 10, ttl: Duration::from_secs(3600) };

fn key() -> SessionKey {
    SessionKey { agent: "shop/support".to_owned(), session: "s".to_owned() }
}

async fn say(store: &dyn ConversationStore, text: &str) -> Result<(), StoreError> {
    let messages = vec![Message::new(Role::User, text)];
    let turn = StoredTurn { messages, timestamp: "2026-01-01T00:00:00.000Z".to_owned(), agent: None };
    store.append(&key(), turn, SETTINGS, &SessionLock::new(())).await
}

async fn said(store: &dyn ConversationStore) -> Result<Vec<String>, StoreError> {
    let read = store.read(&key(), Window::newest(10)).await?;
    let turns = read.map_or_else(Vec::new, |conversation| conversation.turns);
    Ok(turns.into_iter().map(|turn| turn.messages[0].content.clone()).collect())
}

fn with(folder: &Folder, suffix: &str) -> std::path::PathBuf {
    format!("{}{suffix}", folder.path().display()).into()
}

fn delete(folder: &Folder) {
    for suffix in ["", "-wal", "-shm"] {
        drop(fs::remove_file(with(folder, suffix)));
    }
}

fn delete_the_database(folder: &Folder) {
    fs::remove_file(folder.path()).expect("the database is there");
}

fn delete_the_folder(folder: &Folder) {
    let database = folder.path();
    fs::remove_dir_all(database.parent().expect("it stands in a folder")).expect("the folder is there");
}

fn replace(folder: &Folder) {
    let other = with(folder, ".other");
    fs::write(&other, b"").expect("the folder can be written");
    fs::rename(other, folder.path()).expect("the folder can be written");
}

#[rstest]
#[case::all_of_it(delete)]
#[case::the_database(delete_the_database)]
#[case::the_folder(delete_the_folder)]
#[case::by_an_empty_one(replace)]
#[tokio::test]
async fn a_file_that_goes_is_noticed_once_and_made_again(#[case] harm: fn(&Folder)) {
    let place = sqlite().await.unwrap();
    let store = place.store();
    say(store.as_ref(), "one").await.unwrap();
    harm(&place);
    let noticed = say(store.as_ref(), "two").await.unwrap_err();
    assert!(noticed.0.contains("deleted or replaced"), "{noticed}");
    say(store.as_ref(), "three").await.unwrap();
    assert_eq!(said(store.as_ref()).await.unwrap(), ["three"]);
    // It is in the file that has the name, and not only in this process.
    assert_eq!(said(place.store().as_ref()).await.unwrap(), ["three"]);
}

#[tokio::test]
async fn a_log_that_goes_takes_nothing_away() {
    let place = sqlite().await.unwrap();
    let store = place.store();
    for text in ["one", "two"] {
        say(store.as_ref(), text).await.unwrap();
    }
    fs::remove_file(with(&place, "-wal")).unwrap();
    say(store.as_ref(), "three").await.unwrap();
    assert_eq!(said(store.as_ref()).await.unwrap(), ["one", "two", "three"]);
    drop(store);
    assert_eq!(said(place.store().as_ref()).await.unwrap(), ["one", "two", "three"]);
}

#[tokio::test]
async fn a_file_that_is_no_database_fails_with_a_reason_and_is_left_as_it_is() {
    let place = sqlite().await.unwrap();
    let store = place.store();
    fs::write(place.path(), "nothing of ours ".repeat(4096)).unwrap();
    for _ in 0..3 {
        let failed = say(store.as_ref(), "one").await.unwrap_err();
        assert!(failed.0.contains("not a database"), "{failed}");
    }
    assert!(fs::read(place.path()).unwrap().starts_with(b"nothing of ours"));
}

#[tokio::test]
async fn a_file_that_is_emptied_in_place_is_noticed() {
    let place = sqlite().await.unwrap();
    let store = place.store();
    say(store.as_ref(), "one").await.unwrap();
    fs::File::create(place.path()).unwrap();
    said(store.as_ref()).await.unwrap_err();
}

/// Its log has been written into it and begun anew, so that it does not hold the beginning of the file any more.
#[tokio::test]
async fn a_large_file_that_is_emptied_begins_anew() {
    let place = sqlite().await.unwrap();
    let store = place.store();
    for _ in 0..260 {
        say(store.as_ref(), &"x".repeat(20_000)).await.unwrap();
    }
    fs::File::create(place.path()).unwrap();
    said(store.as_ref()).await.unwrap_err();
    say(store.as_ref(), "anew").await.unwrap();
    assert_eq!(said(store.as_ref()).await.unwrap(), ["anew"]);
}

#[tokio::test]
async fn a_place_where_no_file_can_be_fails_with_a_reason_until_one_can_be() {
    let place = sqlite().await.unwrap();
    let store = place.store();
    fs::create_dir(place.path()).unwrap();
    assert!(say(store.as_ref(), "one").await.unwrap_err().0.contains("unable to open"));
    fs::remove_dir(place.path()).unwrap();
    say(store.as_ref(), "two").await.unwrap();
    assert_eq!(said(store.as_ref()).await.unwrap(), ["two"]);
}
