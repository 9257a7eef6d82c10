//! What the memory holds, no file does: the program leaves no core, whatever its limits were when it was started.

use crate::support::Scratch;
use crate::support::program::{Program, command};
use nix::sys::signal::Signal;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A command that a shell becomes, with as much room for a core as it may have.
fn with_room_for_a_core(command: &Command, place: &Path) -> Command {
    let mut shell = Command::new("sh");
    // A test that runs in the background of a shell would hand on that SIGQUIT is ignored.
    let script = "ulimit -c unlimited 2>/dev/null || ulimit -c \"$(ulimit -H -c)\"
        exec env --default-signal=QUIT \"$@\"";
    shell.args(["-c", script, "sh"]);
    shell.arg(command.get_program()).args(command.get_args()).env_clear().current_dir(place).process_group(0);
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_crashes_leaves_no_core() {
    let scratch = Scratch::with_data().await;
    // As a control: a program that does nothing about it.
    let mut sleep = Command::new("sleep");
    sleep.arg("600").env("PATH", std::env::var_os("PATH").unwrap());
    let mut sleeping = with_room_for_a_core(&sleep, scratch.path()).spawn().unwrap();
    let pid = nix::unistd::Pid::from_raw(sleeping.id() as i32);
    while !std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().starts_with("sleep") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    nix::sys::signal::kill(pid, Signal::SIGABRT).unwrap();
    if !sleeping.wait().unwrap().core_dumped() {
        eprintln!("no program leaves a core here: the limit or the kernel's core_pattern is in the way");
    }
    for signal in [Signal::SIGABRT, Signal::SIGSEGV, Signal::SIGQUIT, Signal::SIGILL] {
        let serve = command(scratch.path(), &["serve"]);
        let mut program = Program::start(with_room_for_a_core(&serve, scratch.path()));
        program.until_ready().await;
        // Wherever the kernel would put a core: there is to be none.
        let limits = program.system("limits");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
        // Rust's own handler of SIGSEGV lets the first go by: a fault would come again.
        let mut ended = None;
        for _ in 0..10 {
            program.signal(signal);
            ended = program.ended_within(Duration::from_secs(2)).await;
            if ended.is_some() {
                break;
            }
        }
        let ended = ended.unwrap();
        assert_eq!(ended.signal(), Some(signal as i32), "{ended}");
        assert!(!ended.core_dumped(), "{ended}");
    }
}
