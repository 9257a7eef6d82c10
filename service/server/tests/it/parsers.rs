//! Every parser of the service, given what nobody meant: no panic, no long thought, no more memory than the input is
//! worth. Those of the domain are tried in its own tests.

mod changes;
mod requests;

use changes::{any_bytes, changed, changes};
use counterfoil::config::Config;
use counterfoil::event_log::verify::{self, Progress};
use counterfoil::http::address::client;
use counterfoil::http::body::media_type;
use counterfoil::http::cookies::{in_cookie, stems};
use counterfoil::http::credentials::presented;
use counterfoil::http::cursor::Belongs;
use counterfoil::http::oauth::more_metadata_paths;
use counterfoil::http::query::Query;
use counterfoil::ops::rates::Rates;
use counterfoil::sign_in_limit::Failures;
use counterfoil_domain::event::{CHAIN_START, chain};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Headers that are read, with something like what they hold.
const HEADERS: [(&str, &str); 9] = [
    ("authorization", "Bearer cf_pat_x"),
    ("authorization", "Basic Z3c6c2VjcmV0"),
    ("x-api-key", "cf_pat_x"),
    ("cookie", "counterfoil_session=cf_ses_x; X-API-KEY=cf_pat_x"),
    ("origin", "https://tokens.example"),
    ("sec-fetch-site", "same-origin"),
    ("x-forwarded-for", "198.51.100.7:80, [2001:db8::1]:80, 10.0.0.2"),
    ("content-type", "application/json; charset=utf-8"),
    ("content-type", "application/x-www-form-urlencoded"),
];

fn headers() -> impl Strategy<Value = HeaderMap> {
    let line = (prop::sample::select(HEADERS.to_vec()), changes(), any_bytes(40), any::<bool>());
    prop::collection::vec(line, 0..6).prop_map(|lines| {
        let value = |(text, changes, other, alike): (&str, Vec<_>, Vec<u8>, bool)| {
            let bytes = if alike { changed(text.as_bytes(), &changes) } else { other };
            HeaderValue::from_bytes(&bytes).ok()
        };
        let lines = lines.into_iter().filter_map(|((name, text), changes, other, alike)| {
            Some((HeaderName::from_static(name), value((text, changes, other, alike))?))
        });
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value);
        }
        headers
    })
}

fn cases(few: usize, all: usize) -> ProptestConfig {
    let cases = crate::support::rounds(few, all) as u32;
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(5_000, 2_000_000))]

    #[test]
    fn headers_are_read_or_refused(headers in headers()) {
        presented(&headers);
        in_cookie(&headers, "https://tokens.example");
        stems(&headers, "http://tokens.example:8080");
        media_type(&headers);
        let networks = ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        client("10.0.0.1".parse().unwrap(), &headers, &networks);
    }

    #[test]
    fn a_query_is_read_or_refused(query in any_bytes(80), changes in changes()) {
        for query in [query, changed(b"limit=5&search=a+b%2B%C3%A4&cursor=", &changes)] {
            let target = [b"/list?".as_slice(), &query].concat();
            let Ok(uri) = Uri::try_from(target) else { continue };
            if let Ok(query) = Query::parse(&uri, &["limit", "search", "cursor"]) {
                let _ = query.limit(50, 100);
            }
        }
    }

    #[test]
    fn a_cursor_is_the_one_that_was_given_or_none(place in any::<[u8; 16]>(), changes in changes(), other in ".{0,60}") {
        let list = Belongs::to("/v1/user/tokens").and(b"me");
        let sealed = list.seal(place);
        assert!(list.open::<16>(&sealed).is_ok_and(|opened| opened == place));
        let bent = String::from_utf8_lossy(&changed(sealed.as_bytes(), &changes)).into_owned();
        for cursor in [bent, other] {
            assert!(list.open::<16>(&cursor).is_err() || cursor == sealed, "{cursor}");
        }
        assert!(list.and(b"desc").open::<16>(&sealed).is_err() && list_of_another().open::<16>(&sealed).is_err());
    }
}

fn list_of_another() -> Belongs {
    Belongs::to("/v1/user/tokens").and(b"another")
}

fn load(yaml: &[u8], environment: &[(String, String)]) -> Result<Config, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), yaml).unwrap();
    Config::load(Some(file.path()), environment.iter().cloned()).map_err(|error| error.to_string())
}

