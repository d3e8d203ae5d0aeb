# What the programs are built and tested from: a change of anything else builds nothing anew.
{ lib }:
lib.fileset.toSource {
  root = ../.;
  fileset = lib.fileset.unions [
    ../.cargo
    ../.config
    ../Cargo.lock
    ../Cargo.toml
    ../clippy.toml
    ../crates
    ../docs
    ../fuzz
    ../nixos-module
    (lib.fileset.maybeMissing ../nft)
    ../policy
    ../tests
    ../xtask
  ];
}
