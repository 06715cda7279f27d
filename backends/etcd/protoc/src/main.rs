//! The part of `protoc` that the build of etcd-client needs, in pure Rust, so that nobody has to install the real one.
//!
//! Reads protocol definitions, writes one set of descriptors; knows `-o`, `-I` and the flags that prost-build passes.

use std::error::Error;
use std::path::PathBuf;

use protox::Compiler;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut includes, mut files, mut output) = (Vec::new(), Vec::new(), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--version" => {
                println!("libprotoc 31.0");
                return Ok(());
            }
            "--include_imports" | "--include_source_info" => {}
            "-o" => output = arguments.next().map(PathBuf::from),
            "-I" => includes.extend(arguments.next()),
            other => match (other.strip_prefix("-I"), other.starts_with('-')) {
                (Some(path), _) => includes.push(path.to_owned()),
                (None, true) => return Err(format!("this protoc does not know {other}; set PROTOC to a real one").into()),
                (None, false) => files.push(other.to_owned()),
            },
        }
    }
    let output = output.ok_or("no output was named; give -o FILE")?;
    let mut compiler = Compiler::new(includes)?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(files)?;
    std::fs::write(output, compiler.encode_file_descriptor_set())?;
    Ok(())
}
