//! Variables and arguments that are no UTF-8: what is not meant for the program is none of its business, and what is meant
//! for it is refused by its name.

use crate::support::Scratch;
use crate::support::program::{command, run};
use counterfoil_domain::event::CHAIN_START;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// What must not be shown.
const SECRET: &[u8] = b"postgres://me:hunter2@h/d\xff";

async fn said(variables: &[(&[u8], &[u8])]) -> (bool, String) {
    let scratch = Scratch::new();
    let download = scratch.path().join("events.ndjson");
    let record = include_str!("../../../domain/tests/golden/environment.created.v1.json").trim_end();
    let (chain, end) = (CHAIN_START.hex(), r#"{"next_after":5,"more":false,"head":5}"#);
    std::fs::write(&download, format!("{{\"chain\":\"{chain}\",\"record\":{record}}}\n{end}\n")).unwrap();
    let mut verify = command(scratch.path(), &["verify", "--partial", "--from", download.to_str().unwrap()]);
    for (name, value) in variables {
        verify.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
    }
    let output = run(verify).await;
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn a_variable_of_somebody_else_may_hold_any_bytes() {
    assert!(said(&[]).await.0, "a control");
    for variable in [(&b"LS_COLORS"[..], SECRET), (b"GREETING\xff", b"x"), (b"DATABASE", SECRET)] {
        let (done, said) = said(&[variable]).await;
        assert!(done, "{variable:?}: {said}");
    }
}

#[tokio::test]
async fn a_variable_of_ours_that_is_no_text_is_refused_by_its_name() {
    for name in
        ["DATABASE_URL", "DATABASE_MIGRATE_URL", "COUNTERFOIL__DATABASE_URL", "COUNTERFOIL__API__ADDR"]
    {
        let (done, said) = said(&[(name.as_bytes(), SECRET)]).await;
        assert!(!done && said.contains(name) && said.contains("UTF-8"), "{said}");
        assert!(!said.contains("hunter2") && !said.contains("panicked"), "{said}");
    }
    let (done, said) = said(&[(b"COUNTERFOIL__API\xff__ADDR", b"127.0.0.1:1")]).await;
    assert!(!done && said.contains("COUNTERFOIL__API") && !said.contains("panicked"), "{said}");
}

#[tokio::test]
async fn an_argument_that_is_no_text_is_refused() {
    let scratch = Scratch::new();
    for arguments in [&["init", "--organization", "x", "--owner"][..], &["password", "--user"], &[]] {
        let mut command = command(scratch.path(), arguments);
        command.arg(OsStr::from_bytes(SECRET));
        let output = run(command).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}
