# A target alone: the options, of which it reads the policy and the CA's keys, what the policy says of agents, and the
# target.
{
  imports = [
    ./options.nix
    ./agents.nix
    ./target.nix
  ];
}
