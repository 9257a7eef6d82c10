//! The search for secrets in files, in every form in which one could be written down.

use base64::Engine;
use std::collections::HashSet;
use std::path::Path;

/// How long a needle is.
pub(super) const LONG: usize = 16;

/// The forms in which a secret could be written down, all of one length.
pub(super) fn needles(secrets: &[String]) -> HashSet<[u8; LONG]> {
    let base64 = base64::engine::general_purpose::STANDARD;
    let mut needles = HashSet::new();
    for secret in secrets {
        // What follows prefix and hint, which may be shown.
        let hidden = &secret[12..];
        let hex: String = hidden.bytes().map(|byte| format!("{byte:02x}")).collect();
        // Whatever stands before it, one of three alignments is the one that it has.
        let encoded = (0..3).map(|skip| base64.encode(&hidden[skip..]));
        for form in [hidden.to_owned(), hex.to_uppercase(), hex].into_iter().chain(encoded) {
            needles.insert(form.as_bytes()[..LONG].try_into().unwrap());
        }
    }
    needles
}

/// Every file below a directory in which one of the needles is. Needles are of letters, digits, `+` and `/`.
pub(super) fn search(directory: &Path, needles: &HashSet<[u8; LONG]>) -> Vec<String> {
    let (mut hits, mut left) = (Vec::new(), vec![directory.to_path_buf()]);
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
            } else if let Ok(bytes) = std::fs::read(&path)
                && contains(&bytes, needles)
            {
                hits.push(path.display().to_string());
            }
        }
    }
    hits
}

fn contains(bytes: &[u8], needles: &HashSet<[u8; LONG]>) -> bool {
    let mut run = 0;
    for (place, byte) in bytes.iter().enumerate() {
        run = if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/') { run + 1 } else { 0 };
        if run >= LONG && needles.contains(&bytes[place + 1 - LONG..=place]) {
            return true;
        }
    }
    false
}