/// Makes of a configuration what the service makes of it before it serves.
fn make_use_of(config: &Config) {
    let limits = &config.limits;
    let _rates = Rates::new(limits);
    let _failures = Failures::new(limits.sign_in_failures);
    let _places = [limits.connections, limits.requests].map(Semaphore::new);
    assert!(limits.connections > 0 && limits.requests > 0, "nobody would be answered");
    assert!(config.drain.notice_ms.checked_add(config.drain.timeout_ms).is_some());
    let paths = more_metadata_paths(&config.issuer());
    let documented =
        ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"].map(String::from);
    let _router = documented
        .into_iter()
        .chain(paths)
        .fold(axum::Router::<()>::new(), |router, path| router.route(&path, axum::routing::get(async || ())));
}

/// Values of the fields that something is made of.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,40}",
        "[0-9]{1,20}",
        "https?://h(/[a-z:*%;={}.]{0,6}){0,3}",
        Just("http://h/.well-known/openid-configuration".to_string()),
    ]
}

proptest! {
    #![proptest_config(cases(2_000, 200_000))]

    #[test]
    fn of_a_configuration_that_is_accepted_a_service_can_be_made(
        field in prop::sample::select(vec![
            "LIMITS__REQUESTS", "LIMITS__CONNECTIONS", "LIMITS__CREDENTIAL_PER_SECOND", "LIMITS__CREDENTIAL_BURST",
            "LIMITS__FAILURES_PER_SECOND", "LIMITS__FAILURES_BURST", "LIMITS__STRANGERS_PER_SECOND",
            "LIMITS__STRANGERS_BURST", "LIMITS__SIGN_IN_FAILURES", "DRAIN__NOTICE_MS", "DRAIN__TIMEOUT_MS",
            "PUBLIC_URL",
        ]),
        value in value(),
    ) {
        if let Ok(config) = load(b"", &[(format!("COUNTERFOIL__{field}"), value.clone())]) {
            make_use_of(&config);
        }
    }
}

proptest! {
    #![proptest_config(cases(500, 100_000))]

    #[test]
    fn a_configuration_is_read_or_refused(changes in changes(), other in any_bytes(200), name in "[A-Z_]{0,20}", value in ".{0,40}") {
        let sample = include_bytes!("../../../../ops/counterfoil.yaml");
        for yaml in [changed(sample, &changes), other] {
            let began = Instant::now();
            let _ = load(&yaml, &[(format!("COUNTERFOIL__{name}"), value.clone())]);
            if let Ok(config) = load(&yaml, &[("COUNTERFOIL__LIMITS__REQUESTS".into(), value.clone())]) {
                make_use_of(&config);
            }
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", String::from_utf8_lossy(&yaml));
        }
    }
}

#[test]
fn a_configuration_that_would_grow_without_end_is_refused_soon() {
    let mut laughs = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (before, name) in ('a'..'h').zip('b'..='h') {
        let again = vec![format!("*{before}"); 9].join(",");
        laughs += &format!("{name}: &{name} [{again}]\n");
    }
    let began = Instant::now();
    for yaml in
        [laughs + "trusted_proxies: *h\n", "[".repeat(1 << 20), "a: {".repeat(1 << 16), "- ".repeat(1 << 18)]
    {
        assert!(load(yaml.as_bytes(), &[]).is_err());
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// A download of a golden log.
fn download() -> String {
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/tests/golden/log-1.ndjson");
    let log = std::fs::read_to_string(log).unwrap();
    let (mut text, mut last, count) = (String::new(), CHAIN_START, log.lines().count());
    for record in log.lines() {
        last = chain(&last, record);
        text += &format!("{{\"chain\":\"{}\",\"record\":{record}}}\n", last.hex());
    }
    text + &format!("{{\"next_after\":{count},\"more\":false,\"head\":{count}}}\n")
}

#[test]
fn a_download_that_was_changed_is_whole_or_named_and_never_the_end_of_the_reader() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let judged = |text: &[u8]| {
        std::fs::write(file.path(), text).unwrap();
        runtime.block_on(verify::download(file.path(), &Arc::new(Progress::default())))
    };
    let whole = download();
    assert_eq!(judged(whole.as_bytes()).unwrap().findings.count, 0);
    for _ in 0..crate::support::rounds(300, 50_000) {
        let bent = changed(whole.as_bytes(), &changes::one());
        // What is no text is refused as a whole.
        if let Ok(verified) = judged(&bent) {
            let extent = &verified.extent;
            let noticed = verified.findings.count > 0 || extent.missing > 0 || extent.end.is_none();
            let same = verified.chain == judged(whole.as_bytes()).unwrap().chain;
            assert!(noticed || same, "{}", String::from_utf8_lossy(&bent));
        }
    }
}
