use super::*;
use futures_util::task::noop_waker_ref;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

const THESE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const SECOND: Duration = Duration::from_secs(1);

fn is_over(waiting: &Waiting) -> bool {
    waiting.is_over(&Context::from_waker(noop_waker_ref()))
}

#[test]
fn the_oldest_of_the_address_with_the_most_makes_way() {
    let crowd = Crowd::new(0, Duration::ZERO, &Counter::noop());
    let other = crowd.wait(OTHERS);
    let mut these: Vec<_> = (1..LEAST).map(|_| crowd.wait(THESE)).collect();
    assert!(!these.iter().any(is_over));
    these.extend([crowd.wait(THESE), crowd.wait(THESE)]);
    assert_eq!(these.iter().map(is_over).collect::<Vec<_>>()[..3], [true, true, false]);
    assert!(!these[3..].iter().any(is_over) && !is_over(&other));
    let new = crowd.wait("2001:db8::1".parse().unwrap());
    assert!(is_over(&these[2]) && !is_over(&these[3]) && !is_over(&other));
    // Who has gone leaves its place.
    these.pop();
    let last = crowd.wait(THESE);
    assert!(!is_over(&these[3]));
    assert_eq!(crowd.members().all.len(), LEAST);
    drop((other, these, new, last));
    assert_eq!(crowd.members().all.len(), 0);
}

/// A connection that holds so much, and rests or not.
struct Connection {
    holds: usize,
    since: Option<Instant>,
    ended: AtomicBool,
}

impl Slow for Connection {
    fn since(&self) -> Option<Instant> {
        self.since
    }

    fn weight(&self) -> usize {
        self.holds
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// One whose client has moved nothing for so long, if it is waited for.
fn connection(holds: usize, rested: Option<Duration>) -> Arc<Connection> {
    let since = rested.map(|rested| Instant::now().checked_sub(rested).unwrap());
    Arc::new(Connection { holds, since, ended: AtomicBool::new(false) })
}

fn join(crowd: &Crowd, from: IpAddr, connection: &Arc<Connection>) -> Result<Member, Instant> {
    crowd.join(from, &(connection.clone() as Arc<dyn Slow>))
}

#[test]
fn who_is_not_waited_for_stays_and_so_does_who_has_just_moved() {
    let crowd = Crowd::new(0, Duration::ZERO, &Counter::noop());
    let all = [(90, None), (20, Some(SECOND)), (30, Some(SECOND)), (1, Some(SECOND))]
        .map(|(holds, rested)| connection(holds, rested));
    let froms = [THESE, THESE, OTHERS, OTHERS];
    let members: Vec<_> = froms.iter().zip(&all).map(|(from, it)| join(&crowd, *from, it)).collect();
    assert!(members.iter().all(Result::is_ok));
    // Nobody has moved nothing for so long; then one of the address with the most; where nobody of it is waited for, it is
    // another's turn; and who holds no more than its own place has nothing to give.
    for (rested, ended) in [
        (10 * SECOND, [false, false, false, false]),
        (SECOND, [false, true, false, false]),
        (SECOND, [false, true, true, false]),
        (SECOND, [false, true, true, false]),
    ] {
        crowd.make_way(rested);
        let now: Vec<_> = all.iter().map(|it| it.ended.load(Ordering::Relaxed)).collect();
        assert_eq!(now, ended);
    }
}

#[test]
fn an_address_is_patient_with_itself_and_others_with_one_that_holds_no_more() {
    let crowd = Crowd::new(0, 10 * SECOND, &Counter::noop());
    let members: Vec<_> = (0..LEAST).map(|_| join(&crowd, THESE, &connection(1, Some(5 * SECOND)))).collect();
    let at = join(&crowd, THESE, &connection(1, Some(SECOND))).err().unwrap();
    assert!(at > Instant::now() && at <= Instant::now() + 5 * SECOND);
    // An address that holds less than half of that need not wait.
    let mut others = Vec::new();
    while let Ok(member) = join(&crowd, OTHERS, &connection(1, Some(SECOND))) {
        others.push(member);
    }
    assert_eq!(others.len(), LEAST / 3 + 1);
    // Nor need anybody where one has rested for long.
    others.pop();
    let rested = connection(1, Some(10 * SECOND));
    others.push(join(&crowd, THESE, &rested).ok().unwrap());
    others.push(join(&crowd, OTHERS, &connection(1, Some(SECOND))).ok().unwrap());
    assert!(rested.ended.load(Ordering::Relaxed));
    drop(members);
    assert_eq!(crowd.members().all.len(), others.len() - 1);
}

#[tokio::test]
async fn who_has_to_wait_stands_in_line() {
    let crowd = Crowd::new(0, Duration::from_millis(500), &Counter::noop());
    let mut members: Vec<_> = (0..LEAST).map(|_| join(&crowd, THESE, &connection(1, None))).collect();
    // As long as its patience lasts.
    assert!(crowd.enter(OTHERS, connection(1, None)).await.is_none());
    let leaves = async { drop(members.pop()) };
    let (entered, ()) = tokio::join!(crowd.enter(OTHERS, connection(1, None)), leaves);
    assert!(entered.is_some());
}
