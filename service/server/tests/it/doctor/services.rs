//! The running service, asked with another configuration than its own, or from behind a proxy.

use super::{Found, until_whole};
use crate::support::Scratch;
use crate::support::program::Program;

fn with(program: &Program, name: &str, value: &str) -> Found {
    let mut doctor = program.beside("counterfoil");
    Found::of(&doctor.args(["doctor", "--json"]).env(name, value).output().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_where_or_what_the_configuration_says_is_told_of() {
    let program = Program::made().await;
    until_whole(&program, "untouched");
    let found = with(&program, "COUNTERFOIL__API__ADDR", "127.0.0.1:0");
    let mend = found.mend("note", "index", "works on this database, but not at 127.0.0.1:0");
    assert!(mend.contains("with the configuration"), "{mend}");
    // Somebody else's, as far as this database goes.
    let other = Scratch::with_data().await;
    let found = with(&program, "COUNTERFOIL__DATA_DIR", other.path().to_str().unwrap());
    found.mend("wrong", "index", "does not hold this database's serving lock");

    let found = with(&program, "COUNTERFOIL__METRICS__ENABLED", "false");
    found.assert_whole("without metrics");
    let good = found.judged("good");
    for (name, words) in [("metrics.addr", "none is needed"), ("index", "not to be seen without metrics")] {
        assert!(good.iter().any(|(of, found)| of == name && found.contains(words)), "{name}: {good:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_nobody_trusts_is_noted() {
    let program = Program::made().await;
    let asked = reqwest::Client::new().get(format!("{}/livez", program.base()));
    asked.header("x-forwarded-for", "192.0.2.1").send().await.unwrap();
    let mend = with(&program, "LANG", "C").mend("note", "trusted_proxies", "requests had X-Forwarded-For");
    assert!(mend.contains("set trusted_proxies"), "{mend}");
}
