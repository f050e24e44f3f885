//! `cargo xtask web`: builds the page of `docs/browser.md` into `web/dist`.
#![forbid(unsafe_code)]

mod web;

use std::{env, process::ExitCode};

const USAGE: &str = "\
usage: cargo xtask web [--site]

Builds the page into web/dist: crates/latco-web for wasm32-unknown-unknown, its bindings, and the files of
web/. With --site the checkpoints are copied beside it, so that the folder can be published as it is.

WASM_CARGO       a program that runs cargo for wasm32 where `rustup target add wasm32-unknown-unknown` cannot:
                 WASM_CARGO FOLDER [cargo arguments], with FOLDER/target/wasm as its target folder
WASM_CARGO_HOME  where that program has cargo's home, if it runs in a root of its own";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["web"] => web::build(false),
        ["web", "--site"] => web::build(true),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
