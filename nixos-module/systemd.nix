# Converts the units of units.nix to NixOS options. Each directive is a default that a configuration may
# override; relations between units are lists to which a configuration may add.
{ lib }:
units:
let
  inherit (lib)
    filterAttrs
    mapAttrs
    mapAttrs'
    mkDefault
    nameValuePair
    removeSuffix
    ;

  # Directives with NixOS options of their own, all of them lists of units.
  relations = {
    After = "after";
    Before = "before";
    Conflicts = "conflicts";
    Requires = "requires";
    Wants = "wants";
  };

  unit =
    sections:
    let
      own = sections.Unit or { };
      related = filterAttrs (key: _: relations ? ${key}) own;
      others = removeAttrs own ([ "Description" ] ++ builtins.attrNames relations);
    in
    mapAttrs' (key: value: nameValuePair relations.${key} value) related
    // {
      description = mkDefault own.Description;
      wantedBy = (sections.Install or { }).WantedBy or [ ];
      unitConfig = mapAttrs (_: mkDefault) others;
    };

  ofKind =
    suffix: own:
    mapAttrs' (
      name: sections: nameValuePair (removeSuffix suffix name) (unit sections // own sections)
    ) (filterAttrs (name: _: lib.hasSuffix suffix name) units);
in
{
  services = ofKind ".service" (sections: {
    serviceConfig = mapAttrs (_: mkDefault) sections.Service;
  });
  sockets = ofKind ".socket" (sections: {
    socketConfig = mapAttrs (_: mkDefault) sections.Socket;
  });
  targets = ofKind ".target" (_: { });
}
