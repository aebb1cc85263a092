//! What QEMU threw away when the source goes on.

use proptest::collection::vec;
use proptest::prelude::*;
use tapferry_handover::cut::{Basis, Receive, Resumed, give_back};

use crate::exact::{cut_of, driver, frames, stopped, traffic};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_was_thrown_away_is_given_back_or_nothing(
        driver in driver(),
        traffic in traffic(false),
        bursts in vec(1usize..12, 1..6),
        read in 0usize..4,
        unread in 0usize..6,
        purged in 0usize..4,
        counted in any::<bool>(),
    ) {
        let mut model = stopped(driver, &frames(&traffic), &bursts, read, unread);
        let cut = cut_of(&model, 0);
        prop_assume!(cut.index == model.true_cut());
        let (before, used_at_stop) = (model.calibration(), model.used);
        let purged = purged.min(model.held());
        for _ in 0..purged {
            model.purge();
        }
        model.run();
        model.guest_runs();
        let since: Vec<_> = (0..if counted { 10 } else { 0 }).map(|_| model.sample()).collect();
        let location = model.location();
        let receive = Receive::read(&model.memory, &location).unwrap();
        let first = usize::try_from(cut.index).unwrap();
        let given = give_back(&Resumed {
            cut: cut.index,
            used_at_stop,
            frames: &model.seen_from(first),
            receive: Some(&receive),
            before: &before,
            since: &since,
        });
        let expected = if given.basis == Basis::Unsure { 0 } else { u64::try_from(purged).unwrap() };
        prop_assert_eq!(given.frames, expected, "{:?} {:?}", given, driver);
    }
}
