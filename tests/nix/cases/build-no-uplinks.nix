{
  services.nib.enable = true;
}
