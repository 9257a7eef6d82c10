//! The first start as `make run` makes it: credentials, a tour that can be pasted, and the same data afterwards.

use crate::support::Scratch;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
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

#[test]
fn on_a_terminal_nothing_of_the_log_is_between_what_can_be_pasted() {
    let directory = Scratch::new();
    let mut terminal = Command::new("script");
    terminal.env("COUNTERFOIL__DATA_DIR", directory.path()).env_remove("DATABASE_URL");
    terminal.env("COUNTERFOIL__API__ADDR", "127.0.0.1:0").env("COUNTERFOIL__METRICS__ADDR", "127.0.0.1:0");
    let serve = format!("exec '{}' serve --tour", env!("CARGO_BIN_EXE_counterfoil"));
    terminal.args(["-qec", &serve, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut terminal = terminal.spawn().unwrap();
    let mut shown = BufReader::new(terminal.stdout.take().unwrap());
    let tour = until(&mut shown, "that was the tour").replace('\r', "");
    let pasted = &tour[tour.find("# Organization").unwrap()..tour.find("counterfoil: that was").unwrap()];
    let is_shell = |line: &str| {
        let name = line.split_once("='").map_or("", |(name, _)| name);
        line.is_empty()
            || line.starts_with('#')
            || line.starts_with("curl ")
            || matches!(name, "PASSWORD" | "TOKEN" | "GATEWAY" | "SECRET" | "URL" | "PLAINTEXT" | "ID")
    };
    let others: Vec<&str> = pasted.lines().filter(|line| !is_shell(line)).collect();
    assert!(others.is_empty() && pasted.contains("token.revoked"), "{others:?} in {pasted}");

    // Afterwards there is a line for each request again.
    let address = pasted.split("URL='http://").nth(1).unwrap().split('\'').next().unwrap();
    let mut stranger = TcpStream::connect(address).unwrap();
    stranger.write_all(b"GET /v1/user HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    until(&mut shown, "status=401");
    terminal.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    assert!(terminal.wait().unwrap().success());
}
