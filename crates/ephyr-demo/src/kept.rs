//! `--keep`: the demo runs in a process of its own that stays when the one in front of the user ends.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};

use ephyr_testkit::World;

use crate::narrator::{Narrator, warn};
use crate::{Failure, perform};

/// Tells the background process that it is one.
pub(crate) const ARGUMENT: &str = "--kept";

/// Its last line; after it the one in front may go.
const READY: &str = "--ready--";

/// Starts the background process and passes on what it says until all is ready.
pub(crate) fn start() -> ExitCode {
    match pass_on() {
        Ok(code) => code,
        Err(failure) => {
            warn(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}

fn pass_on() -> Result<ExitCode, Failure> {
    // Its output is a pipe to here: whoever waits for the end of ours need not wait for its end.
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

/// Plays the demo, says how to go on, and holds the world until it is killed. The world's keeper then
/// clears up.
pub(crate) fn run() -> Result<(), Failure> {
    // A session of its own: the end of the terminal is not its end.
    rustix::process::setsid()?;
    let world = perform()?;
    let narrator = Narrator::new();
    narrator.say(&how_to_go_on(&world)?);
    narrator.say(READY);
    loop {
        std::thread::park();
    }
}

fn how_to_go_on(world: &World) -> Result<String, Failure> {
    let ephyr_testkit::http::Endpoint::Tcp(address) = world.tcp()? else {
        return Err("the broker does not listen on TCP".into());
    };
    Ok(format!(
        "\nEverything keeps running. The agent \"scout\" has no user id, so its tokens work as bearers:\n\
         EPHYR_MCP_URL=http://{address}/mcp\n\
         EPHYR_API_KEY={}\n\
         EPHYR_SOCKET={}\n\
         EPHYR_AUDIT_LOG={}\n\
         EPHYR_CA_PUB={}\n\
         To stop it and remove its files: kill {}",
        world.api_key("scout")?,
        world.socket().display(),
        world.audit_log().display(),
        world.ca_pub().display(),
        std::process::id(),
    ))
}
