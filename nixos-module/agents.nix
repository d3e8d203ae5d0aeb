# The appliance's agents: their part of the policy, on targets too, and on the appliance their users and directories.
{ config, lib, ... }:
let
  inherit (lib)
    mapAttrs
    mapAttrs'
    mkDefault
    mkIf
    nameValuePair
    ;

  cfg = config.services.ephyr;
  home = name: "/var/lib/ephyr-agents/${name}";
  ofUser = make: mapAttrs' (name: agent: nameValuePair agent.user (make name agent)) cfg.agents;
in
{
  config = {
    # Broker and firewall identify an agent by its UID, so both get it from here.
    services.ephyr.settings.agents = mapAttrs (
      _: agent:
      { inherit (agent) uid; } // (if agent.egress == [ ] then { } else { inherit (agent) egress; })
    ) cfg.agents;

    users.users = mkIf cfg.enable (
      ofUser (
        name: agent: {
          isSystemUser = true;
          inherit (agent) uid;
          group = agent.user;
          extraGroups = [ "ephyr-agents" ];
          home = home name;
          linger = mkIf config.users.manageLingering (mkDefault false);
          description = "Ephyr agent ${name}";
        }
      )
    );
    users.groups = mkIf cfg.enable (ofUser (_: _: { }));

    systemd.tmpfiles.settings.ephyr = mkIf cfg.enable (
      {
        "/var/lib/ephyr-agents".d = {
          mode = "0755";
          user = "root";
          group = "root";
        };
        "/var/lib/ephyr-agent-root".d = {
          mode = "0755";
          user = "root";
          group = "root";
        };
      }
      // mapAttrs' (
        name: agent:
        nameValuePair (home name) {
          d = {
            mode = "0700";
            inherit (agent) user;
            group = agent.user;
          };
        }
      ) cfg.agents
    );
  };
}
