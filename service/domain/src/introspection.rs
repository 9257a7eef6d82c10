//! What a gateway is told of a token (RFC 7662 section 2.2).

use serde::Serialize;

/// The answer to everything that is not an active token of the gateway's own: unknown, malformed, expired,
/// revoked, disabled, another organization's. One constant, so that there is one answer.
pub const INACTIVE: &str = r#"{"active":false}"#;

/// The answer to an active token. What does not apply is left out, never null; times are integers; the scope is
/// one string.
///
/// Every gateway asks for this with every request that it carries, so it is written by [`Active::write`], piece by piece; its
/// `Serialize` says the same, as the documentation of the API needs it.
#[derive(Debug, Serialize)]
pub struct Active<'a> {
    /// Always true.
    pub active: bool,
    /// Scope-tokens with one blank between them.
    pub scope: &'a str,
    /// Who holds the token: its user, for a personal token.
    pub client_id: &'a str,
    /// Whom the token speaks for.
    pub sub: &'a str,
    /// A name that a person recognises.
    pub username: &'a str,
    /// How it is presented: `Bearer` (RFC 6750).
    pub token_type: &'a str,
    /// When it was issued, in seconds since the epoch.
    pub iat: i64,
    /// From when on it is inactive, in seconds since the epoch. Absent for a token without expiry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// Who answers: the configured public URL.
    pub iss: &'a str,
    /// The token's id, which rotation keeps.
    pub jti: &'a str,
    /// The organization that the answer is about: the gateway's.
    pub organization_id: &'a str,
    /// What the token is for.
    pub kind: &'a str,
    /// The role in the organization, of a personal token's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'a str>,
}

impl Active<'_> {
    /// Writes the document (RFC 8259).
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"active":true"#);
        string(out, r#","scope":"#, self.scope);
        string(out, r#","client_id":"#, self.client_id);
        string(out, r#","sub":"#, self.sub);
        string(out, r#","username":"#, self.username);
        string(out, r#","token_type":"#, self.token_type);
        number(out, r#","iat":"#, self.iat);
        if let Some(exp) = self.exp {
            number(out, r#","exp":"#, exp);
        }
        string(out, r#","iss":"#, self.iss);
        string(out, r#","jti":"#, self.jti);
        string(out, r#","organization_id":"#, self.organization_id);
        string(out, r#","kind":"#, self.kind);
        if let Some(role) = self.role {
            string(out, r#","role":"#, role);
        }
        out.push(b'}');
    }
}

fn number(out: &mut Vec<u8>, name: &str, value: i64) {
    out.extend_from_slice(name.as_bytes());
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), value.unsigned_abs());
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    out.extend_from_slice(&digits[at..]);
}

/// A string with what RFC 8259 section 7 wants escaped. Nearly none has anything.
fn string(out: &mut Vec<u8>, name: &str, text: &str) {
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
    // Without a branch a byte, so that many bytes are looked at in one instruction.
    let plain =
        text.bytes().fold(true, |plain, byte| plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\'));
    if plain {
        out.extend_from_slice(text.as_bytes());
    } else {
        for character in text.chars() {
            match character {
                '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
                '\0'..='\x1f' => out.extend_from_slice(format!("\\u{:04x}", character as u32).as_bytes()),
                other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_serialized() {
        for (name, iat, exp, role) in [
            ("owner@example.com", 1_795_610_423, None, Some("owner")),
            ("a\"b\\c\n\u{7}ü😀", 0, Some(i64::MAX), None),
            ("", -1, Some(i64::MIN), Some("")),
        ] {
            let active = Active {
                active: true,
                scope: "read write",
                client_id: "c",
                sub: "s",
                username: name,
                token_type: "Bearer",
                iat,
                exp,
                iss: "https://tokens.example",
                jti: "j",
                organization_id: "o",
                kind: "personal",
                role,
            };
            let mut written = Vec::new();
            active.write(&mut written);
            let read: serde_json::Value = serde_json::from_slice(&written).unwrap();
            assert_eq!(read, serde_json::to_value(&active).unwrap());
        }
    }
}
