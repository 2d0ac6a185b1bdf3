//! A pool that speaks a protocol which says something first, receives what it did not ask for, and has a series of its
//! own.

use super::tests::{Faults, Sim};
use super::*;
use crate::load::driver::Driver;
use crate::load::shared::Shared;
use crate::protocol::client::{ClientConfig, ProtocolError};
use crate::protocol::size_distribution::SizeDistribution;
use proptest::prelude::*;

const HELLO: &[u8] = b"hello";
const REQUESTS: &[u8] = &[b'?'; 256];

/// Says hello, and is ready when that comes back whole. Then every byte that comes back is an answer, and each but the
/// first brings news with it.
#[derive(Debug, Default)]
struct Greeter {
    requested: usize,
    sent: usize,
    received: usize,
    began_at: Nanos,
}

impl StreamClient for Greeter {
    const SERIES: &'static [&'static str] = &["delivery"];

    fn open(_: &ClientConfig, _: u64) -> Greeter {
        Greeter::default()
    }

    fn hello(&mut self) -> bool {
        true
    }

    fn request(&mut self, id: u64, at: Nanos) {
        assert!(self.received >= HELLO.len(), "nothing is asked for before it is ready");
        assert_eq!(id, self.requested as u64);
        self.requested += 1;
        self.began_at = at;
    }

    fn next_send(&self) -> &'static [u8] {
        match HELLO.get(self.sent..) {
            Some(hello) if !hello.is_empty() => hello,
            _ => &REQUESTS[..(HELLO.len() + self.requested - self.sent).min(REQUESTS.len())],
        }
    }

    fn sent(&mut self, len: usize) {
        self.sent += len;
    }

    fn received(&mut self, bytes: &[u8], mut notify: impl FnMut(Received)) -> Result<(), ProtocolError> {
        for _ in bytes {
            self.received += 1;
            match self.received.checked_sub(HELLO.len() + 1) {
                None if self.received == HELLO.len() => notify(Received::Ready),
                None => {}
                Some(id) => {
                    notify(Received::Answered { id: id as u64 });
                    if id > 0 {
                        notify(Received::Pushed { sent: self.began_at });
                    }
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn requests_wait_for_the_greeting_and_what_is_pushed_is_a_series_of_its_own(
        connections in 1usize..5, depth in 1u64..6, seed: u64,
    ) {
        let plan = ThreadPlan::for_test(connections, SizeDistribution::All(1), depth);
        let shared = Shared::new(None, std::thread::current());
        let pool = ConnectionPool::<Greeter>::new(plan.clone());
        let driver = Driver::new(&plan, pool, Sim::new(connections, seed, Faults::default()), &shared);
        let (result, _) = super::tests::drive(driver, connections, Nanos::from_millis(50));
        let recorder = &result.recorder;
        prop_assert_eq!((recorder.error_count(), shared.admitted()), (0, connections));
        let delivered = recorder.histograms().get("delivery").map(|histogram| histogram.len());
        // The first answer of each connection is that of its admission, which is not counted.
        prop_assert!(recorder.requests() > 0);
        prop_assert_eq!(delivered, Some(recorder.requests()));
    }
}
