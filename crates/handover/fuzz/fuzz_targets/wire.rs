//! The decoder of the handover protocol against the naive model of the tests, on whatever libFuzzer comes up with.
//! How: README.md.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/wire/check/mod.rs"]
mod check;

fuzz_target!(|input: &[u8]| check::input::check(input));
