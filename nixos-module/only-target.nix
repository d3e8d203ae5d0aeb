# A target without an appliance. It reads the policy, the agents' part of it, and the CA's keys from the options.
{
  imports = [
    ./options.nix
    ./agents.nix
    ./target.nix
  ];
}
