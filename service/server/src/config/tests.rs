//! The configuration as operators write it.

use super::*;

fn load(yaml: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), yaml).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string()));
    Config::load(Some(file.path()), environment).map_err(|error| error.to_string())
}

#[test]
fn the_environment_overrides_the_file() {
    let config = load(
        "api:\n  addr: 127.0.0.1:1\nlimits:\n  tokens_per_user: 7\n",
        &[
            ("COUNTERFOIL__API__ADDR", "127.0.0.1:2"),
            ("COUNTERFOIL__DATA_DIR", "/x"),
            ("DATABASE_URL", "postgres://h/d"),
        ],
    )
    .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((config.api.addr.port(), config.limits.tokens_per_user), (2, 7));
    assert_eq!(
        (config.data_dir.to_str(), config.database_url.as_deref()),
        (Some("/x"), Some("postgres://h/d"))
    );
    assert_eq!(config.issuer(), "http://127.0.0.1:2");
}

#[test]
fn lists_and_switches_come_from_the_environment_too() {
    let config = load(
        "",
        &[
            ("COUNTERFOIL__TRUSTED_PROXIES", "10.0.0.0/8, ::1/128"),
            ("COUNTERFOIL__METRICS__ENABLED", "false"),
        ],
    )
    .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((config.trusted_proxies.len(), config.metrics.enabled), (2, false));
}

/// Every field with its place, a list as a whole.
fn leaves(tree: &serde_json::Value, place: &str, out: &mut Vec<String>) {
    match tree.as_object() {
        Some(fields) => {
            fields.iter().for_each(|(name, inner)| leaves(inner, &format!("{place}.{name}"), out))
        }
        None => out.push(format!("{place} = {tree}")),
    }
}

#[test]
fn the_sample_holds_every_field_with_its_default() {
    let sample = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../ops/counterfoil.yaml"));
    let sample = sample.unwrap_or_else(|error| panic!("{error}"));
    let (mut written, mut meant) = (Vec::new(), Vec::new());
    let tree: serde_json::Value = serde_saphyr::from_str(&sample).unwrap();
    leaves(&tree, "", &mut written);
    leaves(&serde_json::to_value(Config::default()).unwrap(), "", &mut meant);
    assert_eq!(written, meant);
    assert!(load(&sample, &[]).is_ok());
}

