//! Finding PostgreSQL's server programs.

use super::PrivateError;
use super::account::Account;
use super::place::version;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The oldest major version that is supported.
pub(crate) const OLDEST: u32 = 14;

/// The server programs of one version.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    directory: PathBuf,
    major: u32,
}

impl Binaries {
    /// The programs that fit an existing cluster, or else the newest.
    pub(crate) async fn find(cluster: &Path, account: &Account) -> Result<Self, PrivateError> {
        Self::among(candidates(account), cluster, account).await
    }

    /// The same, of what these directories hold: those that lack a program are passed over.
    async fn among(
        directories: impl Iterator<Item = PathBuf>,
        cluster: &Path,
        account: &Account,
    ) -> Result<Self, PrivateError> {
        let has_both =
            |directory: &PathBuf| directory.join("postgres").exists() && directory.join("initdb").exists();
        let mut found = Vec::new();
        for directory in directories.filter(has_both) {
            found.extend(Self::at(directory, account).await.filter(|binaries| binaries.major >= OLDEST));
        }
        // Of one version the first is taken, at the first start as at any later: what made a cluster also runs it.
        found.sort_by_key(|binaries| binaries.major);
        found.dedup_by_key(|binaries| binaries.major);
        let newest = found.last().cloned().ok_or(PrivateError::NoBinaries)?;
        let Some(version) = version(cluster)? else { return Ok(newest) };
        let fitting = found.iter().find(|binaries| binaries.major.to_string() == version).cloned();
        fitting.ok_or_else(|| PrivateError::OtherVersion {
            cluster: cluster.display().to_string(),
            found: version,
            installed: found.iter().map(|b| b.major.to_string()).collect::<Vec<_>>().join(", "),
        })
    }

    async fn at(directory: PathBuf, account: &Account) -> Option<Self> {
        let mut command = account.command(&directory.join("postgres"));
        let output = command.arg("--version").kill_on_drop(true).output();
        let output = tokio::time::timeout(Duration::from_secs(10), output).await.ok()?.ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let number = text.split_whitespace().nth(2)?;
        let major = number.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()?;
        Some(Self { directory, major })
    }

    /// Their major version.
    pub(crate) fn major(&self) -> u32 {
        self.major
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Where distributions keep them, and the path. For root, of the path only what root alone can write.
fn candidates(account: &Account) -> impl Iterator<Item = PathBuf> {
    let below = |parent: &str, end: &'static str| {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        entries.map(move |entry| entry.path().join(end)).collect::<Vec<_>>()
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let roots = |directory: &PathBuf| {
        std::fs::metadata(directory).is_ok_and(|found| found.uid() == 0 && found.mode() & 0o022 == 0)
    };
    let on_path: Vec<PathBuf> = std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute() && (!account.steps_down || roots(directory)))
        .collect();
    let packaged = below("/usr/lib/postgresql", "bin").into_iter().chain(below("/usr", "bin"));
    packaged.chain(on_path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::{getegid, geteuid};
    use std::process::Command;

    /// What one version's directory holds: a `postgres` that tells its version, and an `initdb`.
    fn install(directory: &Path, version: &str) -> PathBuf {
        // Not by this process: a program of another test could inherit the open file, and nobody may run it then.
        let make = r#"mkdir "$0" && cd "$0" && touch initdb && printf '#!/bin/sh\necho "%s"\n' "$1" > postgres && chmod +x *"#;
        let directory = directory.join(version.replace(' ', "-"));
        let text = format!("postgres (PostgreSQL) {version}");
        assert!(Command::new("sh").args(["-c", make]).arg(&directory).arg(text).status().unwrap().success());
        directory
    }

    /// The directory that is chosen for a cluster, or what a person is told instead. `holds` is the cluster's version.
    async fn chosen(installed: &[PathBuf], holds: Option<&str>) -> Result<PathBuf, String> {
        let cluster = tempfile::tempdir().unwrap();
        if let Some(version) = holds {
            std::fs::write(cluster.path().join("PG_VERSION"), format!("{version}\n")).unwrap();
        }
        let ours = Account { uid: geteuid(), gid: getegid(), steps_down: false };
        match Binaries::among(installed.iter().cloned(), cluster.path(), &ours).await {
            Ok(binaries) => Ok(binaries.directory),
            Err(error) => Err(error.to_string()),
        }
    }

    #[tokio::test]
    async fn without_server_programs_a_person_is_told_what_to_install() {
        let place = tempfile::tempdir().unwrap();
        let no_initdb = install(place.path(), "16.2");
        std::fs::remove_file(no_initdb.join("initdb")).unwrap();
        let silent = install(place.path(), "17.3");
        std::fs::remove_file(silent.join("postgres")).unwrap();
        std::os::unix::fs::symlink("/bin/true", silent.join("postgres")).unwrap();
        let old = install(place.path(), "13.14 (Debian 13.14-1.pgdg120+1)");
        let nowhere = place.path().join("nowhere");
        for installed in [&[][..], &[nowhere, no_initdb, silent], &[old]] {
            for holds in [None, Some("13"), Some("15")] {
                let said = chosen(installed, holds).await.unwrap_err();
                for words in ["14 or newer", "apt-get install postgresql", "or set DATABASE_URL"] {
                    assert!(said.contains(words), "{installed:?}, {holds:?}: {said}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_cluster_gets_the_first_programs_of_its_version_and_a_new_one_of_the_newest() {
        let place = tempfile::tempdir().unwrap();
        let versions =
            ["17.0", "9.6.24", "15.4 (Debian 15.4-1.pgdg120+1)", "13.14", "16beta1", "17.4", "15.9"];
        let installed = versions.map(|version| install(place.path(), version));
        let [newest, _, fitting, _, beta, ..] = &installed;
        assert_eq!(chosen(&installed, None).await.as_ref(), Ok(newest));
        for (holds, fits) in [("17", newest), ("15", fitting), ("16", beta)] {
            assert_eq!(chosen(&installed, Some(holds)).await.as_ref(), Ok(fits), "{holds}");
        }
        // Neither a newer one nor one that is too old is used for what it does not fit.
        for holds in ["13", "14", "18", "9"] {
            let said = chosen(&installed, Some(holds)).await.unwrap_err();
            let expected = format!(
                "is of PostgreSQL {holds}, but only 15, 16, 17 is installed: install postgresql-{holds}, or upgrade"
            );
            assert!(said.contains(&expected), "{said}");
        }
    }
}
