//! The first frames of a capture. By itself, because the kernel stamps frames while anybody on the machine asks
//! for it: no other test may.

mod support;

use std::time::Duration;

use support::{BOTH, Capture, tap};
use tapferry_sys::clock::realtime_ns;
use tapferry_testbed::namespace::Namespace;
use tapferry_testbed::probe::Probe;
use tapferry_testbed::reader::Reader;
use tapferry_testbed::sender::Sender;
use tapferry_testbed::vnet::VnetHeader;

/// SO_TIMESTAMPING takes effect about 0.3 ms after it is asked for. A frame that comes before that must not
/// be taken for one as young as the moment of reading: it might be of a time when the gate was closed.
#[test]
fn the_first_frame_is_never_younger_than_its_sending_however_late_it_is_read() {
    let Some(_namespace) = Namespace::enter_or_skip() else { return };
    let _guest = Reader::on_tap(tap("tapA"));
    let sender = Sender::open("tapA").unwrap();
    let frame = Probe::default().build(0, 64);
    for way in BOTH {
        for _ in 0..20 {
            let opening = realtime_ns();
            let mut capture = Capture::open(way, "tapA");
            sender.send(&VnetHeader::default(), &frame).unwrap();
            let after = realtime_ns();
            std::thread::sleep(Duration::from_millis(3));
            let stamp = capture.take(1)[0].timestamp_ns;
            assert!((opening..=after).contains(&stamp), "{way:?}: {} ns late", stamp.saturating_sub(after));
        }
    }
}
