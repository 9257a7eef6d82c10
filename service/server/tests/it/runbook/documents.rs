//! What the documents and the files of `ops` say, held against what there is.

use super::{read, repository};
use counterfoil::config::Config;
use counterfoil_domain::event::Event;
use serde_json::Value;
use std::process::Command;

#[test]
fn the_unit_outlasts_the_drain_and_names_what_is_there() {
    let unit = read("ops/counterfoil.service");
    let setting = |name: &str| {
        let lines: Vec<&str> =
            unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect();
        assert_eq!(lines.len(), 1, "{name}: {lines:?}");
        lines[0].to_string()
    };
    let drain = Config::default().drain;
    let stop: u64 = setting("TimeoutStopSec").parse().unwrap();
    // The drain, and what the private PostgreSQL is given to stop: 60 s, then 10 s.
    assert!(stop * 1000 > drain.notice_ms + drain.timeout_ms + 70_000);
    for (name, value) in [
        ("KillMode", "mixed"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("StateDirectory", "counterfoil"),
        ("LimitCORE", "0"),
        ("User", "counterfoil"),
    ] {
        assert_eq!(setting(name), value, "{name}");
    }
    assert_eq!(
        setting("Environment"),
        format!("COUNTERFOIL__DATA_DIR=/var/lib/{}", setting("StateDirectory"))
    );
    let start = setting("ExecStart");
    let runbook = read("ops/RUNBOOK.md");
    for path in start.split(' ').filter(|word| word.starts_with('/')) {
        assert!(runbook.contains(&format!(" {path}\n")), "the runbook installs {path}");
    }
    let words: Vec<&str> = start.split(' ').skip(1).collect();
    let help =
        Command::new(env!("CARGO_BIN_EXE_counterfoil")).args(&words[..1]).arg("--help").output().unwrap();
    assert!(help.status.success() && String::from_utf8(help.stdout).unwrap().contains(words[1]), "{words:?}");
}

/// The variables that set fields of the configuration, in a text.
fn fields(text: &str) -> Vec<(String, String)> {
    let words = text
        .split(|c: char| !(c.is_ascii_uppercase() || c == '_'))
        .filter(|word| word.starts_with("COUNTERFOIL__"));
    // Of the right kind, whatever the text sets them to.
    let value = |name: &str| {
        if name.ends_with("ADDR") {
            "127.0.0.1:1"
        } else if name.ends_with("FORMAT") {
            "json"
        } else {
            "http://x"
        }
    };
    words.map(|name| (name.to_string(), value(name).to_string())).collect()
}

#[test]
fn every_variable_that_ops_sets_is_a_field() {
    for file in ["compose.yaml", "Containerfile", "counterfoil.service", "RUNBOOK.md"] {
        let found = fields(&read(&format!("ops/{file}")));
        assert!(!found.is_empty(), "{file}");
        for field in found {
            let loaded = Config::load(None, [field.clone()].into_iter());
            assert!(loaded.is_ok(), "{file}: {field:?}: {:?}", loaded.err().map(|error| error.to_string()));
        }
    }
}

/// A text of YAML without what stands under a key, wherever it is.
fn without(text: &str, key: &str) -> String {
    let indented = |line: &str| line.len() - line.trim_start().len();
    let mut below = None;
    let stays = |line: &&str| {
        below = match below {
            Some(depth) if line.trim().is_empty() || indented(line) > depth => Some(depth),
            _ => line
                .trim_start()
                .strip_prefix(key)
                .filter(|rest| rest.starts_with(':'))
                .map(|_| indented(line)),
        };
        below.is_none()
    };
    text.lines().filter(stays).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_container_and_the_compose_file_fit_each_other() {
    let compose: Value = serde_saphyr::from_str(&read("ops/compose.yaml")).unwrap();
    let service = &compose["services"]["counterfoil"];
    assert_eq!(service["build"]["dockerfile"], "ops/Containerfile");
    assert!(
        repository()
            .join("ops")
            .join(service["build"]["context"].as_str().unwrap())
            .join("Cargo.toml")
            .exists()
    );
    assert_eq!(service["depends_on"]["postgres"]["condition"], "service_healthy");
    let named: Vec<&str> = ["counterfoil", "postgres"]
        .iter()
        .flat_map(|name| compose["services"][name]["volumes"].as_array().unwrap())
        .map(|volume| volume.as_str().unwrap().split_once(':').unwrap().0)
        .filter(|volume| !volume.starts_with("./") || !repository().join("ops").join(volume).exists())
        .collect();
    let volumes = compose["volumes"].as_object().unwrap();
    assert_eq!(named, volumes.keys().map(String::as_str).collect::<Vec<_>>());
    // As the head of the file says for the private PostgreSQL: without the other services and what leads to them.
    let leave_out = ["postgres", "migrate", "depends_on", "DATABASE_URL"];
    let private = leave_out.iter().fold(read("ops/compose.yaml"), |text, key| without(&text, key));
    let private: Value = serde_saphyr::from_str(&private).unwrap();
    assert_eq!(private["services"].as_object().unwrap().len(), 1);
    assert_eq!(private["services"]["counterfoil"]["build"], service["build"]);
    assert!(private["services"]["counterfoil"]["environment"]["DATABASE_URL"].is_null());
    let seconds: u64 = service["stop_grace_period"].as_str().unwrap().trim_end_matches('s').parse().unwrap();
    let drain = Config::default().drain;
    // As for the unit: the same image may run the private PostgreSQL.
    assert!(seconds * 1000 > drain.notice_ms + drain.timeout_ms + 70_000);
    // Who answers requests does not hold who owns the tables.
    let environment = |name: &str| &compose["services"][name]["environment"];
    assert_eq!(
        compose["services"]["counterfoil"]["depends_on"]["migrate"]["condition"],
        "service_completed_successfully"
    );
    assert!(environment("counterfoil")["DATABASE_MIGRATE_URL"].is_null());
    assert_eq!(environment("counterfoil")["DATABASE_URL"], environment("migrate")["DATABASE_URL"]);
    assert_ne!(environment("migrate")["DATABASE_URL"], environment("migrate")["DATABASE_MIGRATE_URL"]);
    let containerfile = read("ops/Containerfile");
    assert!(containerfile.contains("\nUSER 10001:10001\n") && containerfile.contains("--uid 10001 "));
    assert!(containerfile.contains("/readyz") && containerfile.contains("--stop-timeout 120 "));
    let toolchain = read("Cargo.toml");
    let (_, version) = toolchain.split_once("rust-version = \"").unwrap();
    assert!(containerfile.contains(&format!("rust:{}-bookworm", &version[..4])));
    for ignored in ["target", "data", ".git"] {
        assert!(
            read(".dockerignore").lines().any(|line| line == ignored),
            "{ignored} would get into the image"
        );
    }
}

#[test]
fn the_alarms_name_metrics_that_there_are() {
    let runbook = read("ops/RUNBOOK.md");
    let metrics = counterfoil::ops::metrics::Metrics::default();
    // What the writer tells is registered once there is one.
    drop(metrics.writer());
    let shown = metrics.render(&Default::default());
    let words = runbook.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    let named: Vec<&str> =
        words.filter(|word| word.starts_with("counterfoil_") || word.starts_with("process_")).collect();
    assert!(named.len() > 8, "{named:?}");
    for name in named {
        assert!(shown.lines().any(|line| line.starts_with(name)), "{name}: {shown}");
    }
}

/// Gateways that operators have, and the setting that bounds for how long each keeps an answer.
const GATEWAYS: [(&str, &str); 9] = [
    ("nginx", "proxy_cache_valid"),
    ("Apache httpd", "&expiry=10"),
    ("APISIX", "\"introspection_interval\": 10"),
    ("Envoy", "none; the filter asks with every request"),
    ("HAProxy", "none; the action asks with every request"),
    ("Caddy", "none; it asks with every request"),
    ("Traefik", "none; it asks with every request"),
    ("Keycloak", "check your version"),
    ("AISIX", "until it is deleted there"),
];

#[test]
fn the_guide_says_of_every_gateway_what_it_does_in_an_outage_and_what_bounds_its_cache() {
    let guide = read("ops/GATEWAYS.md");
    let parts: Vec<&str> = guide.split("\n## ").skip(1).collect();
    let table = guide.split("\n## ").next().unwrap();
    for (gateway, bound) in GATEWAYS {
        let part = parts.iter().find_map(|part| part.strip_prefix(gateway)?.strip_prefix('\n'));
        let part = part.unwrap_or_else(|| panic!("the guide has no part of {gateway}"));
        let text = part.split_whitespace().collect::<Vec<_>>().join(" ");
        for said in ["503", "429", "cache", bound] {
            assert!(text.to_lowercase().contains(&said.to_lowercase()), "{gateway}: {said}");
        }
        let place = gateway.to_lowercase().replace(' ', "-");
        assert!(table.contains(&format!("| [{gateway}](#{place}) |")), "the table has no {gateway}");
    }
    for (file, link) in [("README.md", "(ops/GATEWAYS.md)"), ("ops/RUNBOOK.md", "(GATEWAYS.md)")] {
        assert!(read(file).contains(link), "{file} does not lead to the guide");
    }
}

#[test]
fn the_guides_documents_can_be_read() {
    let guide = read("ops/GATEWAYS.md");
    let blocks = |language: &str| {
        let start = format!("\n```{language}\n");
        let rest = guide.split(start.as_str()).skip(1);
        rest.map(|block| block.split("\n```").next().unwrap().to_string()).collect::<Vec<_>>()
    };
    let (json, yaml) = (blocks("json"), blocks("yaml"));
    assert_eq!((json.len(), yaml.len()), (1, 2));
    let plugin: Value = serde_json::from_str(&json[0]).unwrap();
    assert_eq!(plugin["openid-connect"]["bearer_only"], true);
    let [envoy, traefik] = [0, 1].map(|at| serde_saphyr::from_str::<Value>(&yaml[at]).unwrap());
    assert_eq!(envoy["http_filters"].as_array().unwrap().len(), 2);
    assert!(traefik["http"]["middlewares"]["counterfoil"]["forwardAuth"]["address"].is_string());
}

/// What people read.
const DOCUMENTS: [&str; 5] =
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "ops/RUNBOOK.md", "ops/GATEWAYS.md"];

#[test]
fn the_documents_links_lead_somewhere() {
    for file in DOCUMENTS {
        let text = read(file);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links.filter(|link| !link.starts_with("http")) {
            let path = repository().join(file).parent().unwrap().join(link.split('#').next().unwrap());
            assert!(path.exists(), "{file}: {link}");
        }
    }
}

/// Where a document's path may begin: as ARCHITECTURE.md says, or at the root.
const BEGINNINGS: [&str; 4] = ["service/server/src", "service/server", "service", ""];

#[test]
fn the_files_that_the_documents_name_are_there() {
    let mut count = 0;
    for file in DOCUMENTS {
        let text = read(file);
        // The directory that was named last: a name alone is in it.
        let mut last = repository();
        let prose: String = text.split("```").step_by(2).collect();
        for name in prose.split('`').skip(1).step_by(2) {
            let is_path = name.ends_with(".rs") || name.ends_with('/');
            if !is_path || name.starts_with('/') || name.contains([' ', '*']) {
                continue;
            }
            let inside = name.strip_prefix("domain/").map(|rest| format!("domain/src/{rest}"));
            let inside = inside.as_deref().unwrap_or(name);
            let from = BEGINNINGS.map(|beginning| repository().join(beginning));
            let found = from.iter().chain([&last]).map(|from| from.join(inside)).find(|path| path.exists());
            let path = found.unwrap_or_else(|| panic!("{file}: {name} is neither there nor in {last:?}"));
            last = if path.is_dir() { path } else { path.parent().unwrap().to_path_buf() };
            count += 1;
        }
    }
    assert!(count > 80, "{count}");
}

#[test]
fn a_block_is_for_one_shell() {
    let runbook = read("ops/RUNBOOK.md");
    let blocks: Vec<&str> = runbook.split("```").skip(1).step_by(2).collect();
    assert!(blocks.len() > 15, "{}", blocks.len());
    for block in blocks {
        let by_the_service = block.lines().any(|line| line.starts_with("counterfoil "));
        assert!(!(by_the_service && block.contains("sudo ")), "who is to run this? {block}");
    }
}

#[test]
fn what_is_to_be_done_again_after_a_restore_are_events() {
    let ended = super::block("ended");
    let (_, types) = ended.split_once(r#""type":"("#).unwrap();
    let (types, _) = types.split_once(r#")"'"#).unwrap();
    let strays: Vec<&str> = types.split('|').filter(|name| !Event::NAMES.contains(name)).collect();
    assert_eq!(strays, Vec::<&str>::new());
}

#[test]
fn the_tests_that_contributing_names_are_there() {
    let contributing = read("CONTRIBUTING.md");
    let mut code = String::new();
    let mut left = vec![repository().join("service")];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => left.push(path),
                Some(extension) if extension == "rs" => code += &std::fs::read_to_string(&path).unwrap(),
                _ => {}
            }
        }
    }
    let quoted = contributing.split('`').skip(1).step_by(2);
    let is_test = |word: &&str| word.matches('_').count() > 2 && !word.contains(['/', '.', ' ']);
    let named: Vec<&str> = quoted.filter(is_test).collect();
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        assert!(code.contains(&format!("fn {name}(")) || code.contains(&format!("({name},")), "{name}");
    }
}