#[test]
fn what_is_wrong_is_named() {
    for (yaml, environment, said) in [
        ("api:\n  adr: 127.0.0.1:1\n", vec![], "adr"),
        ("nonsense: 1\n", vec![], "line 1"),
        ("limits:\n  tokens_per_user: 51\n", vec![], "limits.tokens_per_user"),
        ("public_url: ftp://x\n", vec![], "public_url"),
        ("public_url: 'http://x/{y}'\n", vec![], "public_url"),
        ("public_url: http://x/:y\n", vec![], "line 1: public_url"),
        ("public_url: http://x/a/*y\n", vec![], "public_url"),
        ("public_url: http://x/ü\n", vec![], "public_url"),
        ("public_url: HTTPS://x\n", vec![], "line 1: public_url"),
        ("public_url: https://x//a\n", vec![], "line 1: public_url"),
        ("public_url: https://x//\n", vec![], "line 1: public_url"),
        ("public_url: https://x/a/../b\n", vec![], "line 1: public_url"),
        ("public_url: https://x/%2E%2e\n", vec![], "line 1: public_url"),
        ("public_url: 'https://x:'\n", vec![], "line 1: public_url"),
        ("public_url: https://x:0\n", vec![], "line 1: public_url"),
        ("public_url: https://x:99999\n", vec![], "line 1: public_url"),
        ("limits:\n  requests: 0\n", vec![], "line 2: limits.requests"),
        ("limits:\n  requests: 1000001\n", vec![], "line 2: limits.requests"),
        ("limits:\n  connections: 0\n", vec![], "line 2: limits.connections"),
        ("limits:\n  connections: 18446744073709551615\n", vec![], "line 2: limits.connections"),
        ("limits:\n  strangers_per_second: 2000000000\n", vec![], "line 2: limits.strangers_per_second"),
        ("limits:\n  sign_in_failures: 1000001\n", vec![], "line 2: limits.sign_in_failures"),
        ("drain:\n  notice_ms: 18446744073709551615\n", vec![], "line 2: drain.notice_ms"),
        ("log:\n  level: info=loud=er\n", vec![], "line 2: log.level: it is no level"),
        ("", vec![("COUNTERFOIL__LOG__LEVEL", "info=loud=er")], "log.level is wrong: it is no level"),
        ("# x\ndatabase_url: elsewhere\n", vec![], "line 2: database_url: it is no address"),
        (
            "database_url: postgres://h/d\ndatabase_migrate_url: 'postgres://h:x/d'\n",
            vec![],
            "line 2: database_migrate_url: it is no address",
        ),
        ("drain:\n  timeout_ms: 3600001\n", vec![], "line 2: drain.timeout_ms"),
        ("", vec![("COUNTERFOIL__LIMITS__REQUESTS", "0")], "limits.requests"),
        ("limits:\n  failures_burst: 0\n", vec![], "line 2"),
        ("trusted_proxies: [10.0.0.0/33]\n", vec![], "line 1"),
        ("# x\nprefixes:\n  # gateway: x\n  gateway: cf-gw_\n", vec![], "line 4: prefixes.gateway"),
        ("prefixes: {personal: p_, gateway: cfgw}\n", vec![], "line 1: prefixes.gateway"),
        ("prefixes:\n  admin: ''\n", vec![], "line 2: prefixes.admin"),
        ("prefixes:\n  admin: _\n", vec![], "line 2: prefixes.admin"),
        ("prefixes:\n  caller: seventeen_letter_\n", vec![], "line 2: prefixes.caller"),
        ("prefixes:\n  caller: clé_\n", vec![], "line 2: prefixes.caller"),
        ("prefixes:\n  caller: cf_pat_\n", vec![], "prefixes.personal (\"cf_pat_\")"),
        ("prefixes:\n  gateway: cf_\n", vec![], "line 2: prefixes.gateway"),
        ("prefixes:\n  admin: cf_pat_x_\n", vec![], "line 2: prefixes.admin"),
        (
            "prefixes:\n  personal: cf_org_me_\n",
            vec![],
            "line 2: prefixes.personal: \"cf_org_me_\" and prefixes.admin",
        ),
        ("data_dir: ''\n", vec![], "line 1: data_dir: it is empty"),
        ("data_dir: [a]\n", vec![], "line 1: data_dir is one text, such as data"),
        ("log: {level: \"a}\n", vec![], "unclosed"),
        (
            "drain:\n  notice_ms: -1\n",
            vec![],
            "line 2: drain.notice_ms is a whole number of milliseconds, up to 3600000, such as 500",
        ),
        ("42\n", vec![], "line 1: the file has fields of its own, any of data_dir, "),
        ("- a\n", vec![], "the file has fields of its own"),
        ("limits:\n", vec![], "line 1: limits has fields of its own, any of tokens_per_user, "),
        (
            "limits:\n  requests: many\n",
            vec![],
            "line 2: limits.requests is a whole number from 1 to 1000000, such as 2048",
        ),
        ("limits:\n  failures_burst: -1\n", vec![], "line 2: limits.failures_burst is a whole number"),
        ("metrics:\n  enabled: perhaps\n", vec![], "line 2: metrics.enabled is true or false"),
        (
            "limits:\n  requests: 99999999999999999999\n",
            vec![],
            "line 2: limits.requests is a whole number from 1 to",
        ),
        (
            "metrics:\n  addr: here\n",
            vec![],
            "line 2: metrics.addr is an IP address and a port, such as 127.0.0.1:9464",
        ),
        ("log:\n  format: xml\n", vec![], "line 2: log.format is text or json"),
        ("api:\n  addr: 127.0.0.1:1\napi:\n  addr: 127.0.0.1:2\n", vec![], "line 3: api stands there twice"),
        (
            "trusted_proxies: 10.0.0.0/8\n",
            vec![],
            "trusted_proxies is a list of networks, such as [10.0.0.0/8]",
        ),
        (
            "trusted_proxies:\n  - 10.0.0.0/33\n",
            vec![],
            "line 2: trusted_proxies[0] is a network, such as 10.0.0.0/8",
        ),
        ("database_url: mysql://h/d\n", vec![], "line 1: database_url: it is no address such as postgres://"),
        (
            "",
            vec![("COUNTERFOIL__LIMITS__REQUESTS", "many")],
            "limits.requests is a whole number from 1 to 1000000, such as 2048",
        ),
        ("", vec![("COUNTERFOIL__LOG__FORMAT", "xml")], "log.format is text or json"),
        (
            "",
            vec![("COUNTERFOIL__TRUSTED_PROXIES", "::1/128, 10.0.0.0/33")],
            "trusted_proxies[1] is a network, such as 10.0.0.0/8",
        ),
        (
            "",
            vec![("COUNTERFOIL__TRUSTED_PROXIES", "[10.0.0.0/8]")],
            "trusted_proxies[0] is a network, such as",
        ),
        ("prefixes:\n  session: x_\n", vec![], "line 2"),
        ("prefixes:\n  personal: 12\n", vec![], "line 2"),
        ("", vec![("COUNTERFOIL__PREFIXES__ADMIN", "x")], "prefixes.admin"),
        ("", vec![("DATABASE_MIGRATE_URL", "postgres://h/d")], "database_migrate_url"),
        ("", vec![("COUNTERFOIL__METRICS__ENABLED", "perhaps")], "COUNTERFOIL__METRICS__ENABLED"),
        ("", vec![("COUNTERFOIL__API__ADR", "x")], "COUNTERFOIL__API__ADR"),
        ("", vec![("COUNTERFOIL__API__ADDR", "x")], "COUNTERFOIL__API__ADDR"),
    ] {
        let error = load(yaml, &environment).err().unwrap_or_default();
        assert!(error.contains(said), "{yaml:?} {environment:?}: {error}");
    }
    assert!(load("# nothing\n", &[]).is_ok());
    assert!(load("prefixes: {personal: __, admin: a_b_c_, gateway: sixteen_letters_}\n", &[]).is_ok());
}

