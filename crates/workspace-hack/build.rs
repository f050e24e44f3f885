//! Without a build script cargo leaves the build dependencies out, and so the features of what macros are built from.

fn main() {}
