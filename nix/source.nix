# The source of the programs and tests: a change of any other file rebuilds nothing.
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
