//! Contains a decoder's panic over one odd file: the other million images are packed, and no backtrace is printed.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::error::panic_message;

thread_local! {
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// The result of `decode`, or the message that it panicked with. After a panic, what `decode` was changing must be
/// replaced.
pub fn catch_panic<T>(decode: impl FnOnce() -> T) -> Result<T, String> {
    silence();
    DECODING.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(decode));
    DECODING.set(false);
    result.map_err(|panic| panic_message(&*panic))
}

/// Turns off the panic hook while this thread decodes.
fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let shown = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !DECODING.get() {
                shown(panic);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(catch_panic(|| 3), Ok(3));
        assert_eq!(catch_panic(|| -> u32 { panic!("row {} of {}", 7, 5) }), Err("row 7 of 5".into()));
    }
}
