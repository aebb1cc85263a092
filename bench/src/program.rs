//! Other people's programs: whether they are installed, in which version, and how they are run.
//!
//! A command line is one text with `{input}`, `{output}`, `{core}` and `{tap}` in it, so that a report can show it.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::process::{Child, Command, Stdio};

use crate::error::{Context, Error, Result};
use crate::sys;

/// A program that forwards for as long as it runs.
pub(crate) struct Program {
    pub(crate) command: &'static str,
    /// The Debian package it comes in.
    pub(crate) package: &'static str,
    /// What makes it say its version.
    pub(crate) version: &'static str,
}

/// What makes the kernel forward, and stop it.
pub(crate) struct Rules {
    pub(crate) install: &'static [&'static str],
    pub(crate) remove: &'static str,
    /// The Debian package the program comes in.
    pub(crate) package: &'static str,
    /// What makes it say its version.
    pub(crate) version: &'static str,
}

/// Where a forwarder works.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) input: &'a str,
    pub(crate) output: &'a str,
    pub(crate) core: usize,
    /// The guest's end of the input, for a program that stands behind the guest itself.
    pub(crate) tap: Option<BorrowedFd<'a>>,
}

/// What a running program said, on either output.
pub(crate) struct Words(File);

impl Place<'_> {
    /// The command line as a command, which is not started yet.
    fn command(&self, line: &str) -> Command {
        let tap = self.tap.map_or(String::new(), |tap| tap.as_raw_fd().to_string());
        let mut words = line.split_ascii_whitespace().map(|word| {
            word.replace("{input}", self.input)
                .replace("{output}", self.output)
                .replace("{core}", &self.core.to_string())
                .replace("{tap}", &tap)
        });
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }
}

impl Program {
    /// Whether it stands behind the guest's end of the input itself.
    pub(crate) fn takes_tap(&self) -> bool {
        self.command.contains("{tap}")
    }

    /// Starts it where the calling thread runs.
    pub(crate) fn start(&self, place: Place<'_>) -> Result<(Child, Words)> {
        let words = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_TMPFILE)
            .open(std::env::temp_dir())
            .on("creating", "a file for what a program says")?;
        let output = || words.try_clone().on("dup", "a file");
        // A duplicate that is not closed on exec, until the program has it.
        let tap =
            place.tap.filter(|_| self.takes_tap()).map(rustix::io::dup).transpose().on("dup", "a TAP")?;
        let place = Place { tap: tap.as_ref().map(AsFd::as_fd), ..place };
        let mut command = place.command(self.command);
        // Open, so that a program that reads commands waits for some.
        command.stdin(Stdio::piped()).stdout(output()?).stderr(output()?);
        sys::end_with_parent(&mut command);
        let child = command.spawn().on("starting", executable(self.command))?;
        Ok((child, Words(words)))
    }
}

impl Rules {
    pub(crate) fn install(&self, place: Place<'_>) -> Result<()> {
        self.install.iter().try_for_each(|line| run(place, line))
    }

    pub(crate) fn remove(&self, place: Place<'_>) -> Result<()> {
        run(place, self.remove)
    }
}

impl Words {
    /// The end of the last line that it said: the reason, without dates, process ids and addresses.
    pub(crate) fn last(&self) -> String {
        const ROOM: usize = 64 * 1024;
        let mut bytes = vec![0; ROOM];
        let length = self.0.read_at(&mut bytes, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&bytes[..length]);
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
        line.rsplit(": ").next().unwrap_or_default().to_owned()
    }
}

/// The version that a command says.
pub(crate) fn version(line: &str) -> Option<String> {
    let nowhere = Place { input: "", output: "", core: 0, tap: None };
    let output = nowhere.command(line).stdin(Stdio::null()).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    find_version(&String::from_utf8_lossy(&said)).map(str::to_owned)
}

/// Whether the first word of a command line is a program that can be run.
pub(crate) fn is_installed(line: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| {
        let metadata = directory.join(executable(line)).metadata();
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}

fn executable(line: &str) -> &str {
    line.split_ascii_whitespace().next().unwrap_or_default()
}

fn run(place: Place<'_>, line: &str) -> Result<()> {
    let output = place.command(line).stdin(Stdio::null()).output().on("starting", executable(line))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("'{line}' failed: {}", said.lines().next().unwrap_or_default())))
}

/// The first digits with a point between them.
fn find_version(text: &str) -> Option<&str> {
    text.split(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .map(|word| word.trim_matches('.'))
        .find(|word| word.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (said, expected) in [
            ("tc utility, iproute2-6.1.0, libbpf 1.1.2", "6.1.0"),
            ("socat by G. Rieger - see www.dest-unreach.org\nsocat version 1.7.4.4 on 06 Nov", "1.7.4.4"),
            ("EAL: Detected CPU lcores: 2\nEAL: RTE Version: 'DPDK 22.11.11'", "22.11.11"),
            ("netsniff-ng 0.6.8 (Flutternozzle), Git id: (none)", "0.6.8"),
        ] {
            assert_eq!(find_version(said), Some(expected));
        }
        assert_eq!(find_version("command not found"), None);
    }

    #[test]
    fn a_command_line_is_filled_in() {
        let place = Place { input: "vmA", output: "vmB", core: 3, tap: None };
        let command = place.command("forward --on={core} {input}:{output}");
        assert_eq!(format!("{command:?}"), r#""forward" "--on=3" "vmA:vmB""#);
    }
}
