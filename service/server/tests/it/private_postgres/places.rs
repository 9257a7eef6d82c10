//! Where the cluster is, whose, and what is never taken for a first start.

use super::{ask, enter, leave, refused};
use crate::support::Scratch;
use nix::unistd::geteuid;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Makes a cluster with something in it.
pub(super) async fn with_a_table(data_dir: &Path) {
    let cluster = enter(data_dir).await.unwrap();
    ask(&cluster, "WITH made AS (SELECT lo_create(4711)) SELECT 1 FROM made").await.unwrap();
    leave(cluster).await;
}

/// Enters it again and looks whether that is still there.
pub(super) async fn has_the_table(data_dir: &Path) {
    let cluster = enter(data_dir).await.unwrap();
    let found = ask(&cluster, "SELECT count(*)::int FROM pg_largeobject_metadata WHERE oid = 4711").await;
    leave(cluster).await;
    assert_eq!(found.unwrap(), 1);
}

#[tokio::test]
async fn a_path_may_have_any_character() {
    let parent = Scratch::new();
    let witness = parent.path().join("ran");
    let odd = format!("a b'c\"d%é `touch ran` $(touch ran) {}", "x".repeat(100));
    let cluster = enter(&parent.path().join(odd)).await.unwrap();
    assert_eq!(ask(&cluster, "SELECT 1").await.unwrap(), 1);
    leave(cluster).await;
    assert!(!witness.exists() && !Path::new("/ran").exists());
}

#[tokio::test]
async fn data_that_moved_is_not_replaced_by_an_empty_cluster() {
    let scratch = Scratch::new();
    let (before, after) = (scratch.path().join("before"), scratch.path().join("after"));
    with_a_table(&before).await;
    fs::rename(&before, &after).unwrap();
    has_the_table(&after).await;

    // Only the cluster went away: it may be on a disk that is not mounted now.
    fs::rename(after.join("postgres"), scratch.path().join("elsewhere")).unwrap();
    let error = refused(&after).await;
    assert!(error.contains("cluster.place") && error.contains("not there"), "{error}");
    assert!(!after.join("postgres").exists());

    // It is found where the operator says that it is.
    fs::write(after.join("cluster.place"), scratch.path().join("elsewhere").to_str().unwrap()).unwrap();
    has_the_table(&after).await;
}

#[tokio::test]
async fn a_closed_parent_that_opens_changes_nothing() {
    // Only root steps down to a user to whom a directory can be closed.
    if !geteuid().is_root() {
        return;
    }
    let scratch = Scratch::new();
    let (parent, said) = (scratch.path().join("closed"), std::sync::Mutex::new(String::new()));
    fs::create_dir(&parent).unwrap();
    fs::set_permissions(&parent, PermissionsExt::from_mode(0o700)).unwrap();
    let data_dir = parent.join("data");
    let say = |sentence: &str| said.lock().unwrap().push_str(sentence);
    let cluster = counterfoil::postgres::private::PrivateCluster::enter(&data_dir, &say).await.unwrap();
    let outside = cluster.cluster_dir().to_path_buf();
    let _gone = Outside(outside.parent().unwrap().to_path_buf());
    assert!(outside.starts_with("/var/lib/counterfoil"), "{}", outside.display());
    assert!(said.lock().unwrap().contains(outside.to_str().unwrap()));
    leave(cluster).await;
    with_a_table(&data_dir).await;

    fs::set_permissions(&parent, PermissionsExt::from_mode(0o755)).unwrap();
    has_the_table(&data_dir).await;
    fs::rename(&parent, scratch.path().join("moved")).unwrap();
    has_the_table(&scratch.path().join("moved/data")).await;
    // Without the note it is found by the path that it was made for.
    fs::rename(scratch.path().join("moved"), &parent).unwrap();
    fs::remove_file(data_dir.join("cluster.place")).unwrap();
    has_the_table(&data_dir).await;
}

/// What a test made outside of its own directory.
struct Outside(std::path::PathBuf);

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        // If it is empty now: others may have theirs beside.
        let _ = fs::remove_dir("/var/lib/counterfoil");
    }
}

#[tokio::test]
async fn what_is_no_cluster_of_ours_is_left_alone() {
    let scratch = Scratch::new();
    with_a_table(scratch.path()).await;
    let cluster = scratch.path().join("postgres");
    let version = cluster.join("PG_VERSION");
    let genuine = fs::read_to_string(&version).unwrap();

    fs::write(&version, "99\n").unwrap();
    let error = refused(scratch.path()).await;
    assert!(error.contains("PostgreSQL 99") && error.contains("pg_upgrade"), "{error}");
    assert!(error.contains(genuine.trim()), "{error}");
    fs::write(&version, "").unwrap();
    assert!(refused(scratch.path()).await.contains("PG_VERSION holds"));
    // Cannot be read as a file: not the same as "is not there".
    fs::remove_file(&version).unwrap();
    fs::create_dir(&version).unwrap();
    assert!(refused(scratch.path()).await.contains("PG_VERSION"));
    fs::remove_dir(&version).unwrap();
    assert!(refused(scratch.path()).await.contains("PG_VERSION is missing"));
    fs::remove_file(scratch.path().join("cluster.place")).unwrap();
    assert!(refused(scratch.path()).await.contains("PG_VERSION is missing"));

    fs::write(&version, genuine).unwrap();
    has_the_table(scratch.path()).await;
}

#[tokio::test]
async fn an_open_directory_is_closed_and_a_strangers_is_refused() {
    let scratch = Scratch::new();
    with_a_table(scratch.path()).await;
    let cluster = scratch.path().join("postgres");
    fs::set_permissions(&cluster, PermissionsExt::from_mode(0o2770)).unwrap();
    has_the_table(scratch.path()).await;
    assert_eq!(fs::metadata(&cluster).unwrap().mode() & 0o7777, 0o700);

    if geteuid().is_root() {
        let owner = fs::metadata(&cluster).unwrap().uid();
        std::os::unix::fs::chown(&cluster, Some(owner + 4711), None).unwrap();
        let error = refused(scratch.path()).await;
        assert!(error.contains(&format!("chown -R {owner}")), "{error}");
        std::os::unix::fs::chown(&cluster, Some(owner), None).unwrap();
    }
    let moved = scratch.path().join("moved");
    fs::rename(&cluster, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &cluster).unwrap();
    assert!(refused(scratch.path()).await.contains("is not a directory"));
}
