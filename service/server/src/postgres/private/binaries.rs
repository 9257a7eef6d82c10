//! Finding PostgreSQL's server programs.

use super::PrivateError;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest major version that is supported.
const OLDEST: u32 = 14;

/// The server programs of one version.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    directory: PathBuf,
    major: u32,
}

impl Binaries {
    /// The programs that fit an existing cluster, or else the newest.
    pub(crate) fn find(cluster: &Path) -> Result<Self, PrivateError> {
        let mut found: Vec<Self> = candidates().filter_map(Self::at).filter(|b| b.major >= OLDEST).collect();
        found.sort_by_key(|binaries| binaries.major);
        let newest = found.last().cloned().ok_or(PrivateError::NoBinaries)?;
        let Ok(version) = std::fs::read_to_string(cluster.join("PG_VERSION")) else { return Ok(newest) };
        let fitting = found.iter().find(|binaries| binaries.major.to_string() == version.trim()).cloned();
        fitting.ok_or_else(|| PrivateError::OtherVersion {
            cluster: cluster.display().to_string(),
            found: version.trim().into(),
            installed: found.iter().map(|b| b.major.to_string()).collect::<Vec<_>>().join(", "),
        })
    }

    fn at(directory: PathBuf) -> Option<Self> {
        let output =
            Command::new(directory.join("pg_ctl")).arg("--version").env("LC_ALL", "C").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let number = text.split_whitespace().nth(2)?;
        let major = number.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()?;
        directory.join("initdb").exists().then_some(Self { directory, major })
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Where distributions keep them, and the path.
fn candidates() -> impl Iterator<Item = PathBuf> {
    let below = |parent: &str, end: &'static str| {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        entries.map(move |entry| entry.path().join(end)).collect::<Vec<_>>()
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> =
        std::env::split_paths(&path).filter(|directory| directory.join("pg_ctl").exists()).collect();
    let packaged = below("/usr/lib/postgresql", "bin")
        .into_iter()
        .chain(below("/usr", "bin"))
        .chain(below("/opt/homebrew/opt", "bin"));
    packaged.chain(on_path).filter(|directory| directory.join("pg_ctl").exists())
}
