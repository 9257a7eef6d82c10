//! Invariants that are absences: what must stand in one file only, or in none.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The files below a directory of the repository, by their paths in it, with their text.
fn files(directory: &str, extension: &str) -> Vec<(String, String)> {
    let (root, mut found, mut left) = (root(), Vec::new(), vec![root().join(directory)]);
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|has| has == extension) {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no .{extension} in {directory}");
    found
}

/// The lines of code: without comments, and without a file's unit tests, which stand at its end or in another file.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = text.lines();
    lines.map(str::trim_start).filter(|line| !line.starts_with("//"))
}

/// Where one of these words stands in the code, other than in the files that may have it.
fn strays(directory: &str, words: &[&str], allowed: &[&str]) -> Vec<String> {
    let files = files(directory, "rs");
    for path in allowed {
        assert!(files.iter().any(|(name, _)| name.ends_with(path)), "{path} is not there any more");
    }
    let others = files.iter().filter(|(name, _)| !allowed.iter().any(|path| name.ends_with(path)));
    let found = others.flat_map(|(name, text)| {
        let hits = code(text).filter(|line| words.iter().any(|word| line.contains(word)));
        hits.map(|line| format!("{name}: {line}")).collect::<Vec<_>>()
    });
    found.collect()
}

#[test]
fn the_domain_depends_on_no_io_no_clock_and_no_randomness() {
    let manifest = std::fs::read_to_string(root().join("service/domain/Cargo.toml")).unwrap();
    let (_, rest) = manifest.split_once("[dependencies]").unwrap();
    let names: Vec<&str> = rest
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty()))
        .collect();
    let pure = ["crc32fast", "serde", "serde_json", "sha2", "subtle", "thiserror", "time", "uuid", "zeroize"];
    let others: Vec<_> = names.iter().filter(|name| !pure.contains(name)).collect();
    assert!(names.len() > 3 && others.is_empty(), "is it pure? {others:?}");
    // Features that would bring a clock or randomness in by the back door.
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for line in workspace.lines().filter(|line| line.starts_with("time =") || line.starts_with("uuid =")) {
        assert!(
            !["\"v4\"", "\"v7\"", "\"rand\"", "local-offset"].iter().any(|word| line.contains(word)),
            "{line}"
        );
    }
    let effects = [
        "now(",
        "now_utc",
        "std::fs",
        "std::net",
        "std::env",
        "std::thread",
        "SystemTime",
        "Instant",
        "async fn",
    ];
    assert_eq!(strays("service/domain/src", &effects, &[]), Vec::<String>::new());
}

#[test]
fn one_file_inserts_events_and_none_changes_them() {
    let stray =
        strays("service/server/src", &["INSERT INTO events", "COPY events"], &["event_log/append.rs"]);
    assert_eq!(stray, Vec::<String>::new());
    let edits = ["UPDATE events", "DELETE FROM events", "TRUNCATE events", "DROP TRIGGER"];
    assert_eq!(strays("service/server/src", &edits, &[]), Vec::<String>::new());
    for (name, text) in files("migrations", "sql") {
        let edits = text.lines().filter(|line| edits.iter().any(|word| line.contains(word)));
        assert_eq!(edits.collect::<Vec<_>>(), Vec::<&str>::new(), "{name}");
    }
}

#[test]
fn only_the_applier_changes_the_index() {
    let changes = [".put_token(", ".put_user(", ".put_organization(", ".put_gateway("];
    let applier = ["read_model/applier.rs", "digest_index/mod.rs", "digest_index/tests.rs"];
    assert_eq!(strays("service/server/src", &changes, &applier), Vec::<String>::new());
    // Inside the index, one function a kind of entity writes, and reading takes no writing lock.
    let view = files("service/server/src/read_model/digest_index", "rs");
    let (_, view) = view.iter().find(|(name, _)| name.ends_with("view.rs")).unwrap();
    assert!(code(view).all(|line| {
        ![" write(", "=write(", ".await;", ".await?", ".await)"].iter().any(|word| line.contains(word))
    }));
}

#[test]
fn handlers_hold_no_sql_and_nothing_but_the_entry_imports_them() {
    let sql = ["sqlx::query", "SELECT ", "INSERT ", "UPDATE ", "DELETE FROM", "PgConnection"];
    assert_eq!(strays("service/server/src/http", &sql, &[]), Vec::<String>::new());
    let imports = strays("service/server/src", &["crate::http", "counterfoil::http", "super::http"], &[]);
    let entry = ["src/http/", "src/main.rs", "src/init.rs", "src/cli/"];
    let others: Vec<_> = imports.iter().filter(|hit| !entry.iter().any(|path| hit.contains(path))).collect();
    assert_eq!(others, Vec::<&String>::new());
}

