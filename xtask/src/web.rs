//! The page for browsers.

use std::{
    env,
    error::Error,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

use flate2::{Compression, write::GzEncoder};
use wasm_bindgen_cli_support::Bindgen;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const TARGET: &str = "wasm32-unknown-unknown";

/// The profile of the workspace's manifest.
const PROFILE: &str = "web";

/// What rustc needs to know: where random numbers come from, and the vector instructions that every browser
/// has.
const FLAGS: &str = "--cfg getrandom_backend=\"wasm_js\" -C target-feature=+simd128";

/// Files of `web/` that the page and the package are made of.
const PAGE: [&str; 8] = [
    "index.html",
    "style.css",
    "main.js",
    "worker.js",
    "latco.js",
    "latco.d.ts",
    "package.json",
    "example.html",
];

/// Where `web/dist` finds checkpoints within a checkout. That of `reach` is a copy of eight bits a weight.
const CHECKPOINTS: [(&str, &str); 8] = [
    ("reach", "../models/reach.safetensors"),
    ("two-room", "../../assets/checkpoints/two-room.safetensors"),
    ("push", "../../assets/checkpoints/push.safetensors"),
    ("window", "../../assets/checkpoints/window.safetensors"),
    ("button", "../../assets/checkpoints/button.safetensors"),
    ("drawer", "../../assets/checkpoints/drawer.safetensors"),
    ("hammer", "../../assets/checkpoints/hammer.safetensors"),
    ("thermos", "../../assets/checkpoints/thermos.safetensors"),
];

/// Builds `web/dist`; a `site` has the checkpoints in it.
pub fn build(site: bool) -> Result<()> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = own.parent().ok_or("xtask is not in a checkout")?;
    check_versions(own, root)?;
    let dist = root.join("web/dist");
    let module = compile(root)?;
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    let engine = dist.join("engine");
    fs::create_dir_all(&engine)?;
    Bindgen::new()
        .input_path(&module)
        .web(true)?
        .typescript(true)
        .generate(&engine)
        .map_err(|error| format!("wasm-bindgen: {error:#}"))?;
    fs::remove_file(engine.join("latco_web_bg.wasm.d.ts"))?;
    let module = engine.join("latco_web_bg.wasm");
    compress(&module)?;
    fs::write(engine.join("sources"), sources(root)?)?;
    for file in PAGE {
        copy(&root.join("web").join(file), &dist.join(file))?;
    }
    checkpoints(&dist, site)?;
    report(&dist)
}

/// Refuses to bind with another version than the module was compiled with.
fn check_versions(own: &Path, root: &Path) -> Result<()> {
    let generator = locked(own, "wasm-bindgen-cli-support")?;
    let library = locked(root, "wasm-bindgen")?;
    match generator == library {
        true => Ok(()),
        false => Err(format!(
            "wasm-bindgen is {library} in Cargo.lock, its generator {generator}: put ={library} into xtask/Cargo.toml"
        )
        .into()),
    }
}

/// The version of a package in a folder's lock file.
fn locked(folder: &Path, package: &str) -> Result<String> {
    let lock = fs::read_to_string(folder.join("Cargo.lock"))?;
    let mut lines = lock.lines();
    let name = format!("name = \"{package}\"");
    lines.find(|line| *line == name);
    let version = lines
        .next()
        .and_then(|line| line.strip_prefix("version = "));
    let version = version.ok_or_else(|| format!("{} has no {package}", folder.display()))?;
    Ok(version.trim_matches('"').to_owned())
}

/// Compiles `latco-web`; the path of its module.
fn compile(root: &Path) -> Result<PathBuf> {
    // The sources must lie there for their places to be known.
    run(cargo(root, FLAGS).args(["fetch", "--locked"]), "cargo")?;
    let flags = format!("{FLAGS}{}", remapped_sources()?);
    let build = ["build", "--locked", "--package", "latco-web"];
    let kind = ["--target", TARGET, "--profile", PROFILE];
    run(cargo(root, &flags).args(build).args(kind), "cargo")?;
    let target = match (env::var_os("WASM_CARGO"), env::var_os("CARGO_TARGET_DIR")) {
        (Some(_), _) => root.join("target/wasm"),
        // Cargo, which runs at the root, takes it from there.
        (None, Some(target)) => root.join(target),
        (None, None) => root.join("target"),
    };
    Ok(target.join(TARGET).join(PROFILE).join("latco_web.wasm"))
}

/// Cargo for wasm32 in the checkout, with `flags` for rustc.
fn cargo(root: &Path, flags: &str) -> Command {
    match env::var_os("WASM_CARGO") {
        Some(program) => {
            let mut command = Command::new(program);
            let flags = format!("{flags} -C linker=wasm-ld");
            command.arg(root).env("RUSTFLAGS", flags);
            command.env_remove("CARGO_TARGET_DIR");
            command
        }
        None => {
            let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
            command.current_dir(root).env("RUSTFLAGS", flags);
            command
        }
    }
}

/// Flags by which messages of panics name a crate, and not where it was compiled.
fn remapped_sources() -> Result<String> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let home = home.ok_or("neither CARGO_HOME nor HOME is set")?;
    let seen = env::var_os("WASM_CARGO_HOME").map(PathBuf::from);
    let seen = seen.unwrap_or_else(|| home.clone());
    let mut flags = String::new();
    for registry in fs::read_dir(home.join("registry/src"))? {
        let place = seen.join("registry/src").join(registry?.file_name());
        flags += &format!(" --remap-path-prefix={}=crates", place.display());
    }
    Ok(flags)
}

/// One hash of everything that the engine is compiled from, by which an older engine is told from a present one.
fn sources(root: &Path) -> Result<Vec<u8>> {
    let output = Command::new(root.join(".ci/web-sources")).output()?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(".ci/web-sources needs git".into()),
    }
}

/// Puts `module` into a gzip file, which the page unpacks itself: no server need be told to.
fn compress(module: &Path) -> Result<()> {
    let bytes = fs::read(module)?;
    let mut encoder = GzEncoder::new(
        File::create(module.with_extension("wasm.gz"))?,
        Compression::best(),
    );
    encoder.write_all(&bytes)?;
    encoder.finish()?;
    Ok(fs::remove_file(module)?)
}

/// Tells the page where checkpoints are, and copies them for a site.
fn checkpoints(dist: &Path, site: bool) -> Result<()> {
    let mut lines = Vec::new();
    for (task, place) in CHECKPOINTS {
        let place = match site {
            false => place.to_owned(),
            true => {
                let copied = format!("models/{task}.safetensors");
                fs::create_dir_all(dist.join("models"))?;
                copy(&dist.join(place), &dist.join(&copied))?;
                copied
            }
        };
        lines.push(format!("  \"{task}\": \"{place}\""));
    }
    let text = format!("{{\n{}\n}}\n", lines.join(",\n"));
    Ok(fs::write(dist.join("models.json"), text)?)
}

fn report(dist: &Path) -> Result<()> {
    let module = fs::metadata(dist.join("engine/latco_web_bg.wasm.gz"))?.len();
    println!("{}: the engine is {} kB", dist.display(), module / 1000);
    println!("serve the checkout (python3 -m http.server) and open /web/dist/");
    Ok(())
}

fn run(command: &mut Command, name: &str) -> Result<()> {
    let status = command
        .status()
        .map_err(|error| format!("{name}: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{name} ended with {status}").into()),
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied: io::Result<u64> = fs::copy(from, to);
    copied.map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))?;
    Ok(())
}
