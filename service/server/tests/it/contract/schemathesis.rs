//! Requests that nobody thought of: Schemathesis makes them up from the file, right ones and wrong ones, alone and along the
//! links, and holds every answer against the file.

use super::start_with;
use crate::support::{Scratch, is_soak, rounds};
use counterfoil::clock::Clock;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program, where `ops/install schemathesis` puts it: beside what cargo builds.
fn program() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../schemathesis/bin/schemathesis")
}

/// The seed of the suite. The long run takes another each time, and tells it.
const SEED: u128 = 20_270_601;

/// What the file says. The long run has the machine alone, where nobody is told to ask again later.
fn configured(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    if !is_soak() {
        return text;
    }
    let strict = text.replace(", \"503\"", "");
    assert!(strict != text && !strict.contains("\"503\""), "{strict}");
    strict
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test installs Schemathesis and runs this"]
async fn made_up_requests_are_answered_as_the_file_says() {
    let much = 100_000.try_into().unwrap();
    let service = start_with(|config| {
        // The session's cookie then has the name that the file gives it.
        config.public_url = Some("https://tokens.example.com".into());
        config.limits.credential_per_second = much;
        config.limits.failures_per_second = much;
        config.limits.strangers_per_second = much;
    })
    .await;
    let (here, elsewhere) = (Path::new(env!("CARGO_MANIFEST_DIR")), Scratch::new());
    let hooks = here.join("tests/schemathesis");
    let configuration = elsewhere.path().join("schemathesis.toml");
    std::fs::write(&configuration, configured(&hooks.join("schemathesis.toml"))).unwrap();
    let seed = if is_soak() { Clock::system().uuid().as_u128() % 1_000_000_000 } else { SEED };
    let mut command = Command::new(program());
    command
        // What it leaves behind is not kept.
        .current_dir(elsewhere.path())
        .arg("--config-file")
        .arg(&configuration)
        .args(["run", "--url", service.base(), "--seed", &seed.to_string()])
        .args(["--max-examples", &rounds(10, 200).to_string()])
        .arg(here.join("../../api.yaml"))
        .env("SCHEMATHESIS_HOOKS", hooks.join("hooks.py"))
        .env("COUNTERFOIL", service.base())
        .env("COUNTERFOIL_PUBLIC_URL", &*service.app().issuer)
        .env("COUNTERFOIL_MADE", serde_json::to_string(&service.made).unwrap())
        .env("COUNTERFOIL_ALONE", if is_soak() { "1" } else { "" })
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let ran = ran.expect("ops/install schemathesis");
    let told = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "seed {seed}:\n{told}");
    // A run without the phase that follows the links would be a success too.
    assert!(told.contains("Stateful (in"), "{told}");
    service.stop().await;
}
