//! The kernel modules that a guest with virtio-net needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::kernel::{Kernel, filter};
use crate::error::{Context, Error, Result};

/// What the guest uses. Each may be built into the kernel instead; what they depend on is found.
const WANTED: [&str; 3] = ["virtio_pci", "virtio_net", "af_packet"];

/// A module, ready to be loaded.
#[derive(Debug)]
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// Its plain bytes.
    pub bytes: Vec<u8>,
}

/// The modules that this kernel needs for the guest, in no order.
///
/// # Errors
/// When virtio-net is neither a module nor built in, or a module cannot be read.
pub fn needed(kernel: &Kernel) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    collect(&kernel.modules.join("kernel"), &mut files)?;
    let built_in = fs::read_to_string(kernel.modules.join("modules.builtin")).unwrap_or_default();
    let built_in: BTreeSet<String> = built_in.lines().filter_map(|line| name_of(Path::new(line))).collect();
    let mut waiting: Vec<String> = WANTED.map(str::to_owned).into();
    let mut modules: Vec<Module> = Vec::new();
    while let Some(name) = waiting.pop() {
        if modules.iter().any(|module| module.name == name) || built_in.contains(&name) {
            continue;
        }
        let Some(path) = files.get(&name) else {
            if name == "virtio_net" {
                return Err(Error::Invalid(format!("kernel {} has no virtio_net", kernel.version)));
            }
            // Old and new kernels cut the rest into different modules, and build some of it in unnamed.
            continue;
        };
        let bytes = read(path)?;
        waiting.extend(dependencies(&bytes));
        modules.push(Module { name, bytes });
    }
    Ok(modules)
}

fn collect(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let object = || directory.display().to_string();
    for entry in fs::read_dir(directory).on("read", object())? {
        let path = entry.on("read", object())?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if let Some(name) = name_of(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// The name of the module in a file `NAME.ko`, `NAME.ko.xz` and so on; a dash means an underscore.
fn name_of(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (name, _) = file.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).on("read", path.display().to_string())?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => filter("xz", &["-dc"], &bytes),
        Some("zst") => filter("zstd", &["-dc"], &bytes),
        Some("gz") => filter("gzip", &["-dc"], &bytes),
        _ => Ok(bytes),
    }
}

/// The modules named in the section `.modinfo`, a list of strings that end with a zero byte.
fn dependencies(module: &[u8]) -> Vec<String> {
    module
        .split(|byte| *byte == 0)
        .find_map(|string| string.strip_prefix(b"depends="))
        .map(|list| String::from_utf8_lossy(list).replace('-', "_"))
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_tells_what_it_depends_on() {
        let module = b"\x7fELF\0license=GPL\0depends=virtio,virtio-ring\0name=x\0";
        assert_eq!(dependencies(module), ["virtio", "virtio_ring"]);
        assert!(dependencies(b"\0depends=\0").is_empty());
        assert!(dependencies(b"").is_empty());
    }

    #[test]
    fn a_module_is_known_by_its_file() {
        assert_eq!(name_of(Path::new("kernel/net/net-failover.ko.xz")).as_deref(), Some("net_failover"));
        assert_eq!(name_of(Path::new("modules.dep")), None);
    }
}
