# A target alone: the options, of which it reads the policy and the CA's keys, and the target.
{
  imports = [
    ./options.nix
    ./target.nix
  ];
}
