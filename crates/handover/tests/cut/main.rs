//! The cut is exact for whatever traffic, driver and QEMU do: a model of both, and random frames through it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod calibration;
mod cancelled;
mod exact;
mod hostile;
mod model;
