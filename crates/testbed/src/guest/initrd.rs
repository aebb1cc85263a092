//! A cpio archive in the format `newc` (kernel documentation, `driver-api/early-userspace/buffer-format`),
//! uncompressed: the kernel then has nothing to unpack.

const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;

/// An archive that is being written.
#[derive(Debug, Default)]
pub struct Initrd {
    bytes: Vec<u8>,
    entries: u32,
}

impl Initrd {
    /// Adds a directory, whose parent is there already.
    pub fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY | 0o755, &[]);
    }

    /// Adds a program.
    pub fn program(&mut self, name: &str, content: &[u8]) {
        self.entry(name, REGULAR | 0o755, content);
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, content: &[u8]) {
        self.entry(name, REGULAR | 0o644, content);
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        let length = |bytes: usize| u32::try_from(bytes).expect("an entry is shorter than 4 GiB");
        self.entries += 1;
        let (uid, gid, links, modified, device, checksum) = (0, 0, 1, 0, 0, 0);
        let fields = [
            self.entries,
            mode,
            uid,
            gid,
            links,
            modified,
            length(content.len()),
            device,
            device,
            device,
            device,
            length(name.len() + 1),
            checksum,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    /// Names and contents end on a multiple of four bytes.
    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
