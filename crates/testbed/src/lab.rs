//! lab
use crate::namespace::Skip;
/// x
/// # Errors
pub fn serve() -> Result<(), Skip> {
    Ok(())
}
