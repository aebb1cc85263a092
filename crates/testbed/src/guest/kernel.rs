//! Finds a kernel for the guest, and takes the ELF image out of its compressed one: under TCG the kernel's own
//! decompression would take longer than the rest of the boot.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use crate::error::{Context, Error, Result};

/// The variable that names a kernel: a directory into which a kernel package was unpacked, or an image.
pub const VARIABLE: &str = "TAPFERRY_GUEST_KERNEL";

/// There is no kernel to be had.
#[derive(Debug, thiserror::Error)]
#[error("no guest kernel: {0}; unpack one with scripts/fetch-guest-kernel DIR and set {VARIABLE}=DIR")]
pub struct NoKernel(String);

/// A kernel and its modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The image, `vmlinuz-VERSION` as a rule.
    pub image: PathBuf,
    /// The directory of its modules.
    pub modules: PathBuf,
    /// Its release.
    pub version: String,
}

impl Kernel {
    /// The kernel that [`VARIABLE`] names, otherwise the newest one of the host that can be read.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find() -> std::result::Result<Self, NoKernel> {
        match env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
            Some(path) => {
                Self::at(Path::new(&path)).map_err(|reason| NoKernel(format!("{VARIABLE}: {reason}")))
            }
            None => Self::below(Path::new("/")).map_err(NoKernel),
        }
    }

    fn at(path: &Path) -> std::result::Result<Self, String> {
        if path.is_dir() { Self::below(path) } else { Self::from_image(path) }
    }

    /// The newest kernel in `root/boot`.
    fn below(root: &Path) -> std::result::Result<Self, String> {
        let boot = root.join("boot");
        let mut images: Vec<PathBuf> = fs::read_dir(&boot)
            .map_err(|error| format!("cannot read {}: {error}", boot.display()))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| file_name(path).starts_with("vmlinuz-"))
            .collect();
        images.sort_by_key(|path| version_key(&file_name(path)));
        let mut reason = format!("there is no vmlinuz-* in {}", boot.display());
        for image in images.iter().rev() {
            match Self::from_image(image) {
                Ok(kernel) => return Ok(kernel),
                Err(problem) => reason = problem,
            }
        }
        Err(reason)
    }

    fn from_image(image: &Path) -> std::result::Result<Self, String> {
        fs::File::open(image).map_err(|error| format!("cannot read {}: {error}", image.display()))?;
        let name = file_name(image);
        let version = name.split_once('-').map_or("", |(_, version)| version).to_owned();
        let beside = image.parent().unwrap_or(Path::new("."));
        let modules = [beside.to_owned(), beside.join(".."), beside.join("../usr"), PathBuf::from("/")]
            .into_iter()
            .map(|root| root.join("lib/modules").join(&version))
            .find(|path| !version.is_empty() && path.is_dir())
            .ok_or_else(|| format!("{} has no lib/modules/{version} beside it", image.display()))?;
        Ok(Self { image: image.to_owned(), modules, version })
    }

    /// What QEMU boots fastest: the plain ELF image if the kernel can be entered that way, else the image as
    /// it is.
    ///
    /// # Errors
    /// When the image cannot be read. An image that cannot be unpacked here is used as it is.
    pub fn bootable(&self) -> Result<Vec<u8>> {
        let image = fs::read(&self.image).on("read", self.image.display().to_string())?;
        let plain = payload(&image).and_then(|payload| unpack(payload).ok());
        Ok(plain.filter(|plain| has_pvh_entry(plain)).unwrap_or(image))
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Orders 6.1.0-9 before 6.1.0-10: the numbers in a name are compared as numbers.
fn version_key(name: &str) -> Vec<u64> {
    name.split(|character: char| !character.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// The compressed kernel in an x86 boot image (kernel documentation, `arch/x86/boot`: `setup_sects`,
/// `payload_offset`, `payload_length`).
fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let setup_sectors = match image[0x1f1] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (setup_sectors + 1) * 512 + word(0x248)?;
    image.get(start..start + word(0x24c)?)
}

/// Unpacks what the kernel's build has packed. All but gzip are followed by four bytes with the size.
fn unpack(payload: &[u8]) -> Result<Vec<u8>> {
    let content = &payload[..payload.len().saturating_sub(4)];
    match payload {
        [0x02, 0x21, 0x4c, 0x18, ..] => unpack_lz4(&content[4..]),
        [0x1f, 0x8b, ..] => filter("gzip", &["-dc"], payload),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => filter("xz", &["-dc"], content),
        [0x5d, 0, 0, ..] => filter("xz", &["-dc", "--format=lzma"], content),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => filter("zstd", &["-dc"], content),
        _ => Err(Error::Invalid("the kernel is compressed in a way that is not known here".into())),
    }
}

/// LZ4's legacy frames: blocks of at most 8 MiB, each after the length of its packed bytes.
fn unpack_lz4(mut blocks: &[u8]) -> Result<Vec<u8>> {
    const BLOCK: usize = 8 << 20;
    let broken = || Error::Invalid("the kernel's LZ4 data is broken".into());
    let mut plain = Vec::new();
    while let Some((length, rest)) = blocks.split_first_chunk() {
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| broken())?;
        let (block, rest) = rest.split_at_checked(length).ok_or_else(broken)?;
        plain.extend(lz4_flex::block::decompress(block, BLOCK).map_err(|_| broken())?);
        blocks = rest;
    }
    Ok(plain)
}

/// Passes bytes through a command.
///
/// # Errors
/// When the command is missing or fails.
pub(crate) fn filter(program: &str, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let failed =
        |reason: String| Error::Command { command: format!("{program} {}", arguments.join(" ")), reason };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let pipe = child.stdin.take();
    let output = thread::scope(|scope| {
        scope.spawn(move || {
            // A command that does not read to the end fails by itself, and its status tells.
            pipe.map(|mut pipe| pipe.write_all(input))
        });
        child.wait_with_output()
    });
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() { Ok(output.stdout) } else { Err(failed(output.status.to_string())) }
}

/// Whether an ELF image has the note by which QEMU can enter it (XEN_ELFNOTE_PHYS32_ENTRY, type 18).
fn has_pvh_entry(elf: &[u8]) -> bool {
    // A note: length of the name, length of the content, type, name.
    let note = [&4_u32.to_le_bytes()[..], &8_u32.to_le_bytes(), &18_u32.to_le_bytes(), b"Xen\0"].concat();
    let short_note =
        [&4_u32.to_le_bytes()[..], &4_u32.to_le_bytes(), &18_u32.to_le_bytes(), b"Xen\0"].concat();
    elf.starts_with(b"\x7fELF")
        && elf.windows(note.len()).step_by(4).any(|window| window == note || window == short_note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_the_greatest_number() {
        assert!(version_key("vmlinuz-6.1.0-9-cloud-amd64") < version_key("vmlinuz-6.1.0-10-cloud-amd64"));
        assert!(version_key("vmlinuz-6.12.3") > version_key("vmlinuz-6.1.0-10-cloud-amd64"));
    }

    #[test]
    fn an_image_that_is_none_has_no_payload() {
        assert_eq!(payload(&[0; 4096]), None);
        assert_eq!(payload(b"short"), None);
    }

    #[test]
    fn a_missing_kernel_says_where_it_was_looked_for() {
        let reason = Kernel::at(Path::new("/nonexistent/vmlinuz-1")).expect_err("there is none");
        assert!(reason.contains("/nonexistent/vmlinuz-1"), "{reason}");
    }
}
