//! Generates `policy/schema.json`, `docs/policy-errors.md` and the section "Every key" of `docs/policy.md` from the
//! policy's tables. The test `generated_files_are_up_to_date` fails when they must be regenerated.

use std::{fs, io, path::Path};

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::write(root.join("policy/schema.json"), ephyr_policy::schema())?;
    let errors = root.join("docs/policy-errors.md");
    fs::write(errors, ephyr_policy::codes_markdown())?;
    let reference = root.join("docs/policy.md");
    let text = fs::read_to_string(&reference)?;
    let prose = text.split("## Every key\n").next().unwrap_or_default();
    let generated = ephyr_policy::reference_markdown();
    fs::write(reference, format!("{prose}{generated}"))
}
