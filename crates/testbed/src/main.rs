//! The testbed as a command: `testbed lab` for tests that are not written in Rust, `testbed guest-image` for the
//! guest of the end-to-end tests.

// A command answers on its standard output.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::Path;
use std::process::ExitCode;

use tapferry_testbed::guest::{self, ImageError};
use tapferry_testbed::lab;

const USAGE: &str = "usage: testbed lab
       testbed guest-image --out DIR [--init PROGRAM]

lab          drives a private network namespace by JSON lines on stdin and stdout
guest-image  writes DIR/kernel, DIR/initrd and DIR/cmdline for QEMU, and their paths as JSON to stdout;
             ends with status 3 when there is no kernel for the guest";

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
