//! How soon the thread that follows a VM gets a processor.

use napi_derive::napi;

/// Lets the calling thread run before others when it has something to do; its threads that begin later as well. Says
/// whether it may: that takes CAP_SYS_NICE.
#[napi]
pub fn go_first() -> bool {
    tapferry_sys::scheduling::go_first().is_ok()
}
