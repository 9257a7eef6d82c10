//! The right to mount a file system: the process has it, or a namespace gives it.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::process::Command;

/// A test that runs once more, where it may mount, finds this in its environment.
const INSIDE: &str = "COUNTERFOIL_TEST_MAY_MOUNT";

/// A namespace of whoever runs the tests; and one that root makes, where users may mount in none of theirs, as on Ubuntu.
const NAMESPACES: [&[&str]; 2] = [
    &["unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "--"],
    &["sudo", "-n", "--preserve-env", "unshare", "--mount", "--"],
];

/// Whether this process may mount.
fn may_mount() -> bool {
    let place = tempfile::tempdir().unwrap();
    let mounted = mount(Some("small"), place.path(), Some("tmpfs"), MsFlags::empty(), Some("size=1m"));
    mounted.and_then(|()| umount2(place.path(), MntFlags::MNT_DETACH)).is_ok()
}

fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// One test once more, in a namespace.
fn again(namespace: &[&str], test: &str) -> Command {
    let mut again = Command::new(namespace[0]);
    again.args(&namespace[1..]).arg(std::env::current_exe().unwrap());
    again.args([test, "--exact", "--include-ignored", "--nocapture"]).env(INSIDE, "1");
    again
}

/// The first namespace in which one may mount.
fn namespace() -> Option<&'static [&'static str]> {
    let mut namespaces = NAMESPACES.into_iter().filter(|_| !is_inside());
    namespaces.find(|namespace| {
        let probed = again(namespace, "support::mounts::one_may_mount_here_or_in_a_namespace").output();
        probed.is_ok_and(|probed| probed.status.success())
    })
}

/// Runs a test, by its whole name, where it may mount: here, or once more in a namespace.
pub(crate) async fn where_one_may_mount(test: &str, it: impl Future<Output = ()>) {
    if may_mount() {
        return it.await;
    }
    let namespace = namespace().expect(
        "a file system is mounted here: run the tests as root or as a user who has sudo, or allow namespaces to \
         users (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0)",
    );
    let ran = again(namespace, test).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()));
}

#[test]
fn one_may_mount_here_or_in_a_namespace() {
    assert!(may_mount() || namespace().is_some());
}
