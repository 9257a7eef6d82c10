//! `api.yaml` is what the program says of itself, and what it does: every operation of the file is walked as a stranger,
//! with a foreign credential, with too few scopes, and as it is meant. Whatever comes back is in the file.

mod bounds;
mod file;
mod meant;
mod page;
mod said;
mod schemathesis;
mod strangers;
mod walk;

use crate::support::Service;
use counterfoil::config::Config;
use counterfoil::http::document::yaml;
use file::{File, METHODS};
use reqwest::StatusCode;
use std::collections::BTreeSet;
use walk::{As, Walk};

#[test]
fn api_yaml_is_what_the_program_prints() {
    let (kept, printed) = (file::text(), yaml().unwrap());
    let differs = kept.lines().zip(printed.lines()).position(|(kept, printed)| kept != printed);
    assert!(
        kept.trim_end() == printed.trim_end(),
        "api.yaml differs from the routes, first after line {differs:?}: cargo run --bin counterfoil -- openapi > api.yaml"
    );
}

/// A service that does not tire of strangers, of wrong credentials and of wrong passwords.
async fn start() -> Service {
    start_with(|_| {}).await
}

/// The same, configured further.
async fn start_with(configure: impl FnOnce(&mut Config)) -> Service {
    let much = 100_000.try_into().unwrap();
    let patient = |config: &mut Config| {
        config.limits.failures_burst = much;
        config.limits.strangers_burst = much;
        config.limits.sign_in_failures = much;
        configure(config);
    };
    Service::start_with(patient, |edge| edge).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routes_are_those_of_the_file() {
    let service = start().await;
    let file = File::read();
    let router = format!("{:?}", counterfoil::http::api(service.app().clone()));
    // axum shows its fallback as two more; that `/` is none of ours is asked below.
    let fallback = ["/", "/{*__private__axum_fallback}"];
    let quoted = router.split('"').skip(1).step_by(2);
    let routes: BTreeSet<&str> =
        quoted.filter(|text| text.starts_with('/') && !fallback.contains(text)).collect();
    let paths: BTreeSet<&str> = file.operations.iter().map(|operation| operation.path.as_str()).collect();
    assert_eq!(routes, paths);
    let walk = Walk::new(&service, &file);
    for path in paths {
        let known = file.operations.iter().filter(|operation| operation.path == path);
        let mut allowed: BTreeSet<&str> = known.map(|operation| operation.method.as_str()).collect();
        let others: Vec<_> =
            METHODS.into_iter().filter(|method| !allowed.contains(method.as_str())).collect();
        if allowed.contains("GET") {
            allowed.insert("HEAD");
        }
        for method in others {
            let answer = walk.send(method.clone(), &walk.random(path), &As::Nobody, None).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}: {answer:?}");
            let said: BTreeSet<&str> = answer.header("allow").split(',').map(str::trim).collect();
            assert_eq!(said, allowed, "{method} {path}");
            walk.assert_refusal(path, &answer);
        }
    }
    for path in [
        "/",
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/v2/token",
        "/oauth2/nothing",
        "/docs/",
        "/docs/page.js/x",
        "/metrics",
    ] {
        let answer = walk.send(reqwest::Method::GET, path, &As::Nobody, None).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {answer:?}");
        walk.assert_refusal(path, &answer);
    }
    service.stop().await;
}
