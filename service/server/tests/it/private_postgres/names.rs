//! One data directory by several names: the default, which is relative, a longer way, a link, and its path in full.

use crate::support::Scratch;
use crate::support::load::People;
use crate::support::program::{INIT, Program, command, verify};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// A command that is given from a directory.
fn command_in(directory: &Path, data_dir: &str, arguments: &[&str]) -> Command {
    let mut command = command(Path::new(data_dir), arguments);
    command.current_dir(directory);
    command
}

/// Serves until all that the owner's token needs is there again. Beside it, who calls the data by its path in full is
/// let into the same cluster.
async fn serves(scratch: &Scratch, serve: Command, people: &People, data_dir: &Path) {
    let mut program = Program::start(serve);
    program.until_ready().await;
    people.until_active(program.base(), people.own()).await;
    verify(data_dir).await;
    program.stop().await;
    assert!(scratch.processes().is_empty(), "{}", program.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relative_data_directory_is_the_one_where_the_command_is_given() {
    let scratch = Scratch::new();
    let (here, deeper) = (scratch.path(), scratch.path().join("deeper"));
    fs::create_dir(&deeper).unwrap();
    // As whoever configures nothing: in ./data.
    let by_default = |arguments: &[&str]| {
        let mut command = command_in(here, "", arguments);
        command.env_remove("COUNTERFOIL__DATA_DIR");
        command
    };
    let mut program = Program::start(by_default(&["serve"]));
    program.until_ready().await;
    let people = People::made_by(by_default(&INIT), program.base()).await;
    program.stop().await;
    let data_dir = here.join("data");
    assert!(data_dir.join("postgres/PG_VERSION").exists() && scratch.processes().is_empty());

    serves(&scratch, by_default(&["serve"]), &people, &data_dir).await;
    serves(&scratch, command_in(&deeper, "../data", &["serve"]), &people, &data_dir).await;
    assert_eq!(fs::read_dir(&deeper).unwrap().count(), 0);
    assert_eq!(fs::read_dir(here).unwrap().count(), 2, "the data and the other directory");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_a_data_directory_is_the_directory_that_it_leads_to() {
    let scratch = Scratch::new();
    let [volume, moved, link] = ["volume", "moved", "link"].map(|name| scratch.path().join(name));
    fs::create_dir(&volume).unwrap();
    symlink("volume", &link).unwrap();
    let mut program = Program::start(command(&link, &["serve"]));
    program.until_ready().await;
    let people = People::made_by(command(&volume, &INIT), program.base()).await;
    program.stop().await;
    assert!(volume.join("postgres/PG_VERSION").exists() && scratch.processes().is_empty());

    serves(&scratch, command(&link, &["serve"]), &people, &volume).await;
    fs::rename(&volume, &moved).unwrap();
    fs::remove_file(&link).unwrap();
    symlink(&moved, &link).unwrap();
    serves(&scratch, command_in(scratch.path(), "link", &["serve"]), &people, &moved).await;
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && !volume.exists());
}
