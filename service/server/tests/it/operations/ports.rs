//! A port that something else holds.

use crate::support::Scratch;
use crate::support::program::{Program, command};
use std::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named_before_anything_is_started() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    for (variable, field) in
        [("COUNTERFOIL__API__ADDR", "api.addr"), ("COUNTERFOIL__METRICS__ADDR", "metrics.addr")]
    {
        let scratch = Scratch::new();
        let mut serve = command(scratch.path(), &["serve"]);
        serve.env(variable, &address);
        let mut program = Program::start(serve);
        assert!(!program.until_it_ends().await.success());
        let said = program.said();
        assert!(said.contains(&format!("{field} {address} cannot be listened on")), "{said}");
        assert!(said.contains(&format!("set {field} to a free one")), "{said}");
        // Nothing is left that would have to be ended or removed.
        assert!(scratch.processes().is_empty());
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
