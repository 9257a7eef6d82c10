//! The first start as `make run` makes it: credentials, a tour that can be pasted, and the same data afterwards.

use crate::support::Scratch;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

fn serve(directory: &Scratch) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counterfoil"));
    command.env("COUNTERFOIL__DATA_DIR", directory.path()).env_remove("DATABASE_URL");
    command.env("COUNTERFOIL__API__ADDR", "127.0.0.1:0").env("COUNTERFOIL__METRICS__ADDR", "127.0.0.1:0");
    command.args(["serve", "--tour"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What it said to standard error until a line with these words. Whoever asks twice gets what came in between.
fn until(errors: &mut impl BufRead, words: &str) -> String {
    let mut said = String::new();
    while !said.contains(words) {
        assert!(errors.read_line(&mut said).unwrap() > 0, "it ended after: {said}");
    }
    said
}

/// Ends it as Ctrl-C does, and gives all that it printed.
fn interrupted(mut service: Child, mut errors: impl Read) -> String {
    kill(Pid::from_raw(service.id() as i32), Signal::SIGINT).unwrap();
    let (mut printed, mut said) = (String::new(), String::new());
    service.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    errors.read_to_string(&mut said).unwrap();
    assert!(service.wait().unwrap().success(), "{said}");
    printed
}

#[test]
fn the_tour_can_be_pasted_and_is_for_the_first_start() {
    let directory = Scratch::new();
    let mut service = serve(&directory);
    let mut errors = BufReader::new(service.stderr.take().unwrap());
    until(&mut errors, "that was the tour");
    // What was printed waits in the pipe: it is less than a pipe holds.
    let mut printed = vec![0; 64 * 1024];
    let length = service.stdout.as_mut().unwrap().read(&mut printed).unwrap();
    let tour = String::from_utf8(printed[..length].to_vec()).unwrap();
    for step in
        ["HTTP 201", r#""active": true"#, "HTTP 204", r#""active": false"#, "token.issued", "token.revoked"]
    {
        assert!(tour.contains(step), "{step} is not in {tour}");
    }
    let pasted = Command::new("bash").args(["-euc", &tour]).output().unwrap();
    let answers = String::from_utf8_lossy(&pasted.stdout).into_owned();
    assert!(pasted.status.success(), "{}", String::from_utf8_lossy(&pasted.stderr));
    assert_eq!(answers.matches(r#""plaintext":"cf_pat_"#).count(), 1, "{answers}");
    // The token of the tour is dead by now.
    assert_eq!(answers.matches(r#"{"active":false}"#).count(), 2, "{answers}");
    interrupted(service, errors);

    let mut service = serve(&directory);
    let mut errors = BufReader::new(service.stderr.take().unwrap());
    until(&mut errors, "the tour is for the first one");
    assert_eq!(interrupted(service, errors), "");
}
