//! Sets up the appliance: keys, policy, target and daemons, and checks the daemons' users.

use std::fs;

use ephyr_testkit::{Footing, World};

use crate::Failure;
use crate::narrator::Narrator;

/// Creates the world and starts it.
pub(crate) fn set(narrator: &mut Narrator) -> Result<World, Failure> {
    narrator.step("A temporary appliance is set up in a temporary directory.");
    let mut world = World::builder().prepare()?;
    narrator.tell(match world.accounts().footing {
        Footing::Private => {
            "It has its own accounts in a private mount namespace; /etc/passwd stays unchanged."
        }
        Footing::Numeric => {
            "Mount namespaces are not available: the daemons have separate user ids, the target's \
             account is root."
        }
        Footing::Plain => "You are not root, so everything runs as your user.",
    });
    let port = world.target("web")?.port;
    narrator.tell(&format!(
        "A real OpenSSH server on 127.0.0.1:{port} is the target \"web\". It accepts only certificates\n\
         of the new CA: no passwords, no authorized_keys."
    ));
    narrator.tell("The policy grants the agent \"scout\" only the role \"read\" on \"web\".");

    narrator.step(if world.accounts().are_separate() {
        "Signer and broker start as two users that cannot read each other's files."
    } else {
        "Signer and broker start. Started by root they would be separate users; here both run as yours."
    });
    world.start_signer()?;
    world.start_broker()?;
    let signer = world.signer()?.pid();
    let broker = world.broker()?.pid();
    let (signer_uid, broker_uid) = (uid_of(signer)?, uid_of(broker)?);
    narrator.tell(&format!(
        "signer: process {signer}, user id {signer_uid}; holds the CA key, has no network"
    ));
    narrator.tell(&format!(
        "broker: process {broker}, user id {broker_uid}; holds no CA key, has the network"
    ));
    if world.accounts().are_separate() {
        let apart = signer_uid != broker_uid && signer_uid != 0 && broker_uid != 0;
        if !apart {
            return Err("signer and broker do not run as two unprivileged users".into());
        }
    }
    Ok(world)
}

/// Returns the real user id of a process.
fn uid_of(pid: u32) -> Result<u32, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .ok_or("the process status has no Uid line")?;
    Ok(line
        .split_whitespace()
        .next()
        .ok_or("the Uid line is empty")?
        .parse()?)
}
