//! The image of a real guest: a kernel and an initrd for QEMU, from a Debian kernel package and `crates/guest`.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`kernel`] | finds a kernel and its modules, and takes the ELF image out of its compressed one |
//! | [`module`] | which modules the guest needs, and their plain bytes |
//! | [`initrd`] | the cpio archive |
//!
//! The guest boots with
//! `qemu-system-x86_64 -accel tcg -M q35 -m 128 -nodefaults -no-reboot -display none -serial stdio
//! -kernel DIR/kernel -initrd DIR/initrd -append "$(cat DIR/cmdline)"` and a virtio-net-pci device, in about 3 s of one CPU; with `-bios qboot.rom` in 2.5 s.

pub mod initrd;
pub mod kernel;
pub mod module;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;
use serde_json::Value;

use crate::error::{Context, Error, Result};
use initrd::Initrd;
use kernel::{Kernel, NoKernel};

/// The kernel's command line: it is silent, so that only the guest writes to the serial port, and a panic ends
/// QEMU instead of hanging the test.
pub const COMMAND_LINE: &str = "quiet loglevel=0 panic=-1 mitigations=off nokaslr";

/// Where the parts of the image are.
#[derive(Debug, Clone, Serialize)]
pub struct Image {
    /// For `-kernel`.
    pub kernel: PathBuf,
    /// For `-initrd`.
    pub initrd: PathBuf,
    /// For `-append`.
    pub cmdline: String,
    /// The kernel's release.
    pub version: String,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// There is no kernel to be had here: a test is skipped with this reason.
    #[error(transparent)]
    NoKernel(#[from] NoKernel),
    /// Something failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Builds the image into `directory` and the guest's program with cargo, unless `init` is one already built.
///
/// # Errors
/// [`ImageError::NoKernel`] when none was found, otherwise what failed.
pub fn build(directory: &Path, init: Option<&Path>) -> std::result::Result<Image, ImageError> {
    let kernel = Kernel::find()?;
    let init = init.map_or_else(build_init, |path| Ok(path.to_owned()))?;
    fs::create_dir_all(directory).on("create", display(directory))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        fs::write(&path, bytes).on("write", display(&path)).map(|()| path)
    };
    let mut archive = Initrd::default();
    archive.directory("dev");
    archive.directory("modules");
    archive.program("init", &fs::read(&init).on("read", display(&init))?);
    for module in module::needed(&kernel)? {
        archive.file(&format!("modules/{}.ko", module.name), &module.bytes);
    }
    let image = Image {
        kernel: write("kernel", &kernel.bootable()?)?,
        initrd: write("initrd", &archive.finish())?,
        cmdline: COMMAND_LINE.to_owned(),
        version: kernel.version,
    };
    write("cmdline", COMMAND_LINE.as_bytes())?;
    Ok(image)
}

/// Builds `crates/guest` as a static program and returns its path.
///
/// # Errors
/// What cargo says.
pub fn build_init() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments =
        ["rustc", "--quiet", "--profile=testbed", "--package=tapferry-guest", "--message-format=json"];
    let failed =
        |reason: String| Error::Command { command: format!("cargo {}", arguments.join(" ")), reason };
    let output = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        // Only the program itself: the libraries do not care, and stay shared with other builds.
        .args(["--", "-C", "target-feature=+crt-static", "-C", "strip=symbols"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| failed("it named no executable".into()))
}

fn display(path: &Path) -> String {
    path.display().to_string()
}
