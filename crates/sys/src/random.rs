//! Numbers that nobody can guess, and that no two hosts have in common (getrandom(2)).

use rustix::io::Errno;

use crate::error::checked;

/// Sixteen random bytes. Waits only early after boot, until the kernel has gathered enough randomness.
pub fn random_u128() -> Result<u128, Errno> {
    let mut bytes = [0_u8; 16];
    // SAFETY: getrandom writes at most as many bytes as there are.
    match checked(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) })? {
        16 => Ok(u128::from_ne_bytes(bytes)),
        // Up to 256 bytes come whole or not at all (getrandom(2)).
        _ => Err(Errno::IO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_numbers_are_the_same() {
        let numbers: std::collections::HashSet<_> = (0..1000).map(|_| random_u128().unwrap()).collect();
        assert_eq!(numbers.len(), 1000);
    }
}
