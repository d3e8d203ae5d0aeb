# Stands for the one of NixOS, of which the throw-away appliance sets no option.
{ }
