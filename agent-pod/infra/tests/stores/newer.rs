//! Tables that a newer release has added to: its pods share them with those of this one while it is rolled out.

use agent_pod_core::memory::SessionKey;
use agent_pod_core::memory::episode::EpisodeStore;

use crate::places;

async fn goes_on(store: &dyn EpisodeStore) {
    let key = SessionKey { agent: "shop/support".to_owned(), session: "s".to_owned() };
    assert_eq!(store.latest(&key, 5).await.unwrap(), []);
}

#[tokio::test]
async fn a_file_of_a_newer_release_is_used() {
    let Some(folder) = places::sqlite().await else { return };
    goes_on(&*folder.episodes()).await;
    folder.migrate_further().await;
    goes_on(&*folder.episodes()).await;
}

#[tokio::test]
async fn a_database_of_a_newer_release_is_used() {
    let Some(place) = places::postgres().await else { return };
    goes_on(&*place.episodes()).await;
    place.migrate_further().await;
    goes_on(&*place.episodes()).await;
}