#[test]
fn the_environment_may_complete_and_mend_the_file() {
    let urls = [("DATABASE_URL", "postgres://app@h/d"), ("DATABASE_MIGRATE_URL", "")];
    let config =
        load("database_migrate_url: postgres://h/d\n", &urls).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.database_migrate_url.as_deref(), Some("postgres://h/d"));
    assert!(load("prefixes: {admin: x}\n", &[("COUNTERFOIL__PREFIXES__ADMIN", "x_")]).is_ok());
    assert!(load("database_url: elsewhere\n", &[("DATABASE_URL", "postgres://h/d")]).is_ok());
    let empty = [("COUNTERFOIL__DATABASE_URL", "")];
    assert_eq!(load("", &empty).unwrap_or_else(|error| panic!("{error}")).database_url, None);
    for url in ["http://x", "https://x/", "https://x:8443/a/b.c/", "http://[::1]:8080/a"] {
        assert!(load(&format!("public_url: '{url}'\n"), &[]).is_ok(), "{url}");
    }
    let error = load("prefixes: {admin: x_}\n", &[("COUNTERFOIL__PREFIXES__ADMIN", "x")]).err();
    assert!(!error.unwrap_or_default().contains("line"));
}

#[test]
fn two_variables_that_differ_are_refused_in_either_order() {
    for (one, other) in [
        ("DATABASE_URL", "COUNTERFOIL__DATABASE_URL"),
        ("DATABASE_MIGRATE_URL", "COUNTERFOIL__DATABASE_MIGRATE_URL"),
    ] {
        let serving = ("DATABASE_URL", "postgres://h/hunter1");
        let migrating = one != serving.0;
        let first = if migrating { vec![serving] } else { vec![] };
        let pair = [(one, "postgres://h/hunter1"), (other, "postgres://h/hunter2")];
        for order in [pair, [pair[1], pair[0]]] {
            let error = load("", &[&first[..], &order[..]].concat()).err().unwrap_or_default();
            assert!(error.contains(one) && error.contains(other) && !error.contains("hunter"), "{error}");
        }
        let same = [(one, "postgres://h/d"), (other, "postgres://h/d")];
        assert!(load("", &[&first[..], &same[..]].concat()).is_ok());
    }
}

#[test]
fn a_proxy_that_is_written_as_ipv6_is_the_ipv4_that_it_means() {
    for (written, meant) in [
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:192.0.2.1/128", "192.0.2.1/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("10.0.0.0/8", "10.0.0.0/8"),
    ] {
        let yaml = format!("trusted_proxies: ['{written}']\n");
        let environment = [("COUNTERFOIL__TRUSTED_PROXIES", written)];
        for loaded in [load(&yaml, &[]), load("", &environment)] {
            let config = loaded.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(config.trusted_proxies, [meant.parse().unwrap()], "{written}");
        }
    }
}

#[test]
fn a_password_beside_what_is_wrong_is_not_repeated() {
    let yaml = "database_url: postgres://me:hunter2@h/d\nnonsense: 1\n";
    let error = load(yaml, &[]).err().unwrap_or_default();
    assert!(error.contains("nonsense") && error.contains("line 2") && !error.contains("hunter2"), "{error}");
}
