//! What an administrator of the database might change by hand.

use crate::support::{Made, Service};
use counterfoil_domain::ids::TokenId;

/// Each change, the table that it must be named for (none where that is the log), and words of what must be said.
pub(super) fn corruptions(service: &Service, made: &Made) -> Vec<(String, &'static str, &'static str)> {
    let (narrow, revoked) = (made.narrow, made.revoked);
    let (owner, member) = (service.made.owner.id, made.member.user);
    let organization = service.made.organization.id;
    let of = |name: &str, token: TokenId| {
        format!("(SELECT max(seq) FROM events WHERE type = '{name}' AND subject_id = '{token}')")
    };
    let (scoped, ended) = (of("token.scoped", narrow), of("token.revoked", revoked));
    let digest = "decode(repeat('ab', 32), 'hex')";
    vec![
        // The tables.
        (format!("UPDATE tokens SET digest = {digest} WHERE id = '{narrow}'"), "tokens", "digest is"),
        (format!("UPDATE tokens SET scopes = 'read write' WHERE id = '{narrow}'"), "tokens", "scopes is"),
        (format!("UPDATE tokens SET scopes = '' WHERE id = '{narrow}'"), "tokens", "cannot be read"),
        (format!("UPDATE tokens SET expires_at = NULL WHERE id = '{narrow}'"), "tokens", "expires_at is"),
        (
            format!("UPDATE tokens SET expires_at = 'infinity' WHERE id = '{narrow}'"),
            "tokens",
            "no instant of the calendar",
        ),
        (
            format!("UPDATE tokens SET issued_at = '-infinity' WHERE id = '{narrow}'"),
            "tokens",
            "no instant of the calendar",
        ),
        (
            format!("UPDATE tokens SET ended_at = '200000-01-01Z' WHERE id = '{revoked}'"),
            "tokens",
            "no instant of the calendar",
        ),
        (format!("UPDATE tokens SET since = 1 WHERE id = '{narrow}'"), "tokens", "since is"),
        (
            format!(
                "UPDATE tokens SET ended_seq = NULL, ended_at = NULL, ended_how = NULL WHERE id = '{revoked}'"
            ),
            "tokens",
            "ended is null",
        ),
        (format!("UPDATE tokens SET user_id = '{member}' WHERE id = '{narrow}'"), "tokens", "owner is"),
        (
            format!(
                "INSERT INTO tokens SELECT gen_random_uuid(), kind, user_id, gateway_id, home, {digest}, hint, generation, scopes, expires_at, note_id, note_commitment, issued_by, since, issued_at, issued_seq, disabled, slot, previous, ended_seq, ended_at, ended_how, seq FROM tokens WHERE id = '{narrow}'"
            ),
            "tokens",
            "no event made it",
        ),
        // In a table of its own, which whatever asks for the tokens reads as well.
        (
            format!(
                "CREATE TABLE saved.planted () INHERITS (tokens);
                 INSERT INTO saved.planted SELECT * FROM tokens WHERE id = '{narrow}';
                 UPDATE saved.planted SET id = gen_random_uuid(), digest = {digest}"
            ),
            "tokens",
            "no event made it",
        ),
        (
            "CREATE TABLE saved.planted () INHERITS (claimed_slots);
             INSERT INTO saved.planted SELECT user_id, 48, gen_random_uuid(), expires_at FROM claimed_slots LIMIT 1"
                .into(),
            "claimed_slots",
            "slot 48 is claimed",
        ),
        (
            format!(
                "CREATE TABLE saved.planted () INHERITS (claimed_digests);
                 INSERT INTO saved.planted (digest, era, token_id) VALUES ({digest}, 0, '{narrow}')"
            ),
            "claimed_digests",
            "not its own",
        ),
        (format!("DELETE FROM tokens WHERE id = '{revoked}'"), "tokens", "is not there"),
        (
            format!(
                "UPDATE users SET memberships = replace(memberships, 'member', 'owner') WHERE id = '{member}'"
            ),
            "users",
            "memberships is",
        ),
        ("UPDATE gateways SET removed = NULL".into(), "gateways", "removed is null"),
        (
            format!("UPDATE gateways SET kinds = 'personal admin caller' WHERE id = '{}'", made.gateway),
            "gateways",
            "kinds is",
        ),
        ("UPDATE organizations SET revoked_all = 5".into(), "organizations", "revoked_all is 5"),
        ("UPDATE environments SET number = number + 1".into(), "environments", "number is"),
        ("DELETE FROM environments".into(), "environments", "is not there"),
        (
            format!("UPDATE tokens SET id = gen_random_uuid() WHERE id = '{revoked}'"),
            "tokens",
            "is not there",
        ),
        (
            format!("UPDATE events SET record = replace(record, '\"seq\":{}', '\"seq\":0') WHERE seq = {}", 3, 3),
            "",
            "seq",
        ),
        // The claims.
        (format!("DELETE FROM claimed_slots WHERE token_id = '{narrow}'"), "claimed_slots", "not claimed"),
        (
            format!("UPDATE claimed_slots SET slot = 49 WHERE token_id = '{narrow}'"),
            "claimed_slots",
            "slot 49 is claimed",
        ),
        (
            format!("UPDATE claimed_slots SET expires_at = '2090-01-01' WHERE token_id = '{narrow}'"),
            "claimed_slots",
            "has another expires_at",
        ),
        (
            format!("UPDATE claimed_slots SET expires_at = 'infinity' WHERE token_id = '{narrow}'"),
            "claimed_slots",
            "has another expires_at",
        ),
        (
            format!("UPDATE claimed_slots SET era = 0 WHERE token_id = '{narrow}'"),
            "claimed_slots",
            "is claimed in era 0",
        ),
        ("DELETE FROM slot_eras".into(), "claimed_slots", "is claimed in era 7"),
        (
            format!("DELETE FROM claimed_digests WHERE token_id = '{narrow}'"),
            "claimed_digests",
            "not claimed",
        ),
        (
            format!("INSERT INTO claimed_digests VALUES ({digest}, 0, '{narrow}')"),
            "claimed_digests",
            "not its own",
        ),
        ("UPDATE claimed_digests SET era = 1".into(), "claimed_digests", "not its own"),
        // What the events only commit to.
        (
            "UPDATE personal_values SET value = 'x', folded = 'x' WHERE value = 'renamed'".into(),
            "personal_values",
            "not the value",
        ),
        (
            "UPDATE personal_values SET salt = decode(repeat('00', 16), 'hex')".into(),
            "personal_values",
            "not the value",
        ),
        (
            "UPDATE personal_values SET folded = 'x' WHERE value = 'renamed'".into(),
            "personal_values",
            "folded",
        ),
        (
            format!("UPDATE personal_values SET subject = '{member}' WHERE subject = '{owner}'"),
            "personal_values",
            "subject",
        ),
        (
            format!(
                "INSERT INTO personal_values VALUES (gen_random_uuid(), '{owner}', 'x', 'x', decode(repeat('00', 16), 'hex'))"
            ),
            "personal_values",
            "no event",
        ),
        // No event of this version erases one.
        (
            "DELETE FROM personal_values WHERE value = 'renamed'".into(),
            "personal_values",
            "commits to it, and it is not there",
        ),
        (
            format!("UPDATE sign_in_names SET key = 'thief@example.com' WHERE user_id = '{owner}'"),
            "sign_in_names",
            "not the user's",
        ),
        (format!("DELETE FROM sign_in_names WHERE user_id = '{owner}'"), "sign_in_names", "not there"),
        (
            format!("INSERT INTO password_hashes VALUES ('{}', 'x')", made.without_password),
            "password_hashes",
            "without an event",
        ),
        (format!("DELETE FROM password_hashes WHERE user_id = '{owner}'"), "password_hashes", "missing"),
        // The log.
        (format!("DELETE FROM events WHERE seq = {ended}"), "", "the log has a gap"),
        (format!("DELETE FROM events WHERE seq = {ended}"), "tokens", "ended is"),
        ("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)".into(), "tokens", "no event made it"),
        ("DELETE FROM events WHERE seq = 1".into(), "", "the log has a gap"),
        (
            format!(
                "UPDATE events SET record = replace(record, '[\"read\"]', '[\"write\"]') WHERE seq = {scoped}"
            ),
            "",
            "chain value",
        ),
        (
            format!(
                "UPDATE events SET record = replace(record, '[\"read\"]', '[\"write\"]') WHERE seq = {scoped}"
            ),
            "tokens",
            "scopes is",
        ),
        (
            format!(
                "UPDATE events SET record = replace(record, '{{\"seq\"', '{{ \"seq\"') WHERE seq = {scoped}"
            ),
            "",
            "chain value",
        ),
        (
            format!(
                "UPDATE events SET record = replace(record, 'token.scoped', 'token.eaten') WHERE seq = {scoped}"
            ),
            "",
            "unknown event type",
        ),
        (format!("UPDATE events SET chain = {digest} WHERE seq = {scoped}"), "", "chain value"),
        (
            format!(
                "UPDATE events e SET record = replace(record, '[\"read\"]', '[\"write\"]'), chain = sha256((SELECT p.chain FROM events p WHERE p.seq = e.seq - 1) || convert_to(replace(record, '[\"read\"]', '[\"write\"]'), 'UTF8')) WHERE seq = {scoped}"
            ),
            "",
            "chain value",
        ),
        ("UPDATE events SET seq = seq + 1000".into(), "", "the column seq differs"),
        (
            format!("UPDATE events SET type = 'token.enabled' WHERE seq = {scoped}"),
            "",
            "the column type differs",
        ),
        (
            format!("UPDATE events SET organization_id = '{organization}' WHERE seq = {scoped}"),
            "",
            "the column organization_id differs",
        ),
        (
            format!("UPDATE events SET subject_id = '{member}' WHERE seq = {scoped}"),
            "",
            "the column subject_id differs",
        ),
        (format!("UPDATE events SET user_id = NULL WHERE seq = {scoped}"), "", "the column user_id differs"),
        (
            format!(
                "UPDATE events SET decided_at = decided_at + interval '1 microsecond' WHERE seq = {scoped}"
            ),
            "",
            "the column decided_at differs",
        ),
        (
            format!("UPDATE events SET decided_at = 'infinity' WHERE seq = {scoped}"),
            "",
            "the column decided_at differs",
        ),
    ]
}
