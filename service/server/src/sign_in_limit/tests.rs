use super::*;
use governor::clock::FakeRelativeClock;
use uuid::Uuid;

/// The limit with a clock that a test moves.
struct Test {
    failures: Failures<FakeRelativeClock>,
    clock: FakeRelativeClock,
    now: Duration,
}

fn address(text: &str) -> ClientAddress {
    ClientAddress(text.parse().unwrap())
}

impl Test {
    fn new(a_minute: u32) -> Self {
        let clock = FakeRelativeClock::default();
        let failures = Failures::by(NonZero::new(a_minute).unwrap(), &clock);
        Self { failures, clock, now: Duration::from_secs(1000) }
    }

    fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.now += time;
    }

    fn attempt(&self, from: &str, account: &str) -> Attempt {
        self.failures.attempt(address(from), account, self.now)
    }

    fn may(&self, attempt: &Attempt) -> bool {
        self.failures.check(attempt, self.now).is_ok()
    }

    /// Fails if it is looked at, and says whether it was.
    fn fails(&self, from: &str, account: &str) -> bool {
        let attempt = self.attempt(from, account);
        let may = self.may(&attempt);
        if may {
            self.failures.failed(&attempt, self.now);
        }
        may
    }
}

#[test]
fn the_eleventh_from_an_address_is_refused_whatever_the_account() {
    let mut test = Test::new(10);
    assert!((0..10).all(|_| test.fails("192.0.2.1", "a")));
    for from in ["192.0.2.1", "::ffff:192.0.2.1"] {
        assert!(!test.fails(from, "a") && !test.fails(from, "b"));
    }
    assert!(test.fails("192.0.2.2", "a") && test.fails("192.0.2.2", "b"));
    // One more is free after a tenth of a minute.
    test.pass(Duration::from_secs(6));
    assert!(test.fails("192.0.2.1", "a") && !test.fails("192.0.2.1", "a"));
}

#[test]
fn a_household_is_one_address() {
    let test = Test::new(1);
    assert!(test.fails("2001:db8:1:2::1", "a"));
    assert!(!test.fails("2001:db8:1:2:ffff::1", "b") && test.fails("2001:db8:1:3::1", "b"));
}

#[test]
fn one_address_keeps_nobody_out_however_long_it_goes_on() {
    let mut test = Test::new(10);
    for second in 0..7200 {
        while test.fails("192.0.2.1", "owner") {}
        assert!(test.may(&test.attempt("198.51.100.1", "owner")), "after {second} s");
        test.pass(Duration::from_secs(1));
    }
}

#[test]
fn many_addresses_guess_no_faster_than_one_and_hold_up_strangers_only() {
    let mut test = Test::new(10);
    let home = "198.51.100.1";
    test.failures.succeeded(address(home), "owner", test.now);
    let mut guesses = 0;
    for _ in 0..3600 {
        for n in 0..100 {
            while test.fails(&format!("192.0.2.{n}"), "owner") {
                guesses += 1;
            }
        }
        assert!(!test.may(&test.attempt("198.51.100.2", "owner")));
        assert!(test.may(&test.attempt(home, "owner")) && test.may(&test.attempt(home, "other")));
        test.pass(Duration::from_secs(1));
    }
    assert!((600..=700).contains(&guesses), "{guesses}");
}

#[test]
fn a_known_place_and_a_holder_have_a_limit_of_their_own() {
    let test = Test::new(3);
    let (home, user) = ("198.51.100.1", UserId(Uuid::from_u128(1)));
    test.failures.succeeded(address(home), "owner", test.now);
    assert!((0..3).all(|_| test.fails(home, "owner")) && !test.fails(home, "owner"));
    // That is the account at that place, and no more than that.
    assert!(test.fails(home, "other") && test.fails("192.0.2.1", "owner"));
    let session = |n| Attempt::in_session(SessionId(Uuid::from_u128(n)), user);
    let holders = [session(1), session(2), Attempt::with_token_of(user)];
    for (place, holder) in holders.iter().enumerate() {
        assert!(holders[place..].iter().all(|holder| test.may(holder)));
        (0..3).for_each(|_| test.failures.failed(holder, test.now));
        assert!(!test.may(holder));
    }
    assert!(!test.may(&Attempt::with_token_of(user)));
}

#[test]
fn places_are_forgotten() {
    let mut test = Test::new(1);
    for n in 0..=PLACES {
        test.failures.succeeded(address(&format!("198.51.100.{n}")), "owner", test.now);
    }
    let is_known =
        |test: &Test, from: &str| matches!(test.attempt(from, "owner").keys, [Some(Key::Place(..)), None]);
    assert!(!is_known(&test, "198.51.100.0") && is_known(&test, "198.51.100.1"));
    test.pass(LATELY);
    assert!(!is_known(&test, "198.51.100.1"));
}

#[test]
fn at_once_no_more_are_looked_at_than_may_fail() {
    let mut test = Test::new(10);
    let at_once = |test: &Test| {
        let attempts: Vec<_> = (0..64).map(|n| test.attempt("192.0.2.1", &format!("account {n}"))).collect();
        let under_way: Vec<_> = attempts
            .iter()
            .filter_map(|attempt| Some((attempt, test.failures.begin(attempt, test.now).ok()?)))
            .collect();
        under_way.iter().for_each(|(attempt, _)| test.failures.failed(attempt, test.now));
        under_way.len()
    };
    assert_eq!(at_once(&test), 10);
    for _ in 0..10 {
        assert_eq!(at_once(&test), 0);
        test.pass(Duration::from_secs(6));
        assert_eq!(at_once(&test), 1);
    }
    // Half a minute later there are five more, and none of them is known of before the first has failed.
    test.pass(Duration::from_secs(30));
    assert_eq!([at_once(&test), at_once(&test)], [1, 4]);
    // Who goes away, or succeeds, has failed at nothing.
    test.pass(Duration::from_secs(6));
    let attempt = test.attempt("192.0.2.1", "a");
    for _ in 0..3 {
        assert!(test.failures.begin(&attempt, test.now).is_ok());
    }
}
