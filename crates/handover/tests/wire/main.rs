//! The handover protocol as the two sides use it.
//!
//! - `check`: a naive decoder as the model, and the comparison with it; the fuzz target includes it, too.
//! - `corpus`: the fuzzer's corpus through that check.
//! - `layout`: every message byte by byte. `limits`: both sides of each limit. `hostile`: what is no handover, and what
//!   nobody sane sends. `splits`: any messages, however their bytes come.
//! - `messages`: the messages of these tests.

#[cfg(test)]
mod check;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod layout;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod splits;
