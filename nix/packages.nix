# The programs, one package each, and `ephyr` with all of them.
{ pkgs }:
let
  inherit (pkgs) lib;

  source = import ./source.nix { inherit lib; };

  program =
    {
      crate,
      mainProgram ? crate,
      description,
      profile ? "release",
    }:
    pkgs.rustPlatform.buildRustPackage (finalAttrs: {
      pname = crate;
      version = (fromTOML (builtins.readFile ../Cargo.toml)).workspace.package.version;
      src = source;
      cargoLock.lockFile = ../Cargo.lock;
      buildType = profile;
      cargoBuildFlags = [
        "--package"
        finalAttrs.pname
        "--bins"
      ];
      # The tests need users, namespaces and an sshd: they are a check of their own.
      doCheck = false;
      meta = {
        inherit description mainProgram;
        license = lib.licenses.asl20;
        platforms = lib.platforms.linux;
      };
    });
in
rec {
  # The signer: small, and aborts on a panic.
  ephyr-signer = program {
    crate = "ephyr-signer";
    profile = "signer";
    description = "Holds the SSH CA key and signs by its own policy";
  };
  ephyr-broker = program {
    crate = "ephyr-broker";
    description = "Lets agents use SSH hosts, as the policy says";
  };
  ephyr-netguard = program {
    crate = "ephyr-netguard";
    description = "Keeps the firewall of agents as the policy says";
  };
  ephyr-cli = program {
    crate = "ephyr-cli";
    mainProgram = "ephyr";
    description = "The command for agents and operators of Ephyr";
  };
  ephyr-demo = program {
    crate = "ephyr-demo";
    description = "Ephyr's main job against a real sshd, narrated";
  };

  ephyr = pkgs.symlinkJoin {
    name = "ephyr-${ephyr-cli.version}";
    paths = [
      ephyr-cli
      ephyr-signer
      ephyr-broker
      ephyr-netguard
    ];
    meta = ephyr-cli.meta;
  };
}
