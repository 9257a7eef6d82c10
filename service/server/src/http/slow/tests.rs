use super::*;
use futures_util::task::noop_waker_ref;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

const MOST: usize = BOUNDS.0;
const HALF_RESTED: Duration = Duration::from_millis(500);

/// One address after another.
fn address(number: usize) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, u8::try_from(number).unwrap()).into()
}

fn is_over(waiting: &Waiting) -> bool {
    waiting.is_over(&Context::from_waker(noop_waker_ref()))
}

#[test]
fn the_oldest_of_an_address_with_many_makes_way() {
    let crowd = Crowd::of_requests(0, &Counter::noop());
    let other = crowd.wait(address(0));
    let mut these: Vec<_> = (1..MOST).map(|_| crowd.wait(address(1))).collect();
    assert!(!these.iter().any(is_over));
    these.extend([crowd.wait(address(1)), crowd.wait(address(1))]);
    assert_eq!(these.iter().map(is_over).collect::<Vec<_>>()[..3], [true, true, false]);
    assert!(!these[3..].iter().any(is_over) && !is_over(&other));
    let new = crowd.wait("2001:db8::1".parse().unwrap());
    assert!(is_over(&these[2]) && !is_over(&these[3]) && !is_over(&other));
    // Who has gone leaves its place.
    these.pop();
    let last = crowd.wait(address(1));
    assert!(!is_over(&these[3]));
    assert_eq!(crowd.members().all.len(), MOST);
    drop((other, these, new, last));
    assert_eq!(crowd.members().all.len(), 0);
}

/// A connection that holds so much.
struct Connection {
    holds: usize,
    since: Instant,
    ended: AtomicBool,
}

impl Connection {
    fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

impl Slow for Connection {
    fn since(&self) -> Instant {
        self.since
    }

    fn weight(&self) -> usize {
        self.holds
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// One on which nothing has moved for so long.
fn connection(holds: usize, rested: Duration) -> Arc<Connection> {
    let since = Instant::now().checked_sub(rested).unwrap();
    Arc::new(Connection { holds, since, ended: AtomicBool::new(false) })
}

#[test]
fn who_is_quick_stays_however_many_addresses_are_slow() {
    for (rested, makes_way) in [(HALF_RESTED, false), (RESTED, true)] {
        let crowd = Crowd::of_requests(0, &Counter::noop());
        // An address with several, as a gateway has, which just came; and many with one each.
        let gateway: Vec<_> = (0..4).map(|_| connection(1, HALF_RESTED)).collect();
        let slow: Vec<_> = (4..MOST).map(|_| connection(1, rested)).collect();
        let join = |from, it: &Arc<Connection>| crowd.join(address(from), it.clone());
        let members: Vec<_> = gateway.iter().map(|it| join(0, it)).collect();
        let others: Vec<_> = slow.iter().enumerate().map(|(number, it)| join(number + 1, it)).collect();
        let joined = join(200, &connection(1, Duration::ZERO));
        assert_eq!(joined.is_some(), makes_way);
        assert_eq!(slow.iter().filter(|it| it.ended()).count(), usize::from(makes_way));
        assert!(!gateway.iter().any(|it| it.ended()));
        drop((members, others));
    }
}

#[test]
fn an_address_with_many_takes_nothing_from_one_with_few_and_is_patient_with_itself() {
    let crowd = Crowd::of_http2(0, &Counter::noop());
    let few = connection(1, 2 * PATIENCE);
    let _few = crowd.join(address(0), few.clone());
    let many: Vec<_> = (1..MOST).map(|_| connection(1, PATIENCE / 2)).collect();
    let members: Vec<_> = many.iter().map(|it| crowd.join(address(1), it.clone())).collect();
    assert!(members.iter().all(Option::is_some));
    assert!(crowd.join(address(1), connection(1, Duration::ZERO)).is_none());
    assert!(!few.ended() && !many.iter().any(|it| it.ended()));
    // Others need not be patient with it.
    let _third = crowd.join(address(2), connection(1, Duration::ZERO)).unwrap();
    assert_eq!(many.iter().filter(|it| it.ended()).count(), 1);
    let rested = connection(1, PATIENCE);
    let _rested = crowd.join(address(3), rested.clone()).unwrap();
    let _last = crowd.join(address(3), connection(1, Duration::ZERO)).unwrap();
    assert!(!few.ended() && (rested.ended() || many.iter().filter(|it| it.ended()).count() == 3));
}

#[test]
fn where_other_places_run_out_one_at_a_time_makes_way_that_holds_some() {
    let crowd = Crowd::of_http2(0, &Counter::noop());
    let all = [
        connection(1, 2 * RESTED),
        connection(30, RESTED),
        connection(40, HALF_RESTED),
        connection(20, RESTED),
    ];
    let _members: Vec<_> =
        all.iter().enumerate().map(|(from, it)| crowd.join(address(from), it.clone())).collect();
    let ended = || all.iter().map(|it| it.ended()).collect::<Vec<_>>();
    crowd.make_way(address(9));
    // The third holds a quarter of all, so that it need not have rested.
    assert_eq!(ended(), [false, false, true, false]);
    crowd.make_way(address(9));
    assert_eq!(ended(), [false, false, true, false]);
    crowd.members().made_way = None;
    crowd.make_way(address(9));
    assert_eq!(ended(), [false, true, true, false]);
}
