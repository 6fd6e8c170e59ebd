use std::fs;

use tempfile::TempDir;

use super::super::{SecretId, SecretStore};
use super::*;

/// A mounted key, and the credential of one server.
struct Mounted {
    root: TempDir,
    store: SecretStore,
    credential: Credential,
}

impl Mounted {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("keys")).unwrap();
        fs::write(root.path().join("keys/model"), "first").unwrap();
        let store = SecretStore::directory(root.path());
        let credential = Credential::new(store.handle(&id()));
        Self { root, store, credential }
    }

    fn refused(&self) -> bool {
        self.store.states()[0].refused
    }

    fn rotate(&self, value: &str) {
        fs::write(self.root.path().join("keys/model"), value).unwrap();
        self.store.refresh();
    }

    fn send(&self) -> Sent {
        self.credential.to_send().unwrap()
    }

    async fn is_accepted(&self) {
        tokio::time::advance(Duration::from_millis(1)).await;
        self.credential.accepted(&self.send());
    }

    fn is_refused_with(&self, status: StatusCode) {
        self.credential.refused(&self.send(), status);
    }
}

fn id() -> SecretId {
    SecretId { name: "keys".to_owned(), key: "model".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_was_never_accepted_is_not_waited_for() {
    let mounted = Mounted::new();
    mounted.is_refused_with(StatusCode::UNAUTHORIZED);
    assert!(mounted.refused() && !mounted.credential.is_awaited());
    assert!(!mounted.credential.renewed().await);
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_go_on_with_the_new_value() {
    let mounted = Mounted::new();
    mounted.is_accepted().await;
    mounted.is_refused_with(StatusCode::UNAUTHORIZED);
    assert!(mounted.refused() && mounted.credential.is_awaited());
    let waiting = futures::future::join_all((0..20).map(|_| mounted.credential.renewed()));
    let (renewed, ()) = tokio::join!(waiting, async { mounted.rotate("second") });
    assert!(renewed.into_iter().all(|one| one));
    assert!(!mounted.refused() && !mounted.credential.is_awaited());
}

#[tokio::test(start_paused = true)]
async fn a_wait_has_an_end_and_there_is_one_in_an_hour() {
    let mounted = Mounted::new();
    mounted.is_accepted().await;
    let begun = Instant::now();
    mounted.is_refused_with(StatusCode::UNAUTHORIZED);
    assert!(!mounted.credential.renewed().await);
    assert!(begun.elapsed() >= WAIT && begun.elapsed() < WAIT + Duration::from_millis(10), "{:?}", begun.elapsed());
    assert!(mounted.refused(), "it is told on");
    mounted.is_accepted().await;
    assert!(!mounted.refused());
    mounted.is_refused_with(StatusCode::UNAUTHORIZED);
    assert!(mounted.refused() && !mounted.credential.is_awaited());
    tokio::time::advance(WAIT_AGAIN).await;
    mounted.is_accepted().await;
    mounted.is_refused_with(StatusCode::UNAUTHORIZED);
    assert!(mounted.credential.is_awaited());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_late_forgives_nothing_and_a_later_one_does() {
    let mounted = Mounted::new();
    mounted.is_accepted().await;
    let early = mounted.send();
    tokio::time::advance(Duration::from_millis(1)).await;
    mounted.is_refused_with(StatusCode::UNAUTHORIZED);
    mounted.credential.accepted(&early);
    assert!(mounted.refused());
    let (renewed, ()) = tokio::join!(mounted.credential.renewed(), mounted.is_accepted());
    assert!(renewed && !mounted.refused(), "who waits tries again");
    mounted.is_refused_with(StatusCode::FORBIDDEN);
    assert!(!mounted.refused(), "the server takes this value, and means something else");
    mounted.is_refused_with(StatusCode::UNAUTHORIZED);
    assert!(mounted.refused());
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_an_older_value_says_nothing_of_the_one_in_use() {
    let mounted = Mounted::new();
    mounted.is_accepted().await;
    let old = mounted.send();
    mounted.rotate("second");
    mounted.credential.refused(&old, StatusCode::UNAUTHORIZED);
    assert!(!mounted.refused());
    assert!(mounted.credential.fresh(&old).await.is_some());
    mounted.is_refused_with(StatusCode::UNAUTHORIZED);
    mounted.credential.accepted(&old);
    assert!(mounted.refused() && !mounted.credential.is_awaited(), "the new one was never accepted");
}

#[tokio::test(start_paused = true)]
async fn values_that_are_set_here_are_not_waited_for() {
    let store = SecretStore::in_memory();
    store.set(&id(), Some(SecretString::from("first")));
    let credential = Credential::new(store.handle(&id()));
    credential.accepted(&credential.to_send().unwrap());
    credential.refused(&credential.to_send().unwrap(), StatusCode::UNAUTHORIZED);
    assert!(store.states()[0].refused && !credential.is_awaited());
}
