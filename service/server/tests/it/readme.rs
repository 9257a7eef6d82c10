//! The README's requests, as they are printed, against a running service.

use crate::support::Service;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// The lines of the README's shell blocks that are requests, and what an auditor does with the log.
fn requests() -> Vec<String> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    let audits = |line: &str| line.starts_with("counterfoil ") && line.contains(" --from ");
    let wanted = blocks.flat_map(str::lines).filter(|line| line.starts_with("curl ") || audits(line));
    wanted.map(String::from).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_requests_do_what_it_says() {
    let service = Service::start().await;
    let made = &service.made;
    let mut variables = vec![
        ("TOKEN", made.owner.token.clone()),
        ("GATEWAY", made.gateway.client_id.clone()),
        ("SECRET", made.gateway.client_secret.clone()),
    ];
    let (mut answers, mut said) = (Vec::new(), Vec::new());
    let directory = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_counterfoil")).parent().unwrap().to_str().unwrap();
    variables.push(("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap())));
    for request in requests() {
        // Only the port is not the printed one.
        let request = request.replace("http://127.0.0.1:8080", service.base());
        let shell = Command::new("bash")
            .arg("-euc")
            .arg(&request)
            .current_dir(directory.path())
            .envs(variables.clone())
            .output()
            .unwrap();
        assert!(shell.status.success(), "{request}: {}", String::from_utf8_lossy(&shell.stderr));
        let answer: Value = serde_json::from_slice(&shell.stdout).unwrap_or(Value::Null);
        if let (Some(plaintext), Some(id)) = (answer["plaintext"].as_str(), answer["id"].as_str()) {
            variables.extend([("PLAINTEXT", plaintext.to_string()), ("ID", id.to_string())]);
        }
        said.push(String::from_utf8(shell.stdout).unwrap());
        answers.push(answer);
    }
    let [issued, before, _, after, ..] = &answers[..] else { panic!("other requests: {answers:?}") };
    let [.., verified, replayed] = &said[..] else { panic!("other commands: {said:?}") };
    assert!(verified.contains("events in ") && replayed.contains("personal"), "{verified}{replayed}");
    assert_eq!(issued["note"], "ci");
    assert_eq!(before["active"], true);
    assert_eq!(before["jti"], issued["id"]);
    assert_eq!(after, &serde_json::json!({ "active": false }));
    let download = std::fs::read_to_string(directory.path().join("events.ndjson")).unwrap();
    assert!(download.contains("token.revoked") && download.ends_with("}\n"), "{download}");
    service.stop().await;
}
