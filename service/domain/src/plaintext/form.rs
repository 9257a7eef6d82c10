//! Recognising a plaintext by its form.

use super::{CHECKSUM_CHARACTERS, LONGEST_PREFIX, SECRET_CHARACTERS, push_checksum};

/// Characters after the prefix.
const TAIL: usize = SECRET_CHARACTERS + CHECKSUM_CHARACTERS;

/// Whether `text` is of the form that `mint` makes under `prefix`. What is not was never given to anybody, so it need
/// not be looked for. Anybody can make something that is: it proves nothing.
pub fn has_form(prefix: &str, text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(prefix.as_bytes()) else { return false };
    rest.len() == TAIL && rest.iter().all(u8::is_ascii_alphanumeric) && checksum_fits(text)
}

/// Whether a text that is longer than a checksum ends with its own.
fn checksum_fits(text: &[u8]) -> bool {
    let (body, end) = text.split_at(text.len() - CHECKSUM_CHARACTERS);
    let mut expected = String::with_capacity(CHECKSUM_CHARACTERS);
    push_checksum(&mut expected, crc32fast::hash(body));
    expected.as_bytes() == end
}

/// Whether `text` contains something of the form that `mint` makes, under any prefix whose checksum fits. Free
/// text that does is refused, so that a secret pasted into the wrong field is not stored.
pub fn contains_a_plaintext(text: &str) -> bool {
    let is_ours = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.as_bytes().split(|b| !is_ours(*b)).any(run_contains_a_plaintext)
}

/// Tries every beginning before each underscore that a secret of the right length follows: prefixes are configured, may
/// have been others when the plaintext was minted, and may be glued to what stands before them.
fn run_contains_a_plaintext(run: &[u8]) -> bool {
    let mut secrets = (1..=run.len().saturating_sub(TAIL)).filter(|start| run[start - 1] == b'_');
    secrets.any(|secret| {
        (secret.saturating_sub(LONGEST_PREFIX)..secret).any(|start| checksum_fits(&run[start..secret + TAIL]))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Plaintext;
    use super::*;

    fn minted(entropy: [u8; 32]) -> String {
        Plaintext::mint("cf_pat_", &entropy).into_shown()
    }

    #[test]
    fn a_pasted_plaintext_is_recognised() {
        let secret = minted([3; 32]);
        for text in [
            secret.clone(),
            format!("key: {secret}."),
            format!("curl -H 'X: {secret}'"),
            format!("xx{secret}yy"),
        ] {
            assert!(contains_a_plaintext(&text), "{text}");
        }
        // Whatever the prefix was, and whatever it is glued to.
        for prefix in ["__", "a_b_c_", "acme_", "sixteen_letters_"] {
            let secret = Plaintext::mint(prefix, &[5; 32]).into_shown();
            assert!(contains_a_plaintext(&format!("token{secret}yy")), "{prefix}");
        }
        let typo = secret.replace(&secret[10..11], if &secret[10..11] == "a" { "b" } else { "a" });
        for text in ["deploy key for staging", "", "cf_pat_", &typo, &"a_".repeat(200), &"x".repeat(4000)] {
            assert!(!contains_a_plaintext(text), "{text}");
        }
    }

    #[test]
    fn a_form_is_whole_and_its_checksum_fits() {
        let secret = minted([3; 32]);
        assert!(has_form("cf_pat_", secret.as_bytes()));
        for other in ["", "cf_pat_", &secret[1..], &secret[..secret.len() - 1], &format!("{secret}0")] {
            assert!(!has_form("cf_pat_", other.as_bytes()), "{other}");
        }
        assert!(!has_form("cf_ses_", secret.as_bytes()));
        for place in 0..secret.len() {
            let mut typo = secret.clone().into_bytes();
            typo[place] = if typo[place] == b'a' { b'b' } else { b'a' };
            assert!(!has_form("cf_pat_", &typo), "{place}");
        }
    }
}