#[test]
fn time_and_randomness_come_from_one_file() {
    let words = [
        "SystemTime::now",
        "OffsetDateTime::now",
        "now_utc",
        "Uuid::now_v7",
        "Uuid::new_v4",
        "SysRng",
        "OsRng",
        "rand::rng",
        "thread_rng",
        "rand::random",
        "clock_gettime",
    ];
    assert_eq!(
        strays("service", &words, &["server/src/clock.rs", "tests/it/absences.rs"]),
        Vec::<String>::new()
    );
}

#[test]
fn no_event_body_holds_text_of_a_persons_own() {
    // What a person writes is a commitment in an event; the only texts are hints and codes.
    let bodies = ["gateway.rs", "organization.rs", "user.rs", "token/events.rs"];
    for (name, text) in files("service/domain/src", "rs") {
        if bodies.iter().any(|body| name.ends_with(&format!("src/{body}"))) {
            let fields = code(&text).filter(|line| line.starts_with("pub ") && line.contains("String"));
            // A reason is a code out of letters, digits and underscores: its type sees to that.
            let safe = ["pub hint: String,", "pub struct Reason(String);"];
            let fields: Vec<_> = fields.filter(|line| !safe.contains(line)).collect();
            assert_eq!(fields, Vec::<&str>::new(), "{name}");
        }
    }
}

#[test]
fn a_file_is_read_in_one_sitting() {
    let long = |directory: &str, extension| {
        let files = files(directory, extension).into_iter();
        files
            .map(|(name, text)| (text.lines().count(), name))
            .filter(|(lines, _)| *lines > 500)
            .collect::<Vec<_>>()
    };
    assert_eq!(long("service", "rs"), Vec::new());
    assert_eq!(long("migrations", "sql"), Vec::new());
}

/// Whether a line is none of prose: of a table, a heading, or nothing at all.
fn is_no_prose(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with(['|', '#'])
}

/// What cannot be broken at the beginning of a line: a word, or code with its blanks.
fn first_word(line: &str) -> usize {
    let blanks = line.char_indices().filter(|(_, c)| *c == ' ').map(|(at, _)| at).chain([line.len()]);
    let whole = blanks.map(|at| &line[..at]).find(|word| word.matches('`').count() % 2 == 0);
    whole.unwrap_or(line).chars().count()
}

#[test]
fn prose_wraps_at_120() {
    const WIDTH: usize = 120;
    let mut documents = files("ops", "md");
    documents.extend(files("load-tests", "md"));
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        documents.push((name.into(), std::fs::read_to_string(root().join(name)).unwrap()));
    }
    let mut ragged = Vec::new();
    for (name, text) in documents {
        // What stands between fences is code.
        for prose in text.split("```").step_by(2) {
            for (line, next) in prose.lines().zip(prose.lines().skip(1).chain([""])) {
                let begins = next.trim_start();
                let is_item = begins.starts_with("- ") || begins.starts_with(|c: char| c.is_ascii_digit());
                let goes_on = !is_no_prose(next) && !is_item;
                let width = line.chars().count();
                if !is_no_prose(line) && (width > WIDTH || goes_on && width + 1 + first_word(begins) <= WIDTH)
                {
                    ragged.push(format!("{name}: {line}"));
                }
            }
        }
    }
    assert_eq!(ragged, Vec::<String>::new());
}

#[test]
fn whoever_is_held_to_a_time_in_the_long_run_has_the_machine_alone() {
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let alone = makefile.lines().find_map(|line| line.strip_prefix("ALONE = ")).unwrap();
    let alone: Vec<&str> = alone.split_whitespace().collect();
    let modules = files("service/server/tests/it", "rs").into_iter().filter_map(|(name, text)| {
        let module =
            name.strip_prefix("service/server/tests/it/")?.strip_suffix(".rs")?.replace('/', "::") + "::";
        let asks = |line: &str| ["is_soak()", "again_within()"].iter().any(|how| line.contains(how));
        let asks = code(&text).any(asks);
        (asks && !module.starts_with("support::") && module != "absences::").then_some(module)
    });
    let modules: Vec<String> = modules.collect();
    let others: Vec<&String> = modules.iter().filter(|module| !alone.contains(&module.as_str())).collect();
    assert!(others.is_empty(), "not in the Makefile's ALONE: {others:?}");
    let gone: Vec<&&str> =
        alone.iter().filter(|named| !modules.iter().any(|module| module == *named)).collect();
    assert!(gone.is_empty(), "in the Makefile's ALONE, and nowhere else: {gone:?}");
}
