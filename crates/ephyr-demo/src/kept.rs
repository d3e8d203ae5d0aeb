//! `--keep`: runs the demo in a background process that outlives the foreground one.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};

use ephyr_testkit::World;

use crate::narrator::{Narrator, warn};
use crate::{Failure, perform};

/// The argument of the background process.
pub(crate) const ARGUMENT: &str = "--kept";

/// The last line of the background process's output; the foreground process exits after it.
const READY: &str = "--ready--";

/// Starts the background process and forwards its output until it is ready.
pub(crate) fn start() -> ExitCode {
    match forward_output() {
        Ok(code) => code,
        Err(failure) => {
            warn(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}

fn forward_output() -> Result<ExitCode, Failure> {
    // The background process must not inherit standard output: a reader would wait for it to close.
    let (reader, writer) = std::io::pipe()?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg(ARGUMENT)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()?;
    let narrator = Narrator::new();
    for line in BufReader::new(reader).lines() {
        let line = line?;
        if line == READY {
            return Ok(ExitCode::SUCCESS);
        }
        narrator.say(&line);
    }
    let code = child
        .wait()?
        .code()
        .and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Runs the demo, prints the instructions, and keeps the appliance until this process is killed. The testkit then
/// removes it.
pub(crate) fn run() -> Result<(), Failure> {
    // A new login session, so that closing the terminal does not end the process.
    rustix::process::setsid()?;
    let world = perform()?;
    let narrator = Narrator::new();
    narrator.say(&instructions(&world)?);
    narrator.say(READY);
    loop {
        std::thread::park();
    }
}

fn instructions(world: &World) -> Result<String, Failure> {
    let ephyr_testkit::http::Endpoint::Tcp(address) = world.tcp()? else {
        return Err("the broker does not listen on TCP".into());
    };
    Ok(format!(
        "\nThe appliance keeps running. The agent \"scout\" has no user id, so its tokens are bearer tokens:\n\
         EPHYR_MCP_URL=http://{address}/mcp\n\
         EPHYR_API_KEY={}\n\
         EPHYR_SOCKET={}\n\
         EPHYR_AUDIT_LOG={}\n\
         EPHYR_CA_PUB={}\n\
         To stop it and remove its files, run: kill {}",
        world.api_key("scout")?,
        world.socket().display(),
        world.audit_log().display(),
        world.ca_pub().display(),
        std::process::id(),
    ))
}
