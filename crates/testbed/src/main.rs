//! The testbed as a command: `testbed lab` for tests that are not written in Rust, `testbed guest-image` for the
//! guest of the end-to-end tests, `testbed pass-tap` to start QEMU as libvirt does, `testbed certificates` for TLS.

// A command answers on its standard output.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::Path;
use std::process::ExitCode;

use tapferry_testbed::certificates::{self, Authority, Terms};
use tapferry_testbed::guest::{self, ImageError};
use tapferry_testbed::{lab, pass};

const USAGE: &str = "usage: testbed lab
       testbed guest-image --out DIR [--init PROGRAM]
       testbed pass-tap NAME QUEUES COMMAND...
       testbed certificates DIR [--of DIR] [--name NAME]... [--from SECONDS] [--until SECONDS]
                                [--authority-until SECONDS]

lab          drives a private network namespace by JSON lines on stdin and stdout
guest-image  writes DIR/kernel, DIR/initrd and DIR/cmdline for QEMU, and their paths as JSON to stdout;
             ends with status 3 when there is no kernel for the guest
pass-tap     creates a TAP and becomes COMMAND, with its queues as open descriptors; their numbers stand for
             %FDS% in the command's words
certificates writes credentials for both sides in QEMU's layout, signed by a CA of their own, or by that of
             another directory; times are from now on";

/// What is missing is not a failure of what is tested: a test is skipped.
const UNAVAILABLE: u8 = 3;
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["lab"] => run_lab(),
        ["guest-image", "--out", out] => build_image(Path::new(out), None),
        ["guest-image", "--out", out, "--init", init] => build_image(Path::new(out), Some(Path::new(init))),
        ["pass-tap", name, queues, ref command @ ..] => pass_tap(name, queues, command),
        ["certificates", directory, ref options @ ..] => make_certificates(Path::new(directory), options),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(WRONG_USAGE)
        }
    }
}

fn run_lab() -> ExitCode {
    match lab::serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(skip) => {
            eprintln!("{skip}");
            ExitCode::from(UNAVAILABLE)
        }
    }
}

fn pass_tap(name: &str, queues: &str, command: &[&str]) -> ExitCode {
    let Ok(queues) = queues.parse() else {
        eprintln!("{USAGE}");
        return ExitCode::from(WRONG_USAGE);
    };
    let Err(error) = pass::become_owner(name, queues, command);
    eprintln!("testbed pass-tap: {error}");
    ExitCode::FAILURE
}

fn make_certificates(directory: &Path, options: &[&str]) -> ExitCode {
    let mut terms = Terms::default();
    let mut authority_of = None;
    let mut names = Vec::new();
    for option in options.chunks(2) {
        let seconds = || option.get(1).and_then(|value| value.parse().ok());
        let is_known = match option {
            ["--of", directory] => authority_of.replace(Path::new(*directory)).is_none(),
            ["--name", name] => {
                names.push((*name).to_owned());
                true
            }
            ["--from", _] => seconds().map(|seconds| terms.from = seconds).is_some(),
            ["--until", _] => seconds().map(|seconds| terms.until = seconds).is_some(),
            ["--authority-until", _] => seconds().map(|seconds| terms.authority_until = seconds).is_some(),
            _ => false,
        };
        if !is_known {
            eprintln!("{USAGE}");
            return ExitCode::from(WRONG_USAGE);
        }
    }
    if !names.is_empty() {
        terms.names = names;
    }
    let made = match authority_of {
        Some(other) => Authority::of(other).and_then(|authority| authority.write(directory, &terms)),
        None => certificates::make(directory, &terms),
    };
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testbed certificates: {error}");
            ExitCode::FAILURE
        }
    }
}

fn build_image(out: &Path, init: Option<&Path>) -> ExitCode {
    match guest::build(out, init) {
        Ok(image) => {
            println!("{}", serde_json::json!(image));
            ExitCode::SUCCESS
        }
        Err(ImageError::NoKernel(reason)) => {
            eprintln!("{reason}");
            ExitCode::from(UNAVAILABLE)
        }
        Err(ImageError::Failed(error)) => {
            eprintln!("testbed guest-image: {error}");
            ExitCode::FAILURE
        }
    }
}
