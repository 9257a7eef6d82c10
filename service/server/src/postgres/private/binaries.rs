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
        let mut found = Vec::new();
        for directory in candidates(account) {
            found.extend(Self::at(directory, account).await.filter(|binaries| binaries.major >= OLDEST));
        }
        found.sort_by_key(|binaries| binaries.major);
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
    packaged
        .chain(on_path)
        .filter(|directory| directory.join("postgres").exists() && directory.join("initdb").exists())
}
